package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/listener"
)

// A batch is one transaction with many barriers, and the waits for them: a subscription each, and for
// one in ten a goroutine in Wait besides.
type batch struct {
	tx     pgx.Tx
	tokens []pgbarrier.Token
	subs   []*listener.Subscription

	cancel context.CancelFunc // of the goroutines
	inWait sync.WaitGroup
	ended  chan error // what Wait returned in them
}

const waiterEvery = 10

// Counts are waits by how they ended.
type Counts struct{ Committed, Aborted, Cancelled, Wrong int }

func begin(ctx context.Context, pool *pgxpool.Pool, size int) (*batch, error) {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	b := &batch{tx: tx, tokens: make([]pgbarrier.Token, size), subs: make([]*listener.Subscription, size), cancel: func() {}}
	// Some commits are announced, in part, and all waits of the others are the checks'.
	var texts []string
	err = tx.QueryRow(ctx, "SELECT array_agg(pgbarrier.create($1)) FROM generate_series(1, $2)", rand.IntN(2) == 0, size).Scan(&texts)
	if err != nil {
		return nil, errors.Join(err, tx.Rollback(ctx))
	}
	for i, text := range texts {
		if b.tokens[i], err = pgbarrier.ParseToken(text); err != nil {
			return nil, errors.Join(err, tx.Rollback(ctx))
		}
	}
	return b, nil
}

func (b *batch) subscribe(l *listener.Listener) {
	for i, t := range b.tokens {
		b.subs[i] = l.Subscribe(t)
	}
}

func (b *batch) wait(l *listener.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.ended = cancel, make(chan error, len(b.tokens)/waiterEvery)
	for i := range cap(b.ended) {
		b.inWait.Go(func() { b.ended <- l.Wait(ctx, b.tokens[i*waiterEvery]) })
	}
}

// renew cancels the goroutines' waits and a tenth of the subscriptions, and begins them anew.
func (b *batch) renew(l *listener.Listener) (counts Counts) {
	b.cancel()
	b.inWait.Wait()
	close(b.ended)
	for err := range b.ended {
		counts.add(err, context.Canceled)
	}
	for i := rand.IntN(10); i < len(b.subs); i += 10 {
		b.subs[i].Close()
		counts.add(b.subs[i].Err(), pgbarrier.ErrClosed)
		b.subs[i] = l.Subscribe(b.tokens[i])
	}
	b.wait(l)
	return counts
}

// end commits or rolls back, and waits until all waits have ended, which must be with that.
func (b *batch) end(ctx context.Context) (counts Counts, err error) {
	var want error
	if rand.IntN(2) == 0 {
		err = b.tx.Commit(ctx)
	} else {
		want = pgbarrier.ErrAborted
		err = b.tx.Rollback(ctx)
	}
	if err != nil {
		return counts, err
	}
	late := time.NewTimer(endBound)
	defer late.Stop()
	for i, sub := range b.subs {
		select {
		case <-sub.Done():
			counts.add(sub.Err(), want)
		case <-late.C:
			return counts, fmt.Errorf("a wait for %v has not ended after %v", b.tokens[i], endBound)
		}
	}
	for range cap(b.ended) {
		select {
		case err := <-b.ended:
			counts.add(err, want)
		case <-late.C:
			return counts, fmt.Errorf("a goroutine in Wait has not returned after %v", endBound)
		}
	}
	b.cancel()
	if counts.Wrong > 0 {
		return counts, fmt.Errorf("%d of %d waits did not end with %v", counts.Wrong, len(b.tokens), want) //nolint:errorlint // it is what did not come
	}
	return counts, nil
}

func (b *batch) abandon() {
	b.cancel()
	b.inWait.Wait()
	for _, sub := range b.subs {
		if sub != nil {
			sub.Close()
		}
	}
	_ = b.tx.Rollback(context.Background()) // ErrTxClosed, if it has ended
}

func (c *Counts) add(got, want error) {
	switch {
	case !errors.Is(got, want):
		c.Wrong++
	case want == nil:
		c.Committed++
	case errors.Is(want, pgbarrier.ErrAborted):
		c.Aborted++
	default:
		c.Cancelled++
	}
}
