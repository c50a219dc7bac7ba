// Package conformance holds guardwatermill to the suite of all adapters (guard/guardtest), with watermill-nats and
// watermill-amqp and their real brokers.
//
// It is a module of its own, and has nothing but tests: as requirements of guardwatermill, the two pub/subs and their
// clients would decide which versions its users get.
package conformance
