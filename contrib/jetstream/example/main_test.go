package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheExampleShipsWhatCommittedAndNothingElse(t *testing.T) {
	pause = 200 * time.Millisecond
	var said bytes.Buffer
	story.SetOutput(&said)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ROLLBACK: out of stock", `the handler ships "kept" and finds 1 order`} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(said.String(), `ships "lost"`) {
		t.Error("what rolled back was shipped")
	}
	t.Log(said.String())
}
