package main

import (
	"encoding/json"
	"io"
)

// writeJSON writes v on one line, so that the results of several tokens can be read line by line.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
