package guardriver

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier/guard"
)

// fields is a job's metadata, a JSON object, as a carrier: of its keys guard.Header has a string.
type fields map[string]json.RawMessage

func parse(metadata []byte) (fields, error) {
	f := fields{}
	if len(bytes.TrimSpace(metadata)) == 0 {
		return f, nil
	}
	if err := json.Unmarshal(metadata, &f); err != nil {
		return nil, fmt.Errorf("pgbarrier: river: the job's metadata is no JSON object: %w", err)
	}
	if f == nil { // null
		f = fields{}
	}
	return f, nil
}

// carrierOf returns the job's carrier. With metadata that is no object nothing is known of the job's transaction: as
// with a malformed barrier.
func carrierOf(job *rivertype.JobRow) guard.Carrier {
	f, err := parse(job.Metadata)
	if err != nil {
		return guard.Map{guard.Header: string(job.Metadata)}
	}
	return f
}

// Get returns the value of key, or nothing.
func (f fields) Get(key string) string {
	for _, value := range f.Values(key) {
		return value
	}
	return ""
}

// Values returns the one value of key, or none. One that is no string is malformed, and returned as it stands.
func (f fields) Values(key string) []string {
	raw, ok := f[key]
	if !ok {
		return nil
	}
	var value string
	if string(raw) == "null" || json.Unmarshal(raw, &value) != nil {
		value = string(raw)
	}
	return []string{value}
}

// Set sets the value of key.
func (f fields) Set(key, value string) {
	f[key], _ = json.Marshal(value) // of a string, which never fails
}
