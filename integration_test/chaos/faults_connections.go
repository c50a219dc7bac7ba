package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// limitConnections lets the role of one listener have one session, and ends all but the one that listens. So
// there is no room for checks, unless the listener makes it. It lasts for longer than a wait may, if the run
// is long enough. Not the listener behind the proxy: the server does not know at once which of its
// sessions are dead.
func limitConnections(c *chaos, ctx context.Context, r *rand.Rand) bool {
	s := c.fleet[r.IntN(len(c.fleet))]
	if s.proxied {
		s = c.fleet[0]
	}
	lasts := min(c.opts.bound+aWhile(c, r), c.opts.duration*2/3)
	if !s.limited.TryLock() {
		return false
	}
	defer s.limited.Unlock()
	defer c.alterRole(c.ctx, s.role, -1)
	if !c.alterRole(ctx, s.role, 1) {
		return false
	}
	found := c.terminate(ctx, fmt.Sprintf("usename = '%s' AND %s", s.role, checking))
	sleep(ctx, lasts)
	return found
}

// alterRole tries until it has set the limit, or ctx ends.
func (c *chaos) alterRole(ctx context.Context, role string, limit int) bool {
	for {
		if _, err := c.admin.Exec(ctx, fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d", role, limit)); err == nil {
			return true
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return false
		}
	}
}
