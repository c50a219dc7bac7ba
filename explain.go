package pgbarrier

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// An Explanation is why a token has the status it has.
type Explanation struct {
	Status  Status
	Reasons []Reason
}

// A Reason is one thing that there is to say, in words and in facts.
type Reason struct {
	// About is what it speaks of: the status as [Status.String] has it, with its proof; then "barrier", "standby",
	// "producer", "blocked by", "not shown" and "next", those that apply. There may be several of one kind.
	About string `json:"about"`
	// Says is a sentence or a list for people. Its wording may change.
	Says string `json:"says"`
	// Facts is a JSON object with what Says tells, or nil.
	Facts json.RawMessage `json:"facts,omitempty"`
}

// String returns the reasons, one a line.
func (e Explanation) String() string {
	var b strings.Builder
	for _, r := range e.Reasons {
		fmt.Fprintf(&b, "%-14s %s\n", r.About, r.Says)
	}
	return b.String()
}

// Explain tells why a token has its status: what proves it and, while it is pending, which session or prepared
// transaction keeps the transaction open, who blocks that, and what to do next. A text that is no token is
// explained as well: it is Invalid.
//
// It is for people and rare: it looks at the server's sessions and locks. Their state, client and statements are shown
// as the role may see them, those of other roles with pg_read_all_stats alone; what is not shown is said. On a
// standby the status is that of [AwaitReplica], and what a standby cannot know is said.
//
// The role needs EXECUTE on pgbarrier.explain(text) and pgbarrier.proof(text).
func Explain(ctx context.Context, db DB, token string) (Explanation, error) {
	if err := requireDB(db); err != nil {
		return Explanation{}, err
	}
	token = strings.Map(func(r rune) rune {
		if r == 0 || r > unicode.MaxASCII { // which not every database can take
			return '?'
		}
		return r
	}, token)
	var answer []byte
	err := wire.InOneTransaction(ctx, db, wire.ReadCommitted, func(db DB) error {
		return db.QueryRow(ctx, "SELECT pg_catalog.json_agg(e) FROM pgbarrier.explain($1::pg_catalog.text) e", token).Scan(&answer)
	})
	if err != nil {
		return Explanation{}, wire.Explain("explain", err)
	}
	var e Explanation
	if err := json.Unmarshal(answer, &e.Reasons); err != nil {
		return Explanation{}, fmt.Errorf("pgbarrier: explain: the answer is not understood: %w", err)
	}
	for i, r := range e.Reasons {
		if string(r.Facts) == "null" {
			e.Reasons[i].Facts = nil
		}
	}
	i := -1
	if len(e.Reasons) > 0 {
		i = slices.IndexFunc(statuses[:], func(s statusWords) bool { return s.name == e.Reasons[0].About })
	}
	if i < 0 {
		return Explanation{}, fmt.Errorf("pgbarrier: explain: the server answered with an unknown outcome: %.80q", answer)
	}
	e.Status = Status(i)
	return e, nil
}
