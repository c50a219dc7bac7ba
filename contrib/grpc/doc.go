// Package guardgrpc guards the services of google.golang.org/grpc: a call that carries a barrier is handled when its
// transaction can be read. It is for calls about changes that were made elsewhere a moment ago, read-your-writes between
// services, and for push queues that deliver by gRPC.
//
// The server:
//
//	g, err := guard.New(barriers, guard.Config{Slots: -1}) // a call that waits takes no worker
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(guardgrpc.UnaryServerInterceptor(ctx, g)),
//		grpc.ChainStreamInterceptor(guardgrpc.StreamServerInterceptor(ctx, g)),
//	)
//
// The client, after its COMMIT:
//
//	err = guardgrpc.Do(ctx, func(ctx context.Context) (err error) {
//		order, err = client.GetOrder(ctx, &orders.GetOrderRequest{Id: 7})
//		return err
//	}, token)
//
// # What becomes of a call
//
// One without a barrier is handled at once, unless guard.Config.Require is set. Otherwise the answer is the handler's, or
//
//	FailedPrecondition  the transaction rolled back; not Aborted, which clients try again
//	Unavailable         it has not ended within the budget: again after the time in RetryInfo
//	InvalidArgument     the barrier has been purged, is malformed or of another database; or there is none, and one is
//	                    required
//
// with an ErrorInfo of the domain [Domain], which tells such an answer from one of the handler's. The wait takes half of
// the time at most that the call's deadline leaves, so that the handler, or the answer Unavailable, has the other half.
//
// # Traps
//
//   - A call inside the transaction that waits for its answer waits for itself. So there is nothing here that adds the token
//     of the context's transaction to every call: [Do] and [Add] take it from you. Call after COMMIT, or call a method that
//     only puts the message into a queue, and whose server has no guard.
//   - A client's retry policy (service config) that has UNAVAILABLE among its retryableStatusCodes tries a pending call
//     again, after the pause that the server asks for by grpc-retry-pushback-ms, up to five times. [Do] goes on.
//   - The guard of a stream decides once, before the handler. What is sent later in the stream is not looked at.
//   - Metadata is not handed on: a handler that calls another service adds the token again.
package guardgrpc
