package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// An asynchronous commit is visible before it is durable. A wait that begins after the crash that took
// it must not be answered by what was true before, also when the listener had nothing to do meanwhile.
func TestAWaitAfterACrashIsNotAnsweredByWhatWasVisibleBefore(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]listener.Config{"LISTEN": {}, "poll only": {PollOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, pool := crashable(t)
			l := run(t, pool, config)
			tx := begin(t, pool)
			execute(t, tx, "SET LOCAL synchronous_commit = off")
			token := create(t, tx)
			commit(t, tx)
			wait(t, l, nil, token)
			crash(t, s)
			restart(t, s, pool)
			// The listener's own probe may run under the lost transaction id, which is pending for as long.
			eventually(t, "it is aborted", func() bool { return query[string](t, pool, "SELECT pgbarrier.status($1)", token) == "aborted" })
			wait(t, l, pgbarrier.ErrAborted, token)
		})
	}
}
