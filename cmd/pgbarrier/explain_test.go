package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

func TestExplainSaysWhyAndEndsWithTheOutcomesExitCode(t *testing.T) {
	url := migrated(t)
	for name, token := range samples(t, url) {
		t.Run(name, func(t *testing.T) {
			pgbarrierCommand(t, url, "explain", token).expect(t, codes[name], name+" ", "\nnext ")
			o := pgbarrierCommand(t, url, "explain", "--json", token)
			o.expect(t, codes[name])
			var result struct {
				Outcome, Token string
				Reasons        []pgbarrier.Reason
			}
			if err := json.Unmarshal([]byte(o.out), &result); err != nil || result.Outcome != name || result.Token != token || result.Reasons[0].About != name {
				t.Errorf("explain --json printed %q (%v)", o.out, err)
			}
		})
	}
}

func TestExplainNamesTheProducer(t *testing.T) {
	url := migrated(t)
	conn := connectTo(t, url)
	_, token := begin(t, conn)
	pgbarrierCommand(t, url, "explain", token.String()).
		expect(t, exitPending, fmt.Sprintf("producer       pid %d, idle in transaction", conn.PgConn().PID()), `"orders of the test"`)
}
