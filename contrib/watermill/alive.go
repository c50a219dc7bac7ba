package guardwatermill

import (
	"context"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/ThreeDotsLabs/watermill/message"
)

// signs are those of messages that a middleware may get, by weak.Pointer[message.Message].
var signs sync.Map

// A sign tells a broker that a message is in progress.
type sign struct {
	every time.Duration
	give  func() error
}

// KeepAlive has inProgress called every so often while a [Middleware] has m, be it held or handled. It is for a broker
// that delivers a message again which is not acknowledged in time, such as JetStream within AckWait: every is a quarter
// of that. Call it where m is made from the broker's message, in the subscriber's unmarshaler:
//
//	func (u unmarshaler) Unmarshal(raw jetstream.Msg) (*message.Message, error) {
//		m, err := u.DefaultUnmarshaler.Unmarshal(raw)
//		if err == nil {
//			guardwatermill.KeepAlive(m, ackWait/4, raw.InProgress)
//		}
//		return m, err
//	}
//
// It ends when the middleware returns, or m's context ends. inProgress must not refer to m.
func KeepAlive(m *message.Message, every time.Duration, inProgress func() error) {
	key := weak.Make(m)
	signs.Store(key, sign{max(every, time.Millisecond), inProgress})
	runtime.AddCleanup(m, func(key weak.Pointer[message.Message]) { signs.Delete(key) }, key)
}

// keepAlive gives signs about m until done is called, if it has any to give.
func (c *consumer) keepAlive(m *message.Message) (done func()) {
	found, ok := signs.Load(weak.Make(m))
	if !ok {
		return func() {}
	}
	s := found.(sign)
	ctx, cancel := context.WithCancel(m.Context())
	fields := fields(ctx, m)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(s.every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if err := s.give(); err != nil && ctx.Err() == nil {
				c.logger.Error("pgbarrier: watermill: cannot tell the broker that a message is in progress", err, fields)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
