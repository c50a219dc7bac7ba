// Package relayhttp answers waits over HTTP, for any language, curl, and probes. [NewHandler] serves a relay's
// outcomes, [Client] is a Go worker's waiter (guard.FuncWaiter), which needs no database session.
//
//	handler, err := relayhttp.NewHandler(r, relayhttp.ServerConfig{Authorize: relayhttp.Bearer(secret)})
//	…
//	barriers, err := relayhttp.NewClient(relayhttp.ClientConfig{URLs: []string{"https://relay:8443"}, Bearer: secret})
//	…
//	g, err := guard.New(barriers, guard.Config{})
//
// # One wait: GET
//
//	curl --fail --retry 100 https://relay:8443/v1/barriers/$TOKEN?wait=30s && run-the-work
//
// Several tokens, with commas between, are one wait for all of them. The body is a JSON object with the outcome in
// the words of pgbarrier.status, or with an error, which is no outcome. Without wait the relay looks once.
//
//	200 OK                    committed
//	409 Conflict              aborted: the work is to be dropped
//	410 Gone                  expired: purged, nobody knows any more
//	421 Misdirected Request   wrong database; or an error, for a token whose database is not served here
//	400 Bad Request           invalid: no token, or one that its database never made
//	503 Service Unavailable   pending when the wait was over, or an error; ask again after Retry-After
//	429 Too Many Requests     a limit is reached; ask again after Retry-After
//	401, 403                  not authorized
//
// They are those of package guardhttp. Pending is not 202, though it is no failure: whoever looks at nothing but
// success (curl --fail, response.ok) must not take it for a commit, and curl --retry asks again by itself. A proxy that
// takes 503 for a broken server, and sends requests elsewhere for a while, has to be told otherwise: the relay's
// own health is /readyz.
//
// # Many waits: POST
//
// Over HTTP/1.1 each GET takes a connection, and Go's HTTP/2 takes some 250 requests on one. So [Client] puts many waits
// into one POST /v1/waits, and reads their outcomes, one JSON object a line, as they come. See [Client] for what it does
// when a relay dies, hangs, or is full. POST /v1/checks looks once.
//
// # What is promised
//
//   - An outcome is one answer of the database's listener, for all tokens of the wait together.
//   - A relay that dies, a cut or garbled answer, a full or a draining relay delay a wait, and never end it.
//   - A wait leaves nothing behind in the relay once its request has ended.
//   - Nothing is cached: answers say no-store, and an outcome is not believed if it does not name the request and
//     the token that it is for.
//
// # What is not
//
//   - "committed" is believed for up to half a minute after it was true, as long as a request lasts: where a proxy
//     keeps it for so long, a crash of the server meanwhile may have taken the commit back that was not durable.
//   - A proxy that collects answers before it passes them on delays them. Nginx is told not to by X-Accel-Buffering.
//   - Whoever answers in the relay's place is believed: use TLS.
package relayhttp
