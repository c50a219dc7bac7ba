package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// These harm the listener behind the proxy, and the last those that listen at all.

func swallow(c *chaos, _ context.Context, _ *rand.Rand) bool { return c.net.swallow(c.opts.reap) }

func reset(c *chaos, _ context.Context, _ *rand.Rand) bool { return c.net.reset() }

func refuse(c *chaos, ctx context.Context, r *rand.Rand) bool {
	defer c.net.refuse()()
	sleep(ctx, aWhile(c, r))
	return true
}

func slow(c *chaos, ctx context.Context, r *rand.Rand) bool {
	defer c.net.slow(5*time.Millisecond + upTo(r, 150*time.Millisecond))()
	sleep(ctx, aWhile(c, r))
	return true
}

// forge sends, as a role without any grant, all that nobody should take for an announcement: rubbish,
// almost the tokens that are waited for, well-formed ones that were never made, and those of committed
// transactions once more. Not the very token of a running one: only its producer knows it.
func forge(c *chaos, ctx context.Context, r *rand.Rand) bool {
	var payloads []string
	for _, tx := range c.ledger.recent(20 + r.IntN(80)) {
		tx.mu.Lock()
		b, committed := tx.barriers, tx.told == toldCommitted && !tx.plan.async
		tx.mu.Unlock()
		if len(b) == 0 {
			continue
		}
		t := b[0].token
		text := t.String()
		otherXID, otherOrigin, otherID := t, t, t
		otherXID.XID++
		otherOrigin.Origin++
		otherID.ID = uuid.Must(uuid.NewV7())
		payloads = append(payloads, "", "nonsense", text[:r.IntN(len(text))], text+"0", t.ID.String(),
			otherXID.String(), otherOrigin.String(), otherID.String())
		if committed && !tx.lostAtSavepoint(b[0]) {
			payloads = append(payloads, text)
		}
	}
	tx, err := c.admin.Begin(ctx)
	if err != nil {
		return false
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // its session may have been terminated
	if _, err := tx.Exec(ctx, "SET LOCAL ROLE chaos_stranger"); err != nil {
		return false
	}
	if _, err := tx.Exec(ctx, "SELECT pg_notify('pgbarrier', p) FROM unnest($1::text[]) p", payloads); err != nil {
		return false
	}
	return len(payloads) > 0 && tx.Commit(ctx) == nil
}
