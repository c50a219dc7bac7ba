// Package doctor looks at a database through one connection string and says what keeps barriers from working, makes
// waits end late, or soon will.
//
// A patient is the database. An examination looks at one thing, by one statement as a rule, and comes to a finding:
// OK, Warn (it works, but late or not for long) or Fail (producers, waits or purges fail). What the role may not see
// is a finding as well.
//
// Every statement runs in a read-only transaction with a short statement_timeout and lock_timeout. What is left
// behind is one NOTIFY, by which LISTEN is tried.
//
// docs/doctor.md has the table of all findings, made of this package's own words.
package doctor
