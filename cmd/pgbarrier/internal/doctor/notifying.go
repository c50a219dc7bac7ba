package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// session describes a, a row of pg_stat_activity. What the role may not see is left out.
const session = `concat_ws(', ', format('pid %s', a.pid), 'database ' || a.datname, 'application ' || nullif(a.application_name, ''), a.state,
	'waits for ' || a.wait_event)`

// notifyQueue: what a session that listens has not been given yet stays in the queue, and it is given nothing in a
// transaction. Who listens is not shown, so the oldest transactions are named, first of those that did so last.
func notifyQueue(ctx context.Context, p *Patient) (Level, string, error) {
	var usage float64
	var full bool
	var who string
	err := p.row(ctx, `
		SELECT u.usage, u.usage >= @queue, coalesce((
			SELECT string_agg(s.what, '; ') FROM (
				SELECT concat(`+session+`, ', in a transaction since ', date_trunc('second', a.xact_start)) AS what
				FROM pg_stat_activity a WHERE a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid() AND a.datname IS NOT NULL
				ORDER BY a.query ~* '^[[:space:]]*listen' DESC, a.xact_start LIMIT 3) s), '')
		FROM (SELECT pg_notification_queue_usage() AS usage) u`, &usage, &full, &who)
	found := fmt.Sprintf("the notification queue is %.2g %% full", 100*usage)
	switch {
	case err != nil || !full:
		return OK, found, err
	case !p.facts.sees:
		who = "GRANT pg_monitor, to see who keeps it"
	case who == "":
		who = "nobody is in a transaction any more"
	}
	if usage >= 0.5 { // as pgbarrier.announce() has it
		return Fail, found + ", so that nothing is announced: " + who, nil
	}
	return Warn, found + ": " + who, nil
}

// A lock that is held for a moment is nothing unusual: to be a finding it is held by one session, look after look.
const (
	looks      = 5
	lookPause  = 100 * time.Millisecond
	notifyHeld = `SELECT l.pid, ` + session + ` || format(', while %s wait for it', (SELECT count(*) FROM pg_locks w
			WHERE w.locktype = 'object' AND w.classid = 'pg_database'::regclass AND w.objid = 0 AND w.database = 0 AND NOT w.granted))
		FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.objid = 0 AND l.database = 0 AND l.granted`

	// 7018962344107663490 and the next two: migrating, announcing, and the look whether there is room for a lock. A busy
	// listener holds announcing's in SHARE mode, for a tenth of a second at a time.
	ownLockHeld = `SELECT l.pid, format('%s of advisory lock %s: ', l.mode, (l.classid::bigint << 32) + l.objid::bigint) || ` + session + `
		FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND (l.classid::bigint << 32) + l.objid::bigint BETWEEN 7018962344107663490 AND 7018962344107663492
			AND (l.mode = 'ExclusiveLock' OR l.objid::bigint <> 7018962344107663491 & 4294967295 OR a.state = 'idle' OR a.xact_start < clock_timestamp() - interval '2 s')
		ORDER BY l.pid`
)

// held is the look at locks, by a statement that returns who holds them.
func held(free, sql string) func(ctx context.Context, p *Patient) (Level, string, error) {
	return func(ctx context.Context, p *Patient) (Level, string, error) {
		var holders map[int]string // in every look so far
		for look := range looks {
			if look > 0 {
				time.Sleep(lookPause)
			}
			rows, err := p.conn.Query(ctx, sql)
			if err != nil {
				return 0, "", err
			}
			still := map[int]string{}
			var pid int
			var what string
			if _, err = pgx.ForEachRow(rows, []any{&pid, &what}, func() error {
				if _, before := holders[pid]; before || look == 0 {
					still[pid] = what
				}
				return nil
			}); err != nil {
				return 0, "", err
			}
			if holders = still; len(holders) == 0 {
				return OK, free, nil
			}
		}
		return Warn, strings.Join(slices.Sorted(maps.Values(holders)), "; "), nil
	}
}

var (
	notifyLock     = held("nobody keeps the lock of NOTIFY", notifyHeld)
	announcingLock = held("nobody keeps pgbarrier's advisory locks", ownLockHeld)
)

// locks: as pgbarrier.announce() counts them.
var locks = problems("the table of locks has room", `
	SELECT 'warn', format('there are %s locks, of %s', n, most) FROM (
		SELECT (SELECT count(*) FROM pg_lock_status()) AS n,
			least(@locks::bigint, current_setting('max_locks_per_transaction')::bigint * current_setting('max_connections')::bigint / 4) AS most) l
	WHERE n >= most`)
