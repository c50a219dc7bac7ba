package integration_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pgbarrier/pgbarrier/listener"
)

// Also one that a running check has, whose connection is then given up by force.
func TestWhenRunReturnsInACheckNoGoroutineIsLeft(t *testing.T) {
	pool := migratedDatabase(t)
	l, err := listener.New(pool, listener.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	<-l.Ready()
	token := committed(t, pool)
	blocker := begin(t, pool)
	execute(t, blocker, "LOCK TABLE pgbarrier.barrier IN ACCESS EXCLUSIVE MODE")
	token.ID[15] ^= 1
	sub := l.Subscribe(token)
	defer sub.Close()
	eventually(t, "a check is under way", func() bool {
		return query[int](t, blocker, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbarrier' AND datname = current_database() AND wait_event_type = 'Lock'") == 1
	})
	cancel()
	select {
	case <-ran:
	case <-time.After(patience):
		t.Fatal("Run has not returned")
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		// Runnable is what has just told that it is done, and is on its last line.
		if !strings.Contains(stack, "[runnable]") && (strings.Contains(stack, "asyncClose") || strings.Contains(stack, "pgbarrier/listener.")) {
			t.Errorf("left behind:\n%s", stack)
		}
	}
}
