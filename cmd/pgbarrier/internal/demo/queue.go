package demo

import "github.com/pgbarrier/pgbarrier"

// A Message is what the orders service puts into the queue. The token is all that a barrier adds.
type Message struct {
	Request int             `json:"request"`
	Barrier pgbarrier.Token `json:"barrier,omitzero"`
}

// The queue is a channel. It stands for any: Redis, NATS, RabbitMQ, SQS, a table. What is in it
// survives the producers, which are other processes.
type queue chan Message
