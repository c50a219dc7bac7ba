package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// WriteJSON writes everything, each round included.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(r io.Reader) (*Report, error) {
	var out Report
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	return &out, nil
}

// SaveJSON writes a file.
func (r *Report) SaveJSON(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := r.WriteJSON(f); err != nil {
		_ = f.Close() // err says more
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.Close()
}
