// The command bench measures pgbarrier beside what people use instead, on a throwaway server.
//
//	go run ./bench -quick
//	go run ./bench -json bench.json -charts charts
//
// See README.md for what it measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/bench/internal/scenario"
)

func main() {
	if scenario.IsListenerProcess() {
		if err := scenario.ListenerProcess(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: listening process:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// flags are the command line.
type flags struct {
	scenarios, contenders string
	json, charts          string
	list                  bool
	options               scenario.Options
}

func parse(args []string, stderr io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&f.scenarios, "scenario", "", "names of the scenarios to run, separated by commas (default all)")
	set.StringVar(&f.contenders, "contender", "", "parts of the names of the contenders of load and idle, separated by commas (default all)")
	set.BoolVar(&f.options.Quick, "quick", false, "small sizes, 1 round of 200 ms: shows that it works, not how fast")
	set.IntVar(&f.options.Rounds, "rounds", 0, "rounds in which the contenders take turns (default 5)")
	set.DurationVar(&f.options.Duration, "duration", 0, "of one contender in one round (default 1s)")
	set.StringVar(&f.json, "json", "", "`file` to write everything measured to")
	set.StringVar(&f.charts, "charts", "", "`directory` to draw charts into, as SVG")
	set.BoolVar(&f.list, "list", false, "list the scenarios and the contenders")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if f.options.Rounds < 0 || f.options.Duration < 0 {
		return f, errors.New("-rounds and -duration cannot be negative")
	}
	rounds, duration := 5, time.Second
	if f.options.Quick {
		rounds, duration = 1, 200*time.Millisecond
	}
	if f.options.Rounds == 0 {
		f.options.Rounds = rounds
	}
	if f.options.Duration == 0 {
		f.options.Duration = duration
	}
	if f.contenders != "" {
		parts := strings.Split(f.contenders, ",")
		f.options.Contenders = func(c contender.Contender) bool {
			return slices.ContainsFunc(parts, func(part string) bool {
				return strings.Contains(strings.ToLower(c.Name), strings.ToLower(strings.TrimSpace(part)))
			})
		}
	}
	return f, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if f.list {
		return list(stdout)
	}
	chosen, err := scenario.Named(f.scenarios)
	if err != nil {
		return err
	}
	if f.charts != "" { // before measuring, not after
		if err := os.MkdirAll(f.charts, 0o755); err != nil {
			return err
		}
	}
	r := &report.Report{Started: time.Now().Round(time.Second), Command: strings.Join(append([]string{"go run ./bench"}, args...), " ")}
	if f.options.Quick {
		r.Notes = append(r.Notes, "-quick: the figures show that it works, not how fast it is")
	}
	p := newProgress(stderr)
	err = measure(ctx, f.options, chosen, r, p)
	p.end()
	r.Took = time.Since(r.Started)
	r.Verdicts = r.Judge(scenario.Goals)
	if err != nil {
		r.Notes = append(r.Notes, "the run did not finish: "+err.Error())
	}
	// What was measured before an error or an interrupt is worth having.
	err = errors.Join(err, r.WriteTables(stdout))
	if f.json != "" {
		err = errors.Join(err, r.SaveJSON(f.json))
	}
	if f.charts != "" {
		err = errors.Join(err, scenario.SaveCharts(r, f.charts))
	}
	return err
}

func measure(ctx context.Context, o scenario.Options, chosen []scenario.Scenario, r *report.Report, p *progress) (err error) {
	lab, err := scenario.NewLab(ctx, o, r, p.say)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	for _, s := range chosen {
		begun := time.Now()
		if err := s.Run(ctx, lab); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%s took %s", s.Name, time.Since(begun).Round(time.Second)))
	}
	return nil
}

func list(w io.Writer) error {
	var b strings.Builder
	for _, s := range scenario.All {
		fmt.Fprintf(&b, "%-12s %s\n", s.Name, s.About)
	}
	b.WriteString("\n")
	for _, c := range contender.All() {
		fmt.Fprintf(&b, "%-24s %s\n", c.Name, c.About)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
