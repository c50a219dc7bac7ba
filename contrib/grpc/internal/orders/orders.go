// Package orders is a small service, as protoc would make it, for tests and the example.
package orders

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Server answers calls.
type Server interface {
	// Get returns an order's status.
	Get(ctx context.Context, order string) (string, error)
	// Watch sends an order's status each time it changes.
	Watch(ctx context.Context, order string, send func(status string) error) error
}

// Register adds the service to a server.
func Register(to grpc.ServiceRegistrar, s Server) { to.RegisterService(&service, s) }

const (
	getMethod   = "/orders.Orders/Get"
	watchMethod = "/orders.Orders/Watch"
)

var service = grpc.ServiceDesc{
	ServiceName: "orders.Orders",
	HandlerType: (*Server)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Get", Handler: get}},
	Streams:     []grpc.StreamDesc{{StreamName: "Watch", Handler: watch, ServerStreams: true}},
}

func get(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	order := new(wrapperspb.StringValue)
	if err := decode(order); err != nil {
		return nil, err
	}
	handle := func(ctx context.Context, req any) (any, error) {
		status, err := srv.(Server).Get(ctx, req.(*wrapperspb.StringValue).GetValue())
		if err != nil {
			return nil, err
		}
		return wrapperspb.String(status), nil
	}
	if interceptor == nil {
		return handle(ctx, order)
	}
	return interceptor(ctx, order, &grpc.UnaryServerInfo{Server: srv, FullMethod: getMethod}, handle)
}

func watch(srv any, stream grpc.ServerStream) error {
	order := new(wrapperspb.StringValue)
	if err := stream.RecvMsg(order); err != nil {
		return err
	}
	return srv.(Server).Watch(stream.Context(), order.GetValue(), func(status string) error {
		return stream.SendMsg(wrapperspb.String(status))
	})
}

// Client calls the service.
type Client struct{ Conn grpc.ClientConnInterface }

// Get returns an order's status.
func (c Client) Get(ctx context.Context, order string, opts ...grpc.CallOption) (string, error) {
	status := new(wrapperspb.StringValue)
	err := c.Conn.Invoke(ctx, getMethod, wrapperspb.String(order), status, opts...)
	return status.GetValue(), err
}

// Watch returns a function that returns the next status, and io.EOF after the last.
func (c Client) Watch(ctx context.Context, order string) (next func() (string, error), err error) {
	stream, err := c.Conn.NewStream(ctx, &service.Streams[0], watchMethod)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(wrapperspb.String(order)); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return func() (string, error) {
		status := new(wrapperspb.StringValue)
		err := stream.RecvMsg(status)
		return status.GetValue(), err
	}, nil
}
