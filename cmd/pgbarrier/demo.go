package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/pgbarrier/pgbarrier/cmd/pgbarrier/internal/demo"
)

// demoCommand has no DATABASE_URL: who only wants to look should not load what happens to be there.
type demoCommand struct {
	URL    string `name:"database" short:"d" placeholder:"URL" help:"Run in this database, in a schema of its own that is dropped at the end, instead of on a throwaway server. DATABASE_URL does not count here."`
	Orders int    `default:"1200" help:"Orders that are placed at each of the four approaches, 500 a second (default ${default})."`
	Queue  string `enum:"channel,nats,redis,rabbitmq" default:"channel" help:"What messages go through: channel, a Go channel (default); nats (JetStream), redis (asynq) or rabbitmq, whose server the demo starts and which must be installed."`
	JSON   bool   `name:"json" help:"Print the numbers as JSON; progress goes to stderr."`
}

func (c *demoCommand) Help() string {
	return `An orders service and a worker with a queue in between, the same load four ways: enqueue before COMMIT, COMMIT before enqueue, with pgbarrier, and with pgbarrier while its LISTEN connection is killed again and again. Producers are processes that are killed all the time. It takes about 15 seconds.

The throwaway server is one that DEVPG_URL names, the PostgreSQL programs of this machine, a Docker container, or a download, whichever comes first.

Exit codes: 0 pgbarrier lost nothing and did nothing wrong, 1 it did, or the demo could not run, 2 usage error.`
}

func (c *demoCommand) Run(ctx context.Context, std streams) error {
	if c.Orders < 1 || c.Orders > 1_000_000 {
		return usageError{fmt.Errorf("--orders is %d, it must be from 1 to 1000000", c.Orders)}
	}
	if c.URL != "" {
		pool, err := database{c.URL}.connect(ctx) // for the sake of its errors
		if err != nil {
			return err
		}
		pool.Close()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	config := demo.Config{
		DatabaseURL: c.URL,
		Queue:       c.Queue,
		Requests:    c.Orders,
		Progress:    std.out,
		Producer: func(ctx context.Context, databaseURL, queue, approach string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, self, "demo-producer", approach)
			// Not as an argument: those can be read by every user of the machine.
			cmd.Env = append(os.Environ(), producerURL+"="+databaseURL, producerQueue+"="+queue)
			return cmd
		},
	}
	if c.JSON {
		config.Progress = std.err
	}
	result, err := demo.Run(ctx, config)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(std.out, result)
	} else {
		result.Report(std.out)
	}
	if err == nil && !result.Kept() {
		return exitCode(exitError)
	}
	return err
}

const producerURL, producerQueue = "PGBARRIER_DEMO_URL", "PGBARRIER_DEMO_QUEUE"

// producerCommand is a process of the demo's orders service, for demoCommand to start.
type producerCommand struct {
	Approach string `arg:""`
}

func (c *producerCommand) Run(ctx context.Context, std streams) error {
	return demo.Produce(ctx, os.Getenv(producerURL), os.Getenv(producerQueue), c.Approach, std.in, std.out)
}
