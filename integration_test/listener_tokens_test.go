package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

func TestTokensThatHaveNoOutcomeHereSayWhy(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	wait(t, l, pgbarrier.ErrWrongDatabase, committed(t, migratedDatabase(t)))

	forged := committed(t, pool)
	forged.XID = aborted(t, pool).XID
	wait(t, l, pgbarrier.ErrInvalidToken, forged)

	purged := committed(t, pool)
	eventually(t, "the token is older than a millisecond", func() bool { return time.Since(purged.Created()) > 2*time.Millisecond })
	if n, err := pgbarrier.Purge(t.Context(), pool, time.Millisecond); err != nil || n == 0 {
		t.Fatalf("purged %d, %v", n, err)
	}
	wait(t, run(t, pool, listener.Config{}), pgbarrier.ErrExpired, purged)
	wait(t, l, nil, committed(t, pool))
}

// From the queue comes text. What is wrong with it is known before anybody waits.
func TestAMalformedTokenIsRefusedWithWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	l := run(t, pool, listener.Config{})
	good := committed(t, pool).String()
	for text, problem := range map[string]string{
		"":                  "it is empty",
		"job 17":            "it does not start with pgb1.",
		good[:len(good)-1]:  "its origin",
		good[:20]:           "was it cut off?",
		"pgb2" + good[4:]:   "it does not start with pgb1.",
		good + "." + good:   "at most 70",
		"pgb1.x" + good[6:]: "its id",
	} {
		_, err := pgbarrier.ParseToken(text)
		wantErr(t, "ParseToken", err, pgbarrier.ErrInvalidToken)
		if !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %q does not say %q", text, err, problem)
		}
	}
	for name, token := range map[string]pgbarrier.Token{"zero": {}, "no transaction": {ID: committed(t, pool).ID}} {
		for who, err := range map[string]error{
			"Wait":      l.Wait(t.Context(), token),
			"Subscribe": l.Subscribe(token).Err(),
			"Poll":      pgbarrier.Poll(t.Context(), pool, token),
		} {
			wantErr(t, who+" of a token with "+name, err, pgbarrier.ErrInvalidToken)
		}
	}
	wantErr(t, "Wait for nothing", l.Wait(t.Context()), pgbarrier.ErrInvalidToken)
}
