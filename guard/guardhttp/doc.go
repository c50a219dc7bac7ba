// Package guardhttp guards HTTP handlers: a request that carries a barrier is handled when its transaction can be
// read. It is for calls about changes that were made elsewhere a moment ago, read-your-writes between services,
// and for webhooks and push queues that deliver by HTTP.
//
//	g, err := guard.New(barriers, guard.Config{Slots: -1}) // a request that waits takes no worker
//	mux.Handle("POST /orders", guardhttp.Middleware(g)(handler))
//
// A request without a barrier is handled at once, unless guard.Config.Require is set. Otherwise the answer is the
// handler's, or
//
//	409 Conflict              the transaction rolled back
//	503 Service Unavailable   it has not ended within the budget: again after Retry-After
//	410 Gone                  the barrier has been purged
//	421 Misdirected Request   it is of another database
//	400 Bad Request           it is malformed
//	428 Precondition Required there is none, and one is required
//
// 425 Too Early is not among them: browsers and proxies take it for one about TLS early data (RFC 8470).
//
// A caller adds the token to the request's headers, with guard.Add, or calls [Do], which also understands the
// answers above. It does so after its COMMIT, or sends the request by something that does not wait for the
// answer: a call inside the transaction waits for itself. So there is nothing here that adds the token of the
// context's transaction to every request.
package guardhttp
