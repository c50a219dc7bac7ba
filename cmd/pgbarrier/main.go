// Command pgbarrier shows what transaction barriers do (demo) and operates them from the shell:
// it installs the schema, tells what became of a token's transaction, waits for it, and purges.
//
// Run pgbarrier --help for the commands and their exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Demo        demoCommand        `cmd:"" help:"Show the problem and the barrier at work, on a throwaway PostgreSQL server."`
	Migrate     migrateCommand     `cmd:"" help:"Install the schema, or bring it up to this version."`
	Status      statusCommand      `cmd:"" help:"Tell what became of the transactions of tokens."`
	Explain     explainCommand     `cmd:"" help:"Say why a token has its outcome, and who keeps it pending."`
	Wait        waitCommand        `cmd:"" help:"Wait until the transactions of tokens have ended."`
	Doctor      doctorCommand      `cmd:"" help:"Find out what keeps barriers from working, or will."`
	Purge       purgeCommand       `cmd:"" help:"Delete old barriers."`
	Serve       serveCommand       `cmd:"" help:"Answer waits of processes without a database session, over NATS and HTTP."`
	RenewOrigin renewOriginCommand `cmd:"" help:"Give a physical copy of a database an origin of its own."`
	Version     versionCommand     `cmd:"" help:"Print the version of this command."`
	Producer    producerCommand    `cmd:"" name:"demo-producer" hidden:""`
}

// streams is where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run runs the command that args name and returns its exit code.
func run(args []string, std streams) int {
	ctx, cause := untilSignal()
	code := runCommand(ctx, args, std)
	if sig := cause(); sig != nil && code != exitOK {
		return 128 + int(sig.(syscall.Signal)) // as shells count
	}
	return code
}

func runCommand(ctx context.Context, args []string, std streams) int {
	helped := false
	parser, err := kong.New(&commands{},
		kong.Name("pgbarrier"),
		kong.Description(description),
		kong.UsageOnError(),
		kong.Writers(std.out, std.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.Exit(func(int) { helped = true }), // after --help
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		return report(std, err)
	}
	bare := len(args) == 0
	if bare {
		args = []string{"--help"}
	}
	command, err := parser.Parse(goFlags(parser, args))
	switch {
	case bare:
		return exitUsage // for scripts that lost their arguments
	case helped:
		return exitOK
	}
	if err != nil {
		hint := "pgbarrier --help"
		var parseErr *kong.ParseError
		if errors.As(err, &parseErr) && parseErr.Context != nil && parseErr.Context.Selected() != nil {
			hint = "pgbarrier " + parseErr.Context.Selected().Name + " --help"
		}
		fmt.Fprintf(std.err, "pgbarrier: %s (see %s)\n", oneLine(err), hint)
		return exitUsage
	}
	return report(std, command.Run())
}

// report prints err, unless it only carries an exit code, and returns the exit code.
func report(std streams, err error) int {
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(std.err, "pgbarrier: interrupted")
		return exitError
	}
	fmt.Fprintln(std.err, "pgbarrier: "+strings.TrimPrefix(err.Error(), "pgbarrier: "))
	return codeOf(err)
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, and a function that
// tells which came. A second one ends the process at once.
func untilSignal() (context.Context, func() os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	came := make(chan os.Signal, 1)
	go func() {
		sig := <-signals
		signal.Stop(signals)
		came <- sig
		cancel()
	}()
	return ctx, func() os.Signal {
		if ctx.Err() == nil {
			return nil
		}
		return <-came
	}
}

// goFlags makes --name of -name, where there is such a flag, as Go's own commands take it.
func goFlags(parser *kong.Kong, args []string) []string {
	names := map[string]bool{}
	for _, command := range parser.Model.Leaves(false) {
		for _, group := range command.AllFlags(false) {
			for _, flag := range group {
				names[flag.Name] = true
			}
		}
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(arg, "=")
		if name, single := strings.CutPrefix(name, "-"); single && len(name) > 1 && names[name] {
			args[i] = "-" + arg
		}
	}
	return args
}

// oneLine joins the lines of an error, such as pgx's of a host with several addresses.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		// pgx tries an address once with TLS and once without, and fails alike.
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
