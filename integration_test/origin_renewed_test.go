package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// The copy lives on beside its original: their origins are the same until one is renewed.
func TestARenewedOriginMakesEarlierTokensForeign(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	before := committed(t, pool)
	old := origin(t, pool)
	renewed, err := pgbarrier.RenewOrigin(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	token := committed(t, pool)
	if token.Origin != renewed || token.Origin == before.Origin || origin(t, pool) == old {
		t.Errorf("the origin was %08x, is %08x, and RenewOrigin says %08x", before.Origin, token.Origin, renewed)
	}
	want(t, pool, pgbarrier.WrongDatabase, before)
	want(t, pool, pgbarrier.Committed, token)
	want(t, pool, pgbarrier.Aborted, aborted(t, pool), lostAtSavepoint(t, pool))

	_, err = pgbarrier.RenewOrigin(t.Context(), as(t, pool, newRole(t, pool)))
	wantDenied(t, "to renew the origin", err)
}
