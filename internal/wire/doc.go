// Package wire is how the packages of pgbarrier speak to its schema: the statement that checks, its answer,
// and what the server's errors mean.
package wire
