package pgbarrier

import (
	"context"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// RenewOrigin gives a database an origin of its own, and returns it. That is for a physical copy which lives on
// beside its original: a storage snapshot, a branch, a base backup that was started by itself. Such a copy keeps the
// origin, rightly where it takes the original's place, so that a token that was made in the one after they parted
// would be looked for in the other, where it may read as aborted. A restored dump and a database made from a template
// have another origin without this.
//
// Tokens of before are [ErrWrongDatabase] afterwards, those of waits and producers that are under way too.
// The role must own the schema.
func RenewOrigin(ctx context.Context, db DB) (uint32, error) {
	if err := requireDB(db); err != nil {
		return 0, err
	}
	const doing = "renew the origin"
	// A trigger puts another row in its place.
	if _, err := db.Exec(ctx, "DELETE FROM pgbarrier.origin"); err != nil {
		return 0, wire.Explain(doing, err)
	}
	answer, err := wire.Check(ctx, db, []Token(nil))
	return answer.Origin, err
}
