package scenario

import (
	"bufio"
	"context"
	"log"
	"os"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/listener"
)

// listenerURL in the environment makes this program one listening process of a fleet.
const listenerURL = "PGBARRIER_BENCH_LISTENER"

// IsListenerProcess reports whether the program was started as one of a fleet; it is to call
// ListenerProcess then and nothing else.
func IsListenerProcess() bool { return os.Getenv(listenerURL) != "" }

// ListenerProcess waits for the tokens that it reads, a line with a number and a token each, and writes
// a line with the number and the time (Unix, in nanoseconds) when the goroutine that waited runs. It
// begins with the line "ready", and ends, after the last of its input, with "checks" and their number.
func ListenerProcess() error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	w, err := contender.StartListener(ctx, os.Getenv(listenerURL), listener.Config{})
	if err != nil {
		return err
	}
	out := log.New(os.Stdout, "", 0) // writes a line at a time
	out.Print("ready")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		number, text, _ := strings.Cut(s.Text(), " ")
		token, err := pgbarrier.ParseToken(text)
		if err != nil {
			return err
		}
		sub := w.Subscribe(token)
		w.Go(func() {
			<-sub.Done()
			if at := time.Now().UnixNano(); sub.Err() == nil {
				out.Print(number, " ", at)
			}
		})
	}
	checks := w.Stats().Checks
	if err := w.Close(); err != nil {
		return err
	}
	out.Print("checks ", checks)
	return nil
}
