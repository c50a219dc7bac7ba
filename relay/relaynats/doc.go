// Package relaynats brings waits to a relay over NATS core, and outcomes back.
package relaynats
