// Package listener waits for transaction barriers: it is the worker's side of pgbarrier.
package listener
