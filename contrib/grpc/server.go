package guardgrpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pgbarrier/pgbarrier/guard"
)

// UnaryServerInterceptor calls the handler for calls whose transactions have committed, and answers the others itself. A
// call waits as long as g's budget, and half of the time at most that its deadline leaves.
//
// ctx is the server's: when it ends, calls that wait are answered by Unavailable, so that GracefulStop need not wait for
// them.
func UnaryServerInterceptor(ctx context.Context, g *guard.Guard) grpc.UnaryServerInterceptor {
	s := &server{ctx, g}
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := s.admit(ctx); err != nil {
			return nil, err
		}
		resp, err := handler(ctx, req)
		return resp, asHandlers(err)
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams. It decides before the handler begins.
func StreamServerInterceptor(ctx context.Context, g *guard.Guard) grpc.StreamServerInterceptor {
	s := &server{ctx, g}
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := s.admit(stream.Context()); err != nil {
			return err
		}
		return asHandlers(handler(srv, stream))
	}
}

type server struct {
	ctx   context.Context
	guard *guard.Guard
}

// admit returns nil if the handler is to be called, else the answer.
func (s *server) admit(ctx context.Context) error {
	incoming, _ := metadata.FromIncomingContext(ctx)
	waiting, cancel := s.waiting(ctx)
	defer cancel()
	d := s.guard.Decide(waiting, carrier(incoming))
	if d.Verdict == guard.Run {
		return nil
	}
	if d.Verdict == guard.Later {
		_ = grpc.SetTrailer(ctx, pushback(pauseOf(d))) // which only fails if the call is over
	}
	return refusal(d)
}

// waiting returns the context of a wait: it ends with the server's, and when half of the call's time is over.
func (s *server) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	half, cancel := halfOf(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return half, func() { stop(); cancel() }
}

func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}
