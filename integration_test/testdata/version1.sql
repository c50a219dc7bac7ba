-- +goose Up
-- +goose StatementBegin
-- +migrate Up
-- +migrate StatementBegin
-- migrate:up

-- The pgbarrier schema, version 1, for PostgreSQL 14 and later.
--
-- One statement, so that it is all or nothing under every tool: psql -v ON_ERROR_STOP=1 -f, goose,
-- golang-migrate, tern, dbmate, sql-migrate, pgbarrier.Migrate. Run it again at any time: what is
-- already right is left alone (no table or trigger is touched, grants stay), what is missing or
-- older is repaired. Processes that run it at once take turns.
--
-- No backslashes: in a session with standard_conforming_strings off they would be escapes.
--
-- Nothing is granted to PUBLIC. What applications need:
--   GRANT USAGE ON SCHEMA pgbarrier TO producer, worker;
--   GRANT EXECUTE ON FUNCTION pgbarrier.create(boolean) TO producer;
--   GRANT EXECUTE ON FUNCTION pgbarrier.version(), pgbarrier.check(text[]), pgbarrier.watch(text[], xid8[], integer, integer) TO worker;
--   GRANT EXECUTE ON FUNCTION pgbarrier.visible(text[]) TO whoever reads from a standby;
--   GRANT EXECUTE ON FUNCTION pgbarrier.purge(interval, integer) TO whoever purges;
--   GRANT EXECUTE ON FUNCTION pgbarrier.status(text) TO whoever asks from SQL;
DO $pgbarrier$
DECLARE
	installed integer;
	new_table boolean;
	stranger  text;
	found_path text := pg_catalog.current_setting('search_path');
