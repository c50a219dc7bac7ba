module github.com/pgbarrier/pgbarrier/contrib/watermill/internal/conformance

go 1.26.0

require (
	github.com/ThreeDotsLabs/watermill v1.5.1
	github.com/ThreeDotsLabs/watermill-amqp/v3 v3.0.2
	github.com/ThreeDotsLabs/watermill-nats/v2 v2.1.3
	github.com/jackc/pgx/v5 v5.12.0
	github.com/nats-io/nats.go v1.55.0
	github.com/pgbarrier/pgbarrier v0.1.0
	github.com/pgbarrier/pgbarrier/contrib/watermill v0.1.0
	github.com/pgbarrier/pgbarrier/devpg v0.1.0
	github.com/rabbitmq/amqp091-go v1.16.0
	go.uber.org/goleak v1.3.0
)
