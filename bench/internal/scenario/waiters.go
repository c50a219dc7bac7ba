package scenario

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/listener"
)

// openTransactions is how many transactions all the waits are for.
const openTransactions = 50

// caseOfWaits is the name of the case of n waits.
func caseOfWaits(n int) string { return fmt.Sprintf("%d waits", n) }

// runWaiters: many waits on one listener. 10 are what the cost of checks is compared with.
func runWaiters(ctx context.Context, l *Lab) error {
	if err := l.setFlush(ctx, flushes[0]); err != nil {
		return err
	}
	c := contender.Named(contender.NamePgbarrier)
	db, err := l.database(ctx, c)
	if err != nil {
		return err
	}
	defer db.Pool.Reset()
	sizes := pick(l.Options, []int{10, 1000, 10_000, 100_000, 1_000_000}, []int{10, 1000, 10_000})
	for round := range l.Rounds {
		for _, n := range sizes {
			l.Progress(fmt.Sprintf("5 waiters · round %d/%d · %s", round+1, l.Rounds, caseOfWaits(n)))
			table := l.Report.Table("5 waiters", caseOfWaits(n))
			table.Params["waits"] = float64(n)
			if err := l.waits(ctx, db, n, table.Row(c.Name).Add); err != nil {
				return fmt.Errorf("%s: %w", caseOfWaits(n), err)
			}
		}
		l.Progress(fmt.Sprintf("5 waiters · round %d/%d · Wait for committed tokens", round+1, l.Rounds))
		for _, batch := range []int{1, 100, 5000} {
			table := l.Report.Table("5 waiters", fmt.Sprintf("committed tokens, %d in a Wait", batch))
			if err := l.committedTokens(ctx, db, batch, table.Row(c.Name).Add); err != nil {
				return err
			}
		}
	}
	return nil
}

// A waitBench is a listener and what tells of its checks.
type waitBench struct {
	*contender.ListenerWorker
	checked chan listener.Checked
}

func startWaitBench(ctx context.Context, db *Database) (*waitBench, error) {
	checked := make(chan listener.Checked, 10_000)
	w, err := contender.StartListener(ctx, db.URL+"&application_name=waiters", listener.Config{
		Trace: listener.Trace{Checked: func(c listener.Checked) {
			select {
			case checked <- c:
			default: // nobody reads
			}
		}},
	})
	return &waitBench{w, checked}, err
}

// waits measures n waits at once. Their tokens are of open transactions, without rows: pending to a check,
// and as dear to it as any.
func (l *Lab) waits(ctx context.Context, db *Database, n int, add func(string, float64)) error {
	tokens, end, err := pendingTokens(ctx, db, n)
	if err != nil {
		return err
	}
	defer end()
	w, err := startWaitBench(ctx, db)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }() // measured already

	subs := make([]*listener.Subscription, n)
	heap := heapInUse()
	begun := time.Now()
	for i, t := range tokens {
		subs[i] = w.Subscribe(t)
	}
	registered := time.Since(begun)
	if err := l.asked(ctx, w, n); err != nil {
		return err
	}
	if n >= 1000 {
		add("register µs", perOf(registered, n))
		add("first check µs/wait", perOf(time.Since(begun), n))
		add("B/wait", float64(heapInUse()-heap)/float64(n))
	}
	if err := l.checks(ctx, db, w, add); err != nil {
		return err
	}
	// As the receive loop does it, without a connection.
	notifications := make([]pgconn.Notification, n)
	for i, t := range tokens {
		notifications[i] = pgconn.Notification{Channel: listener.Channel, Payload: t.String()}
	}
	begun = time.Now()
	for i := range notifications {
		if err := w.HandleNotification(ctx, &notifications[i], nil); err != nil {
			return err
		}
	}
	for _, s := range subs {
		<-s.Done()
	}
	if n >= 1000 {
		add("wake µs", perOf(time.Since(begun), n))
	}
	return nil
}

// asked waits until n tokens have been asked for.
func (l *Lab) asked(ctx context.Context, w *waitBench, n int) error {
	for asked := 0; asked < n; {
		select {
		case c := <-w.checked:
			if c.Err != nil {
				return c.Err
			}
			asked += c.Tokens
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// checks registers one more wait, again and again, which makes a check due at once: what does it cost
// besides all the old waits?
func (l *Lab) checks(ctx context.Context, db *Database, w *waitBench, add func(string, float64)) error {
	backends, err := l.backends(ctx, "waiters")
	if err != nil {
		return err
	}
	tokens, end, err := pendingTokens(ctx, db, pick(l.Options, 200, 20))
	if err != nil {
		return err
	}
	defer end()
	for drained := false; !drained; {
		select {
		case <-w.checked:
		default:
			drained = true
		}
	}
	before := map[int]time.Duration{}
	for _, pid := range backends {
		if cpu, ok := cpuOf(pid); ok {
			before[pid] = cpu
		}
	}
	var took []time.Duration
	made := w.Stats().Checks
	for _, t := range tokens {
		sub := w.Subscribe(t)
		c := <-w.checked
		if c.Err != nil {
			return c.Err
		}
		took = append(took, c.Took)
		sub.Close()
	}
	after := map[int]time.Duration{}
	for pid := range before {
		after[pid], _ = cpuOf(pid)
	}
	made = w.Stats().Checks - made
	add("check ms", float64(medianOf(took))/float64(time.Millisecond))
	add("check server ms", cpuBetween(before, after)/float64(made))
	return nil
}

// backends returns the pids of the sessions with that application_name.
func (l *Lab) backends(ctx context.Context, application string) ([]int, error) {
	rows, err := l.admin.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = $1", application)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first has freed by finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func perOf(d time.Duration, n int) float64 {
	if n == 0 {
		return math.NaN()
	}
	return float64(d) / 1000 / float64(n)
}
