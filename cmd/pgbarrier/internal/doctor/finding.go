package doctor

import "context"

// A Level says how bad a finding is.
type Level uint8

const (
	OK   Level = iota
	Warn       // it works, but late, or not for long, or it could not be looked at
	Fail       // producers, waits or purges fail
)

// String returns ok, warn or fail.
func (l Level) String() string { return [...]string{"ok", "warn", "fail"}[l] }

// MarshalText is String, for JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Finding is what an examination has found.
type Finding struct {
	Name   string `json:"finding"` // of the examination: an interface, scripts depend on it
	Level  Level  `json:"level"`
	Found  string `json:"found"`            // one line
	Remedy string `json:"remedy,omitempty"` // what to do, unless it is OK
}

// An examination looks at one thing.
type examination struct {
	name    string
	meaning string // when it is not OK, and what that means
	remedy  string
	needs   need
	look    func(ctx context.Context, p *Patient) (Level, string, error)
}

// A need is what an examination cannot do without.
type need uint8

const (
	schema  need = 1 << iota // that the schema is there
	primary                  // that the server is no standby
	sight                    // that the role sees what other sessions do
	bare                     // that it is not in a transaction
)
