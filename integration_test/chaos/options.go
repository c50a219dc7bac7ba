package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// options are what a run is asked for.
type options struct {
	duration  time.Duration
	only      string
	barriers  int64
	faults    int64
	seed      uint64
	producers int
	workers   int
	listeners int
	async     float64
	retention time.Duration
	bound     time.Duration
	pause     time.Duration
	reap      time.Duration // not a flag: after how long what is swallowed is closed
	progress  time.Duration
	json      string
	verbose   bool
}

func defaultOptions() options {
	return options{
		duration:  time.Minute,
		seed:      1,
		producers: 24,
		workers:   4000,
		listeners: 4,
		async:     0.05,
		retention: 20 * time.Second,
		bound:     30 * time.Second,
		pause:     1500 * time.Millisecond,
		reap:      20 * time.Second, // longer than a listener needs to find out by itself
		progress:  5 * time.Second,
	}
}

func parseOptions(args []string, output io.Writer) (options, error) {
	o := defaultOptions()
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.DurationVar(&o.duration, "duration", o.duration, "how long producers produce and faults happen")
	flags.StringVar(&o.only, "only", o.only, "only faults with this in their `name`")
	flags.Int64Var(&o.barriers, "barriers", o.barriers, "it goes on until so many are made")
	flags.Int64Var(&o.faults, "faults", o.faults, "it goes on until so many are over")
	flags.Uint64Var(&o.seed, "seed", o.seed, "decides what is done and what goes wrong, not how it is scheduled")
	flags.IntVar(&o.producers, "producers", o.producers, "transactions at a time")
	flags.IntVar(&o.workers, "workers", o.workers, "messages that are worked on at a time; with more, producers pause")
	flags.IntVar(&o.listeners, "listeners", o.listeners, "listeners: one with LISTEN, one through a proxy, one that polls only, then more with LISTEN")
	flags.Float64Var(&o.async, "async", o.async, "share of transactions with synchronous_commit=off, which a crash may take back")
	flags.DurationVar(&o.retention, "retention", o.retention, "barriers that are older are purged all the time")
	flags.DurationVar(&o.bound, "bound", o.bound, "a wait that takes longer, after its transaction ended and the server was back, is lost")
	flags.DurationVar(&o.pause, "pause", o.pause, "mean pause between two faults")
	flags.DurationVar(&o.progress, "progress", o.progress, "how often to tell how it goes; 0: never")
	flags.StringVar(&o.json, "json", "", "also write the summary to this `file`")
	flags.BoolVar(&o.verbose, "v", false, "tell each fault and, on stderr, what the listeners log")
	flags.Usage = func() {
		fmt.Fprintf(output, "chaos runs pgbarrier while things go wrong and compares every outcome with the rows that exist.\n"+
			"The server is one of its own, see package devpg: DEVPG_BINDIR or DEVPG_MAJOR chooses the major version.\n\n")
		flags.PrintDefaults()
		fmt.Fprintf(output, "\nfaults:\n")
		for _, f := range faults {
			fmt.Fprintf(output, "  %s\n", f.name)
		}
		fmt.Fprintf(output, "\nhow transactions end:\n")
		for _, e := range endings {
			fmt.Fprintf(output, "  %s\n", e.name)
		}
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not understood: there are only flags, see -help", flags.Arg(0))
	case o.duration <= 0, o.producers < 1, o.workers < 1, o.listeners < 1, o.retention <= 0, o.bound <= 0, o.pause <= 0:
		return o, errors.New("durations and numbers must be greater than zero")
	case len(deck(random(o.seed, 1000, 0), o.only, true)) == 0:
		return o, fmt.Errorf("no fault has %q in its name, see -help", o.only)
	case o.async < 0 || o.async > 1:
		return o, errors.New("-async must be between 0 and 1")
	}
	return o, nil
}
