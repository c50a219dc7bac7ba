// Package devpg gives a throwaway PostgreSQL in one call, for a demonstration
// or for tests that must run against a real server.
//
//	pg, err := devpg.Start(ctx, devpg.Config{})
//	if err != nil {
//		return err // says what was tried and what to install
//	}
//	defer pg.Close()
//	conn, err := pgx.Connect(ctx, pg.URL())
//
// In a test, [ForTest] does the same and closes the server at the end.
//
// # Where the server comes from
//
// The first of these that can be had:
//
//  1. [SourceURL]: the server named by DEVPG_URL. Start makes a fresh database
//     on it and Close drops that database.
//  2. [SourceLocal]: the server programs installed on this machine, of any
//     major version: the directory named by DEVPG_BINDIR, or else PATH,
//     pg_config and the usual places of Linux packages, Homebrew and
//     Postgres.app, newest major first. Root is fine: the server then runs as
//     the user postgres, or else nobody.
//  3. [SourceDocker]: a container of the image postgres:NN (DEVPG_IMAGE names
//     another), through the engine that DOCKER_HOST or its default names.
//  4. [SourceDownload]: server programs fetched from Maven Central (or the
//     repository that DEVPG_REPOSITORY names) and kept for the next time in
//     DEVPG_CACHE, or else in devpg in the user's cache directory (root's:
//     /var/cache/devpg).
//
// DEVPG=url, local, docker or download in the environment allows that source
// alone. DEVPG_MAJOR=16, say, allows that major version alone. What the
// environment names is never passed over in silence: with DEVPG_URL or
// DEVPG_BINDIR set, the search is confined to it, and fails if it fails.
//
// # What is promised
//
// The server listens on the loopback interface, on a free port below the range
// that systems use for outgoing connections. It is an ordinary server with
// fsync on, so what a crash ([Server.Crash]) leaves is what a real crash would.
// It has encoding UTF8, locale C, time zone UTC and room for replication,
// prepared transactions and 200 connections; [Config.Settings] overrides.
//
// What devpg starts does not outlive the process that started it, however that
// process ends, SIGKILL included, and leaves no file behind: a small shell
// process (or, in a container, the container's first process) holds the
// reading end of a pipe from this process; when the pipe breaks it ends the
// server and removes the directory. That takes some tenths of a second.
//
// Start costs what initdb costs, about a second; nothing is kept to make the
// next Start faster, because nothing may be left. Share a server among tests
// and give each its own database ([Server.CreateDatabase]).
//
// # What is not promised
//
//   - With DEVPG_URL, a process that is killed leaves its database, named
//     devpg_ and 16 hexadecimal digits, on that server.
//   - A download stays in the cache.
//   - A process that is killed between creating a container and starting it,
//     some milliseconds later, leaves a container that never ran. Containers
//     have the label org.pgbarrier.devpg.
//   - A local server trusts everyone on the machine: any user of the machine
//     can connect as superuser. Keep no secrets in it.
//   - Two machines may get two different majors. Pin one with DEVPG_MAJOR, or
//     demand one with [Config.MinMajor].
//   - On Windows the local and download sources are missing; DEVPG_URL and
//     Docker remain.
package devpg
