// Package pgbarrier provides transaction barriers for PostgreSQL.
package pgbarrier
