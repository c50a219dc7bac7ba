package devpg

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// defaultSettings are those of a small server that still crashes, replicates
// and prepares transactions like a large one. fsync and full_page_writes keep
// their defaults (on): with fsync off, what a crash leaves proves nothing.
var defaultSettings = map[string]string{
	"max_connections":           "200",
	"shared_buffers":            "32MB",
	"wal_level":                 "replica",
	"max_wal_senders":           "8",
	"max_replication_slots":     "8",
	"wal_keep_size":             "64MB", // a standby made without a slot finds its WAL
	"max_prepared_transactions": "64",
	"timezone":                  "UTC",
	"log_timezone":              "UTC",
	"lc_messages":               "C", // launch reads "could not bind" in the log

	// A standby asks its restarted primary again after this long (default 5 s).
	"wal_retrieve_retry_interval": "100ms",

	// Parallel queries then share memory through files in the data directory.
	// The default, posix, leaves them in /dev/shm after a crash.
	"dynamic_shared_memory_type": "mmap",
}

// ourSettings are decided by where the server runs.
var ourSettings = []string{
	"port", "listen_addresses", "unix_socket_directories",
	"data_directory", "config_file", "hba_file", "ident_file", "external_pid_file",
	"primary_conninfo", identitySetting,
}

// identitySetting holds a random value, by which launch knows that the server
// that answers on the port is the one it started.
const identitySetting = "devpg.identity"

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$`)

func checkSettings(s map[string]string) error {
	for name, value := range s {
		switch {
		case !settingName.MatchString(name):
			return fmt.Errorf("devpg: %q is not the name of a server setting", name)
		case strings.ContainsAny(value, "\n\r\x00"):
			return fmt.Errorf("devpg: setting %s: the value has a line break or a zero byte", name)
		case slices.Contains(ourSettings, strings.ToLower(name)):
			return fmt.Errorf("devpg: setting %s cannot be chosen: devpg decides it", name)
		}
	}
	return nil
}

// overlay returns the settings of all layers, the later ones winning.
func overlay(layers ...map[string]string) map[string]string {
	out := make(map[string]string)
	for _, layer := range layers {
		for name, value := range layer {
			out[strings.ToLower(name)] = value
		}
	}
	return out
}

// confLines writes settings as postgresql.conf does, in a fixed order.
func confLines(settings map[string]string) []string {
	// In a quoted value a quote is doubled and a backslash starts an escape
	// (src/backend/utils/misc/guc-file.l, DeescapeQuotedString).
	quote := strings.NewReplacer(`'`, `''`, `\`, `\\`)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		lines = append(lines, name+" = '"+quote.Replace(settings[name])+"'")
	}
	return lines
}

func portSettings(listen string, port int, identity string) map[string]string {
	return map[string]string{
		"listen_addresses": listen,
		"port":             strconv.Itoa(port),
		// No socket file: its path would be too long in macOS's TMPDIR
		// (104 bytes), and TCP on loopback is all that URL names.
		"unix_socket_directories": "",
		identitySetting:           identity,
	}
}