BEGIN
	-- Whoever migrates is powerful, and may have a schema of others in front. Given back at the end,
	-- because a migration tool goes on in the same transaction.
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

	-- Released at the end of the transaction, whichever tool opened it.
	PERFORM pg_catalog.pg_advisory_xact_lock(7018962344107663490);

	IF pg_catalog.current_setting('server_version_num')::integer < 140000 THEN
		RAISE EXCEPTION 'pgbarrier needs PostgreSQL 14 or later, this server is %',
			pg_catalog.current_setting('server_version');
	END IF;
	-- Whoever may create schemas may have made this one first, with triggers on its tables and code in
	-- the place of ours. Only what belongs to a role that has all our rights anyway is run or kept.
	SELECT pg_catalog.pg_get_userbyid(o.owner) INTO stranger FROM (
		SELECT nspowner AS owner, oid AS schema FROM pg_catalog.pg_namespace
		UNION ALL SELECT proowner, pronamespace FROM pg_catalog.pg_proc
		UNION ALL SELECT relowner, relnamespace FROM pg_catalog.pg_class
	) o WHERE o.schema = pg_catalog.to_regnamespace('pgbarrier') AND NOT pg_catalog.pg_has_role(o.owner, current_user, 'MEMBER')
	LIMIT 1;
	IF stranger IS NOT NULL THEN
		RAISE EXCEPTION 'schema pgbarrier belongs, at least in part, to role %, whose code % would run: migrate as that role (SET ROLE), or drop the schema if it should not be there',
			stranger, current_user USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF pg_catalog.to_regprocedure('pgbarrier.version()') IS NOT NULL THEN
		EXECUTE 'SELECT pgbarrier.version()' INTO installed;
		IF installed > 1 THEN
			RAISE EXCEPTION 'pgbarrier schema version % is installed, this file is version 1', installed
				USING ERRCODE = 'object_not_in_prerequisite_state', -- Migrate knows it by that
				HINT = 'Run the sql/triggers.sql of the newest pgbarrier in use.';
		END IF;
	END IF;

	IF pg_catalog.to_regnamespace('pgbarrier') IS NULL THEN
		CREATE SCHEMA pgbarrier;
	END IF;

	-- One row per barrier, visible exactly when its transaction has committed. xid is the top-level
	-- transaction's: the row's own xmin would be a subtransaction's under a savepoint.
	new_table := pg_catalog.to_regclass('pgbarrier.barrier') IS NULL;
	IF new_table THEN
		CREATE TABLE pgbarrier.barrier (
			id  pg_catalog.uuid PRIMARY KEY,
			xid pg_catalog.xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id()
		);
		-- Tokens of an earlier barrier table must not be judged by this one.
		IF pg_catalog.to_regclass('pgbarrier.identity') IS NOT NULL THEN
			DROP TABLE pgbarrier.identity;
		END IF;
		IF pg_catalog.to_regclass('pgbarrier.horizon') IS NOT NULL THEN
			DROP TABLE pgbarrier.horizon;
		END IF;
	END IF;

	-- What makes this database itself. The one row is never updated: see origin().
	IF pg_catalog.to_regclass('pgbarrier.identity') IS NULL THEN
		CREATE TABLE pgbarrier.identity (seed bigint NOT NULL);
		CREATE UNIQUE INDEX identity_has_one_row ON pgbarrier.identity ((true));
	END IF;
	-- Also where a dump of the schema alone was restored.
	IF NOT EXISTS (SELECT FROM pgbarrier.identity) THEN
		INSERT INTO pgbarrier.identity
			VALUES (('x' || left(pg_catalog.gen_random_uuid()::text, 8))::bit(32)::bigint);
	END IF;

	-- The least id of a barrier that is created at that time.
	CREATE OR REPLACE FUNCTION pgbarrier.first_id(created timestamptz) RETURNS uuid
	LANGUAGE sql STABLE
	AS $fn$
		SELECT encode(overlay(decode('00000000000070008000000000000000', 'hex')
			PLACING substring(int8send(greatest(0, floor(extract(epoch FROM created) * 1000))::bigint) FROM 3)
			FROM 1), 'hex')::uuid
	$fn$;

	-- Barriers up to and including this id may have been purged; none above it has been. If the
	-- horizon is lost while barriers are not, anything created until now may have been.
	IF pg_catalog.to_regclass('pgbarrier.horizon') IS NULL THEN
		CREATE TABLE pgbarrier.horizon (purged_through pg_catalog.uuid NOT NULL);
		CREATE UNIQUE INDEX horizon_has_one_row ON pgbarrier.horizon ((true));
	END IF;
	IF NOT EXISTS (SELECT FROM pgbarrier.horizon) THEN
		INSERT INTO pgbarrier.horizon VALUES (
			CASE WHEN new_table THEN '00000000-0000-0000-0000-000000000000'
			ELSE pgbarrier.first_id(pg_catalog.clock_timestamp() + '1 second') END);
	END IF;

	CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer
	LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT 1 $fn$;

	-- A token's origin: which database its xid belongs to. Made of the random seed and of what changes
	-- when the seed is copied: a clone (CREATE DATABASE ... TEMPLATE) has another database oid, a
	-- restored dump another xmin on the row. Physical copies (a promoted standby, pg_upgrade,
	-- point-in-time recovery) keep all of it, and their xids go on, so their tokens stay good. The
	-- factors are odd, so that a change in one term alone always changes the sum modulo 2^32.
	CREATE OR REPLACE FUNCTION pgbarrier.origin() RETURNS text
	LANGUAGE plpgsql STABLE
	AS $fn$
	BEGIN
		-- The last directory of a table's path is its database's oid, found in half the time that asking
		-- pg_database takes.
		RETURN lpad(to_hex((i.seed + split_part(pg_relation_filepath(i.tableoid), '/', -2)::bigint * 715827883
				+ i.tableoid::bigint * 16777619 + i.xmin::text::bigint * 1000003) & 4294967295), 8, '0')
			FROM pgbarrier.identity i;
	END
	$fn$;

	-- UUIDv7 of the server's clock: purging by age is then a range of the primary key, and no
	-- client's clock is trusted. Unguessable: at least 62 bits are strong random.
	IF pg_catalog.current_setting('server_version_num')::integer >= 180000 THEN
		CREATE OR REPLACE FUNCTION pgbarrier.new_id() RETURNS uuid
		LANGUAGE sql VOLATILE
		AS $fn$ SELECT uuidv7() $fn$;
	ELSE
		-- A random UUIDv4, its first 48 bits replaced by milliseconds, its version nibble 4 made 7.
		CREATE OR REPLACE FUNCTION pgbarrier.new_id() RETURNS uuid
		LANGUAGE sql VOLATILE
		AS $fn$
			SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
				PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
				FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
		$fn$;
	END IF;

	CREATE OR REPLACE FUNCTION pgbarrier.token(id uuid, xid xid8) RETURNS text
	LANGUAGE sql STABLE
	AS $fn$ SELECT 'pgb1.' || id || '.' || xid || '.' || pgbarrier.origin() $fn$;

	-- create makes a barrier in the current transaction and returns its token. announce => false
	-- switches announcing off for the whole transaction, as PREPARE TRANSACTION requires; waits on
	-- its barriers then end by the fallback check.
	CREATE OR REPLACE FUNCTION pgbarrier.create(announce boolean DEFAULT true) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	DECLARE
		token text;
	BEGIN
		IF announce IS FALSE THEN
			PERFORM set_config('pgbarrier.announce', 'off', true);
		END IF;
		INSERT INTO pgbarrier.barrier AS b (id) VALUES (pgbarrier.new_id())
			RETURNING pgbarrier.token(b.id, b.xid) INTO token;
		IF token IS NULL THEN
			RAISE EXCEPTION 'pgbarrier: this database has no origin, its table pgbarrier.identity is empty'
				USING ERRCODE = 'undefined_table', HINT = 'Run sql/triggers.sql.';
		END IF;
		RETURN token;
	END
	$fn$;

	-- announce sends a barrier's token to whoever listens, at commit. NOTIFY holds one lock of the
	-- whole server until the commit is flushed (PreCommit_Notify, commands/async.c), so transactions
	-- that all announced would commit one after the other. Therefore only one announcement is in
	-- flight at a time: who does not get the lock commits without one and rides along (listeners
	-- check whatever they wait for when they hear anything).
	-- It must not make COMMIT fail: a full notification queue would (before the commit, beyond the
	-- reach of an exception handler), so a filling queue is left alone; so would a full lock table.
	-- One transaction could fill a small queue by itself, so only its first 100 barriers are
	-- announced; the others ride along as well. The setting counts them, one character each.
	CREATE OR REPLACE FUNCTION pgbarrier.announce() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	BEGIN
		-- One expression, because each has to be set up anew in every transaction.
		IF TG_TABLE_SCHEMA = 'pgbarrier' AND length(coalesce(current_setting('pgbarrier.announced', true), '')) < 100
			AND current_setting('pgbarrier.announce', true) IS DISTINCT FROM 'off'
			AND pg_try_advisory_xact_lock(7018962344107663491) AND pg_notification_queue_usage() < 0.5
		THEN
			PERFORM pg_notify('pgbarrier', pgbarrier.token(NEW.id, NEW.xid)),
				set_config('pgbarrier.announced', coalesce(current_setting('pgbarrier.announced', true), '') || '+', true);
		-- Where EXECUTE was granted too widely, others can put it on tables of theirs, whose columns have
		-- types and casts of theirs, which we must not run with our owner's rights.
		ELSIF TG_TABLE_SCHEMA <> 'pgbarrier' THEN
			RAISE EXCEPTION 'pgbarrier.announce() is for pgbarrier.barrier alone' USING ERRCODE = 'trigger_protocol_violated';
		END IF;
		RETURN NULL;
	EXCEPTION WHEN insufficient_resources THEN
		RETURN NULL;
	END
	$fn$;

	-- Deferred, so that the lock is held for the length of a commit, not of a transaction. A
	-- constraint trigger cannot be replaced, and dropping one takes an exclusive lock that waits for
	-- every producer: only done where the trigger is not the right one. No WHEN (announcing is not off):
	-- it would be parsed anew with every insert.
	IF NOT EXISTS (
		SELECT FROM pg_catalog.pg_trigger t
		WHERE t.tgrelid = 'pgbarrier.barrier'::pg_catalog.regclass AND t.tgname = 'announce'
			AND t.tgfoid = 'pgbarrier.announce()'::pg_catalog.regprocedure
			AND t.tgdeferrable AND t.tginitdeferred AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL
	) THEN
		IF EXISTS (
			SELECT FROM pg_catalog.pg_trigger t
			WHERE t.tgrelid = 'pgbarrier.barrier'::pg_catalog.regclass AND t.tgname = 'announce'
		) THEN
			DROP TRIGGER announce ON pgbarrier.barrier;
		END IF;
		CREATE CONSTRAINT TRIGGER announce AFTER INSERT ON pgbarrier.barrier
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
			EXECUTE FUNCTION pgbarrier.announce();
	END IF;

	-- Whoever truncates the table, a cleaner between tests for example, has purged all of it. In a transaction
	-- with one snapshot the newest row may be hidden, therefore the clock as well.
	CREATE OR REPLACE FUNCTION pgbarrier.truncated() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	BEGIN
		IF TG_TABLE_SCHEMA <> 'pgbarrier' THEN -- see announce
			RAISE EXCEPTION 'pgbarrier.truncated() is for pgbarrier.barrier alone' USING ERRCODE = 'trigger_protocol_violated';
		END IF;
		UPDATE pgbarrier.horizon SET purged_through = greatest(purged_through, pgbarrier.first_id(clock_timestamp() + '1 ms'),
			(SELECT b.id FROM pgbarrier.barrier b ORDER BY b.id DESC LIMIT 1));
		RETURN NULL;
	END
	$fn$;

	IF NOT EXISTS (
		SELECT FROM pg_catalog.pg_trigger t
		WHERE t.tgrelid = 'pgbarrier.barrier'::pg_catalog.regclass AND t.tgname = 'truncated'
	) THEN
		CREATE TRIGGER truncated BEFORE TRUNCATE ON pgbarrier.barrier
			FOR EACH STATEMENT EXECUTE FUNCTION pgbarrier.truncated();
	END IF;

	-- check tells what became of the tokens' transactions: one letter a token, in their order.
	--   C committed: the updates can be read
	--   A aborted: they never will be
	--   P pending: neither is certain yet
	--   E expired: the transaction has ended, and whether it committed is not known any more
	--   W of another database
	--   I no token that this database ever made
	-- Besides: the schema's version, this database's origin, and the snapshot that was judged by.
	CREATE OR REPLACE FUNCTION pgbarrier.check(tokens text[],
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- A plan made while the table was small must not scan it when it has grown. The one-row tables are
	-- scanned all the same, at a cost that would (before PostgreSQL 18) have every call compiled, and
	-- make a generic plan look dear: planning anew takes longer than the check.
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
	AS $fn$
	DECLARE
		newest xid8;
	BEGIN
		-- On a standby the snapshot shows running transactions as ended (its xip list is empty), so
		-- "ended and no row" would be a false abort. In READ COMMITTED the statement below takes its own
		-- snapshot after this line, so being promoted while we look is harmless, with one exception: see
		-- below. A transaction with one snapshot that began in recovery is read-only for ever.
		IF pg_is_in_recovery() THEN
			RAISE EXCEPTION 'pgbarrier: this server is a standby, only the primary can tell what became of a transaction'
				USING ERRCODE = 'read_only_sql_transaction',
				HINT = 'Connect to the primary, for example with target_session_attrs=read-write.';
		ELSIF current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
			AND current_setting('transaction_read_only') = 'on' THEN
			RAISE EXCEPTION 'pgbarrier: cannot check in a read-only transaction with one snapshot: it may date from before a promotion'
				USING ERRCODE = 'invalid_transaction_state',
				HINT = 'Check outside the transaction, in READ COMMITTED, or in a read-write transaction.';
		END IF;
		version := pgbarrier.version();

		-- The row is the only proof of a commit; the xid only tells that nothing more can happen.
		-- Both are judged by the same snapshot, that of this statement: looked at one after the
		-- other, a commit in between would read as an abort. So would a new barrier table between
		-- the origin, which changes with it, and the row. Without an origin all tokens are foreign.
		--
		-- The snapshot may still be one of recovery. In the moment of a promotion a session is given the one
		-- that it took before, while no transaction ends (GetSnapshotDataReuse, storage/ipc/procarray.c;
		-- StartupXLOG ends recovery first and ExpireAllKnownAssignedTransactionIds after that), and a
		-- transaction may import one that was exported in recovery (SET TRANSACTION SNAPSHOT). It hides what
		-- was prepared, and what was replayed later. All of that is pending, by that snapshot for ever: what
		-- can be seen now, in pg_prepared_xact() for example, may have changed since it was taken.
		WITH now AS MATERIALIZED (
			SELECT pg_current_snapshot() AS snap, coalesce(pgbarrier.origin(), '') AS here,
				(SELECT purged_through FROM pgbarrier.horizon) AS purged_through
		), split AS MATERIALIZED (
			-- Ten times as fast as one regular expression: where the hyphens and dots are, that there are
			-- no more of them, that all else is hexadecimal, and that the xid is a decimal bigint.
			SELECT ord, token, split_part(token, '.', 2) AS id, split_part(token, '.', 3) AS xid,
				coalesce(token LIKE 'pgb1.________-____-7___-____-____________.%.________'
					AND token NOT LIKE '%-%-%-%-%-%' AND token NOT LIKE '%.%.%.%.%'
					AND substr(token, 6) !~ '[^0-9a-f.-]'
					AND split_part(token, '.', 3) !~ '[^0-9]'
					AND split_part(token, '.', 3) NOT LIKE '0%'
					AND length(split_part(token, '.', 3)) BETWEEN 1 AND 19, false) AS valid
			FROM unnest(tokens) WITH ORDINALITY AS u(token, ord)
		), parsed AS MATERIALIZED (
			SELECT ord, token, CASE WHEN valid THEN id::uuid END AS id, CASE WHEN valid THEN xid::xid8 END AS xid FROM split
		), judged AS (
			SELECT t.ord, t.xid, CASE
				WHEN t.id IS NULL THEN 'I'
				WHEN right(t.token, 8) <> now.here THEN 'W'
				-- Never handed out, in any epoch (FirstNormalTransactionId). pg_xact_status has an answer
				-- for these though they are in the future, which would hide that others are, see below.
				WHEN split_part(t.token, '.', 3)::numeric % 4294967296 < 3 THEN 'I'
				-- Our own row is there for us, but has not committed.
				WHEN t.xid = pg_current_xact_id_if_assigned() THEN 'P'
				WHEN found.xid = t.xid THEN 'C'
				WHEN found.xid IS NOT NULL THEN 'I'
				WHEN NOT pg_visible_in_snapshot(t.xid, now.snap) THEN 'P'
				-- By a snapshot of recovery, see above. It lists nobody, but its xmin is the oldest that it hides. A
				-- primary's snapshot lists its xmin, if that is not xmax or our own xid (GetSnapshotData).
				WHEN t.xid >= pg_snapshot_xmin(now.snap) AND pg_visible_in_snapshot(pg_snapshot_xmin(now.snap), now.snap)
					AND pg_snapshot_xmin(now.snap) IS DISTINCT FROM pg_current_xact_id_if_assigned() THEN 'P'
				WHEN t.id > now.purged_through THEN 'A'
				-- Purged, or rolled back to a savepoint: the same to us, unless all of it aborted.
				WHEN pg_xact_status(t.xid) = 'aborted' THEN 'A'
				ELSE 'E' END AS outcome, now.snap
			FROM parsed t CROSS JOIN now
			LEFT JOIN LATERAL (SELECT b.xid FROM pgbarrier.barrier b WHERE b.id = t.id OFFSET 0) found ON true
		)
		SELECT (SELECT snap::text FROM now), (SELECT here FROM now), coalesce(string_agg(j.outcome, '' ORDER BY j.ord), ''),
			(SELECT p.xid FROM judged p WHERE p.outcome = 'P' AND p.xid >= pg_snapshot_xmax(p.snap) ORDER BY p.xid DESC LIMIT 1)
		INTO snapshot, origin, outcomes, newest
		FROM judged j;

		-- An xid that a crash took before it was flushed has not been handed out yet in this life of
		-- the server, and pg_xact_status raises "in the future" for it: its transaction is gone. If
		-- the newest one is not in the future, none is.
		IF newest IS NOT NULL AND pgbarrier.never_assigned(newest) THEN
			SELECT string_agg(CASE WHEN substr(outcomes, u.ord::integer, 1) = 'P'
					AND pgbarrier.never_assigned(split_part(u.token, '.', 3)::xid8)
				THEN 'A' ELSE substr(outcomes, u.ord::integer, 1) END, '' ORDER BY u.ord)
			INTO outcomes
			FROM unnest(tokens) WITH ORDINALITY AS u(token, ord);
		END IF;
	END
	$fn$;

	CREATE OR REPLACE FUNCTION pgbarrier.never_assigned(xid xid8) RETURNS boolean
	LANGUAGE plpgsql VOLATILE
	AS $fn$
	BEGIN
		PERFORM pg_xact_status(xid);
		RETURN false;
	EXCEPTION WHEN invalid_parameter_value THEN
		RETURN true;
	END
	$fn$;

	-- watch is check for tokens that a check has found pending: it answers as soon as one of their
	-- transactions has ended, or else after patience_ms (up to 50 ms if looks are rare). A look at the
	-- snapshot every pause_ms costs a fraction of a check, and no round trip. xids are the tokens' in their
	-- order, and of whatever else is watched; what the answer's snapshot shows as ended of those is for
	-- check to judge. The more sessions there are, the longer is the pause, so that any number of listeners
	-- costs less than half a CPU with it.
	CREATE OR REPLACE FUNCTION pgbarrier.watch(tokens text[], xids xid8[], patience_ms integer, pause_ms integer,
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET jit = off SET plan_cache_mode = force_generic_plan -- as in check
	AS $fn$
	DECLARE
		pause float8 := greatest(pause_ms, (SELECT count(*) FROM pg_stat_get_backend_idset()) / 32) / 1000.0;
		-- At least four looks: to ask anew costs more than one.
		until timestamptz := clock_timestamp() + greatest(patience_ms / 1000.0, least(4 * pause, 0.05)) * interval '1 s';
		now   text;
		ended integer[] := '{}';
		other boolean;
	BEGIN
		LOOP
			now := pg_current_snapshot()::text;
			IF now IS DISTINCT FROM snapshot THEN -- somebody has ended, or begun
				snapshot := now;
				SELECT coalesce(array_agg(u.ord::integer ORDER BY u.ord) FILTER (WHERE u.ord <= cardinality(tokens)), '{}'), count(*) > 0
				INTO ended, other
				FROM unnest(xids) WITH ORDINALITY u(xid, ord) WHERE pg_visible_in_snapshot(u.xid, now::pg_snapshot);
				EXIT WHEN other;
			END IF;
			EXIT WHEN clock_timestamp() >= until;
			PERFORM pg_sleep(pause);
		END LOOP;
		-- Also with no token: to tell a standby.
		SELECT c.version, c.origin, c.snapshot, string_agg(coalesce(substr(c.outcomes, array_position(ended, i), 1), 'P'), '' ORDER BY i) FILTER (WHERE i > 0)
		INTO version, origin, snapshot, outcomes
		FROM pgbarrier.check(ARRAY(SELECT tokens[e] FROM unnest(ended) WITH ORDINALITY u(e, ord) ORDER BY ord)) c
		LEFT JOIN generate_series(1, cardinality(tokens)) i ON true
		GROUP BY c.version, c.origin, c.snapshot, c.outcomes;
		outcomes := coalesce(outcomes, '');
	END
	$fn$;

	-- visible tells, in check's letters, whether the updates can be read here, by the transaction that
	-- asks, on a standby or a primary:
	--   C the row is there, and so are the updates
	--   A they will not come; only a primary knows, for example a standby that was promoted
	--   P not yet. A standby says so as well of what has aborted
	--   E the row is not there, and barriers of its age have been purged
	-- one_snapshot tells that the transaction that asks has one for all its statements, so that not
	-- even P can change in it.
	CREATE OR REPLACE FUNCTION pgbarrier.visible(tokens text[],
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text, OUT one_snapshot boolean)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan -- as in check
	AS $fn$
	BEGIN
		one_snapshot := current_setting('transaction_isolation') IN ('repeatable read', 'serializable');
		-- A primary, also one promoted a moment ago, knows more: what is running, and what was lost.
		IF NOT one_snapshot AND NOT pg_is_in_recovery() THEN
			SELECT c.version, c.origin, c.snapshot, c.outcomes INTO version, origin, snapshot, outcomes
			FROM pgbarrier.check(tokens) c;
			RETURN;
		END IF;
		version := pgbarrier.version();

		-- The row alone decides: it is right by any snapshot, of a standby or a primary, so a promotion
		-- meanwhile does no harm. Which transactions have ended cannot be told for certain from a snapshot
		-- taken in recovery. It does not list who is running, and even its xmin passes them when the process
		-- that replays ends, as it may before the sessions do when a standby shuts down: it forgets them all
		-- (StartupProcExit, postmaster/startup.c; ExpireAllKnownAssignedTransactionIds). So xmin may keep
		-- a wait from expiring too early, and decides nothing else.
		WITH now AS MATERIALIZED (
			SELECT pg_current_snapshot() AS snap, coalesce(pgbarrier.origin(), '') AS here,
				(SELECT purged_through FROM pgbarrier.horizon) AS purged_through
		), split AS MATERIALIZED (
			SELECT ord, token, coalesce(token ~ ('^pgb1[.][0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}'
				|| '[.][1-9][0-9]{0,18}[.][0-9a-f]{8}$'), false) AS valid
			FROM unnest(tokens) WITH ORDINALITY AS u(token, ord)
		), parsed AS MATERIALIZED (
			SELECT ord, token, CASE WHEN valid THEN split_part(token, '.', 2)::uuid END AS id,
				CASE WHEN valid THEN split_part(token, '.', 3)::xid8 END AS xid
			FROM split
		), judged AS (
			SELECT t.ord, CASE
				WHEN t.id IS NULL THEN 'I'
				WHEN right(t.token, 8) <> now.here THEN 'W'
				WHEN split_part(t.token, '.', 3)::numeric % 4294967296 < 3 THEN 'I' -- as in check
				WHEN t.xid = pg_current_xact_id_if_assigned() THEN 'P'
				WHEN found.xid = t.xid THEN 'C'
				WHEN found.xid IS NOT NULL THEN 'I'
				WHEN t.id > now.purged_through OR t.xid >= pg_snapshot_xmin(now.snap) THEN 'P'
				ELSE 'E' END AS outcome
			FROM parsed t CROSS JOIN now
			LEFT JOIN LATERAL (SELECT b.xid FROM pgbarrier.barrier b WHERE b.id = t.id OFFSET 0) found ON true
		)
		SELECT (SELECT snap::text FROM now), (SELECT here FROM now), coalesce(string_agg(j.outcome, '' ORDER BY j.ord), '')
		INTO snapshot, origin, outcomes
		FROM judged j;
	END
	$fn$;

	-- status is check for one token and for people.
	CREATE OR REPLACE FUNCTION pgbarrier.status(token text) RETURNS text
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
		SELECT CASE c.outcomes WHEN 'C' THEN 'committed' WHEN 'A' THEN 'aborted' WHEN 'P' THEN 'pending'
			WHEN 'E' THEN 'expired' WHEN 'W' THEN 'wrong database' ELSE 'invalid' END
		FROM pgbarrier.check(ARRAY[token]) c
	$fn$;

	-- purge deletes up to batch barriers that were created longer ago than retention, oldest first,
	-- and returns how many; call it again while it returns as many as batch. One session purges at a
	-- time: to the others it returns null. The horizon moves in the same transaction as the rows go,
	-- so every check sees a row or the horizon above it.
	CREATE OR REPLACE FUNCTION pgbarrier.purge(retention interval, batch integer DEFAULT 10000) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan -- as in check
	AS $fn$
	DECLARE
		purged bigint;
		last   uuid;
	BEGIN
		IF retention IS NULL OR retention <= '0' THEN
			RAISE EXCEPTION 'pgbarrier: retention is %, it must be longer than zero', coalesce(retention::text, 'null')
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Retention must outlast the slowest wait and the longest transaction, for example 7 days.';
		ELSIF batch IS NULL OR batch < 1 THEN
			RAISE EXCEPTION 'pgbarrier: batch is %, it must be at least 1', coalesce(batch::text, 'null')
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		-- Not an advisory lock, which anybody could hold for ever to keep us from purging.
		PERFORM FROM pgbarrier.horizon FOR UPDATE SKIP LOCKED;
		IF NOT FOUND THEN
			RETURN NULL;
		END IF;
		WITH old AS (
			SELECT b.id FROM pgbarrier.barrier b
			WHERE b.id < pgbarrier.first_id(clock_timestamp() - retention)
			ORDER BY b.id LIMIT batch
		), gone AS (
			DELETE FROM pgbarrier.barrier b USING old WHERE b.id = old.id RETURNING b.id
		)
		SELECT count(*), (array_agg(gone.id ORDER BY gone.id DESC))[1] INTO purged, last FROM gone;
		IF purged > 0 THEN
			UPDATE pgbarrier.horizon SET purged_through = last WHERE purged_through < last;
		END IF;
		RETURN purged;
	END
	$fn$;

	REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgbarrier FROM PUBLIC;
	REVOKE ALL ON ALL TABLES IN SCHEMA pgbarrier FROM PUBLIC;
	REVOKE ALL ON SCHEMA pgbarrier FROM PUBLIC;

	PERFORM pg_catalog.set_config('search_path', found_path, true);
END
$pgbarrier$;

-- +goose StatementEnd
-- +migrate StatementEnd
