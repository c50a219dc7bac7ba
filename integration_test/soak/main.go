package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pgbarrier/pgbarrier/devpg"
)

func main() {
	config := Config{Out: os.Stdout}
	flag.IntVar(&config.Waits, "waits", 100_000, "waits that are open all the time")
	flag.IntVar(&config.Rate, "rate", 10_000, "waits a second that end and are replaced")
	flag.DurationVar(&config.Duration, "duration", time.Minute, "how long they churn")
	flag.Float64Var(&config.MaxGrowth, "growth", 0.05, "share by which heap and goroutines may grow from the first third to the last")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := onThrowawayServer(ctx, config)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func onThrowawayServer(ctx context.Context, config Config) (err error) {
	// What is measured is this process: the server need not wait for the disk.
	server, err := devpg.Start(ctx, devpg.Config{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	config.URL = server.URL()
	_, err = Run(ctx, config)
	return err
}
