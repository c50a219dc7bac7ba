// Package serve is pgbarrier serve: a relay for one or more databases, served over NATS, HTTP, or both.
//
//	PostgreSQL ◀──── listener ──┐            ┌── relaynats ──▶ NATS ──▶ workers
//	PostgreSQL ◀──── listener ──┴── relay ───┴── relayhttp ──▶ workers, curl, probes
//
// Its end has an order: not ready any more; clients leave; the servers stop; the relay; the databases.
package serve
