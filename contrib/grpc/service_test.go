package guardgrpc

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pgbarrier/pgbarrier/contrib/grpc/internal/orders"
	"github.com/pgbarrier/pgbarrier/guard"
)

// A service is a guarded server, and a client of it.
type service struct {
	orders.Client
	server *grpc.Server
	stop   func()       // ends the server's context
	asked  atomic.Int32 // calls that have reached the server
	called atomic.Int32 // calls of the handler

	mu     sync.Mutex
	handle func(ctx context.Context, order string) (string, error)
}

// start starts a service on the loopback interface.
func start(t *testing.T, w guard.Waiter, config guard.Config, opts ...grpc.DialOption) *service {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, w, config, lis, lis.Addr().String(), opts...)
}

func startOn(t *testing.T, w guard.Waiter, config guard.Config, lis net.Listener, target string, opts ...grpc.DialOption) *service {
	t.Helper()
	g, err := guard.New(w, config)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{handle: func(_ context.Context, order string) (string, error) { return order + " is paid", nil }}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.server = grpc.NewServer(
		grpc.ChainUnaryInterceptor(s.countUnary, UnaryServerInterceptor(ctx, g)),
		grpc.ChainStreamInterceptor(s.countStream, StreamServerInterceptor(ctx, g)),
	)
	orders.Register(s.server, handler{s})
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(lis) }()
	conn, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	s.Client = orders.Client{Conn: conn}
	t.Cleanup(func() {
		_ = conn.Close()
		stop()
		s.server.Stop()
		<-served
	})
	return s
}

func (s *service) countUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	s.asked.Add(1)
	return handler(ctx, req)
}

func (s *service) countStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s.asked.Add(1)
	return handler(srv, stream)
}

// handles says what the handler does from now on.
func (s *service) handles(f func(ctx context.Context, order string) (string, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = f
}

// answer is what both methods do.
func (s *service) answer(ctx context.Context, order string) (string, error) {
	s.called.Add(1)
	s.mu.Lock()
	handle := s.handle
	s.mu.Unlock()
	return handle(ctx, order)
}

// handler is the service's. It is a type of its own, because the client has methods of the same names.
type handler struct{ s *service }

func (h handler) Get(ctx context.Context, order string) (string, error) {
	return h.s.answer(ctx, order)
}

func (h handler) Watch(ctx context.Context, order string, send func(string) error) error {
	status, err := h.s.answer(ctx, order)
	if err != nil {
		return err
	}
	return send(status)
}

// methods are the two ways to ask for an order's status.
func (s *service) methods() map[string]func(context.Context) (string, error) {
	return map[string]func(context.Context) (string, error){
		"unary": func(ctx context.Context) (string, error) { return s.Get(ctx, "order 7") },
		"stream": func(ctx context.Context) (string, error) {
			next, err := s.Watch(ctx, "order 7")
			if err != nil {
				return "", err
			}
			status, err := next()
			if err == nil {
				if _, end := next(); end != io.EOF {
					return "", end
				}
			}
			return status, err
		},
	}
}
