// Package integration holds the promises of pgbarrier as tests against a real PostgreSQL.
//
// Each test is named after the promise that it keeps. They run on the server that package devpg
// finds, so DEVPG_BINDIR or DEVPG_MAJOR chooses PostgreSQL's major version:
//
//	DEVPG_BINDIR=/usr/lib/postgresql/16/bin go test -race ./integration_test/...
//
// Command chaos, beside the tests, runs for as long as one likes while things go wrong at random.
//
// One server is shared; every test has a fresh database on it. Tests that crash, restart or
// replicate a server start their own. None is ever skipped, but for those that need psql or PgBouncer,
// on a machine without it and outside of CI (CI=true).
//
// The promises are data, in promises_test.go: the README is rendered from them, and the suite fails
// if one of them has a test that did not run and pass.
package integration
