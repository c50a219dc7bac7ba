-- +goose Up
-- +goose StatementBegin
-- +migrate Up
-- +migrate StatementBegin
-- migrate:up

-- The pgbarrier schema, version 2, for PostgreSQL 14 and later.
--
-- One statement, so that it is all or nothing under every tool: psql -v ON_ERROR_STOP=1 -f, goose,
-- golang-migrate, tern, dbmate, sql-migrate, pgbarrier.Migrate. Run it again at any time, as any role:
-- where nothing is to be done it writes nothing and locks nothing. What is missing, older or changed is
-- repaired, and grants stay. Processes that migrate at once take turns.
--
-- No backslashes: in a session with standard_conforming_strings off they would be escapes.
--
-- Nothing is granted to PUBLIC. What applications need:
--   GRANT USAGE ON SCHEMA pgbarrier TO producer, worker;
--   GRANT EXECUTE ON FUNCTION pgbarrier.create(boolean) TO producer;
--   GRANT EXECUTE ON FUNCTION pgbarrier.version(), pgbarrier.check(uuid[], xid8[]) TO worker;
--   GRANT EXECUTE ON FUNCTION pgbarrier.visible(uuid[], xid8[]) TO whoever reads from a standby;
--   GRANT EXECUTE ON FUNCTION pgbarrier.purge_batch(interval, integer, uuid) TO whoever purges;
--   GRANT EXECUTE ON FUNCTION pgbarrier.explain(text), pgbarrier.proof(text) TO whoever asks why;
--   GRANT EXECUTE ON FUNCTION pgbarrier.status(text), pgbarrier.wait(text, interval), pgbarrier.check(text[]), pgbarrier.visible(text[]), pgbarrier.purge(interval, integer) TO whoever asks from SQL;
DO $pgbarrier$
DECLARE
	-- The first digits of the sha256 of this file without this line. A test says what they must be.
	revision CONSTANT text := '9d2e4d867cb6';

	found_path text := pg_catalog.current_setting('search_path');
	found_patience text := pg_catalog.current_setting('lock_timeout');
	patience   integer; -- ms that this session waits for a lock, or null
	stranger   text;
	installed  integer;
	marked     boolean; -- the database has a mark of its own
	older      boolean; -- version 1 is installed, or a part of it
	had_barriers boolean;
	had_horizon boolean;
	legacy     bigint; -- the origin that version 1 computed
	through    xid8;   -- of the first mark; null: as late as possible
	part       text;
	old_grants text;
	state      text;
	plan       text;
	users_now  text;
	tries CONSTANT integer := 10;
	waits      integer; -- ms

	-- What there is, apart from owners and grants. Whether announcing is enabled ALWAYS or only for
	-- ordinary sessions is the owner's choice.
	describe CONSTANT text := $describe$
		SELECT encode(sha256(convert_to(string_agg(part, chr(10) ORDER BY part COLLATE "C"), 'UTF8')), 'hex') FROM (
			SELECT concat_ws(' ', 'function', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.prosecdef,
				p.provolatile, p.proconfig, p.prosrc) AS part
			FROM pg_proc p WHERE p.pronamespace = to_regnamespace('pgbarrier')
			UNION ALL
			SELECT concat_ws(' ', 'relation', c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
				CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) WHEN 'i' THEN pg_get_indexdef(c.oid) END)
			FROM pg_class c WHERE c.relnamespace = to_regnamespace('pgbarrier')
			UNION ALL
			SELECT concat_ws(' ', 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
				pg_get_expr(d.adbin, d.adrelid))
			FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
			LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE c.relnamespace = to_regnamespace('pgbarrier') AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT concat_ws(' ', 'trigger', CASE WHEN t.tgname = 'announce' THEN replace(t.tgenabled::text, 'A', 'O') ELSE t.tgenabled::text END,
				pg_get_triggerdef(t.oid))
			FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
			WHERE c.relnamespace = to_regnamespace('pgbarrier') AND NOT t.tgisinternal
		) AS parts
	$describe$;

	-- The triggers that are missing or not as they should be. One that exists is replaced only then: that takes a
	-- lock that waits for every producer. announce is deferred, so that its lock is held for the length of a commit,
	-- not of a transaction; without WHEN, which would be parsed anew with every insert. The others also fire where
	-- session_replication_role is replica. There, and where replication deletes (which fires no statement
	-- triggers), lost_row stands in for lost_rows, whose table of old rows makes a purge cheap.
	triggers CONSTANT text := $triggers$
		SELECT w.*, EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = to_regclass('pgbarrier.' || w.relation) AND t.tgname = w.name) AS there FROM (VALUES
		('barrier', 'announce', 'O', 'CONSTRAINT TRIGGER announce AFTER INSERT ON pgbarrier.barrier DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pgbarrier.announce()'),
		('barrier', 'lost_table', 'A', 'TRIGGER lost_table AFTER TRUNCATE ON pgbarrier.barrier FOR EACH STATEMENT EXECUTE FUNCTION pgbarrier.lost()'),
		('barrier', 'lost_rows', 'O', 'TRIGGER lost_rows AFTER DELETE ON pgbarrier.barrier REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION pgbarrier.lost()'),
		('barrier', 'lost_row', 'R', 'TRIGGER lost_row AFTER DELETE ON pgbarrier.barrier FOR EACH ROW EXECUTE FUNCTION pgbarrier.lost()'),
		('barrier', 'lost_id', 'A', 'TRIGGER lost_id AFTER UPDATE ON pgbarrier.barrier FOR EACH ROW WHEN (OLD.id <> NEW.id OR OLD.id < ''00000001-0000-0000-0000-000000000000''::uuid) EXECUTE FUNCTION pgbarrier.lost()'),
		('origin', 'only_origin', 'A', 'TRIGGER only_origin BEFORE INSERT ON pgbarrier.origin FOR EACH ROW EXECUTE FUNCTION pgbarrier.only_origin()'),
		('origin', 'lost_table', 'A', 'TRIGGER lost_table AFTER TRUNCATE ON pgbarrier.origin FOR EACH STATEMENT EXECUTE FUNCTION pgbarrier.lost()'),
		('origin', 'lost_rows', 'A', 'TRIGGER lost_rows AFTER DELETE ON pgbarrier.origin FOR EACH STATEMENT EXECUTE FUNCTION pgbarrier.lost()')
		) AS w (relation, name, enabled, definition) WHERE NOT EXISTS (
			SELECT FROM pg_trigger t WHERE t.tgrelid = to_regclass('pgbarrier.' || w.relation) AND t.tgname = w.name
				AND replace(pg_get_triggerdef(t.oid), ' NOT DEFERRABLE INITIALLY IMMEDIATE', '') IN (
					'CREATE ' || w.definition,
					-- as PostgreSQL writes it
					'CREATE ' || replace(w.definition, '(OLD.id <> NEW.id OR OLD.id < ''00000001-0000-0000-0000-000000000000''::uuid)',
						'(((old.id <> new.id) OR (old.id < ''00000001-0000-0000-0000-000000000000''::uuid)))'))
				AND (t.tgenabled = w.enabled::"char" OR w.name = 'announce' AND t.tgenabled = 'A')) -- breakage: enabled ALWAYS
	$triggers$;

	-- Who has locks on our tables, the oldest transactions first.
	users CONSTANT text := $users$
		SELECT coalesce(string_agg(u.who, '; '), 'nobody any more') FROM (
			SELECT concat_ws(', ', coalesce('pid ' || l.pid, 'a prepared transaction (see pg_prepared_xacts)'), 'application "' || nullif(a.application_name, '') || '"',
				a.state, 'transaction open for ' || date_trunc('second', clock_timestamp() - a.xact_start)) AS who
			FROM (SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
				WHERE c.relnamespace = to_regnamespace('pgbarrier') AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
					AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) l
			LEFT JOIN pg_stat_activity a ON a.pid = l.pid
			ORDER BY a.xact_start NULLS FIRST LIMIT 3) u
	$users$;
BEGIN
	-- Whoever migrates is powerful, and may have a schema of others in front. Given back at the end,
	-- because a migration tool goes on in the same transaction.
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

	IF current_setting('server_version_num')::integer < 140000 THEN
		RAISE EXCEPTION 'pgbarrier needs PostgreSQL 14 or later, this server is %', current_setting('server_version');
	END IF;

	-- The second look is for what another process did while this one waited for its turn.
	FOR look IN 1..2 LOOP
		-- Whoever may create schemas may have made this one first, with triggers on its tables and code in
		-- the place of ours. Only what belongs to a role that has all our rights anyway is run or kept.
		SELECT pg_get_userbyid(o.owner) INTO stranger FROM (
			SELECT nspowner AS owner, oid AS schema FROM pg_namespace
			UNION ALL SELECT proowner, pronamespace FROM pg_proc
			UNION ALL SELECT relowner, relnamespace FROM pg_class
		) o WHERE o.schema = to_regnamespace('pgbarrier') AND NOT pg_has_role(o.owner, current_user, 'MEMBER')
		LIMIT 1;

		-- A role that could not migrate anyhow may be told that nothing is to be done.
		IF stranger IS NULL OR NOT has_database_privilege(current_database(), 'CREATE') THEN
			EXECUTE describe INTO state;
			IF obj_description(to_regnamespace('pgbarrier'), 'pg_namespace') = concat('pgbarrier schema 2, revision ', revision, ', state ', state) THEN
				marked := true;
				-- A restored dump has everything but a mark of its own.
				IF has_schema_privilege('pgbarrier', 'USAGE') AND has_table_privilege(
						(SELECT oid FROM pg_class WHERE relname = 'horizon' AND relnamespace = to_regnamespace('pgbarrier')), 'SELECT') THEN
					EXECUTE 'SELECT EXISTS (SELECT FROM pgbarrier.horizon)' INTO marked;
				END IF;
				IF marked THEN
					PERFORM set_config('search_path', found_path, true);
					RETURN;
				END IF;
			END IF;
		END IF;

		IF stranger IS NOT NULL THEN
			RAISE EXCEPTION 'schema pgbarrier belongs, at least in part, to role %, whose code % would run: migrate as that role (SET ROLE), or drop the schema if it should not be there',
				stranger, current_user USING ERRCODE = 'insufficient_privilege';
		END IF;
		IF to_regprocedure('pgbarrier.version()') IS NOT NULL THEN
			EXECUTE 'SELECT pgbarrier.version()' INTO installed;
			IF installed > 2 THEN
				RAISE EXCEPTION 'pgbarrier schema version % is installed, this file is version 2', installed
					USING ERRCODE = 'object_not_in_prerequisite_state', -- Migrate knows it by that
					HINT = 'Run the sql/triggers.sql of the newest pgbarrier in use.';
			END IF;
		END IF;

		-- pgbarrier.Plan asks what would be done, in a read-only transaction.
		IF current_setting('pgbarrier.migrate', true) = 'plan' THEN
			IF to_regnamespace('pgbarrier') IS NULL THEN
				IF NOT has_database_privilege(current_database(), 'CREATE') THEN
					RAISE EXCEPTION 'role % lacks CREATE on database %', current_user, current_database() USING ERRCODE = 'insufficient_privilege';
				END IF;
				plan := concat('create schema pgbarrier, version 2, revision ', revision);
			ELSE
				EXECUTE concat('SELECT string_agg(concat(CASE WHEN w.there THEN ''replace'' ELSE ''create'' END, '' trigger '', w.name, '' of table pgbarrier.'', w.relation), chr(10)) FROM (', triggers, ') w') INTO part;
				older := to_regclass('pgbarrier.identity') IS NOT NULL OR to_regprocedure('pgbarrier.truncated()') IS NOT NULL;
				EXECUTE users INTO users_now;
				plan := concat_ws(chr(10),
					concat('replace the functions, and the views that differ, by those of revision ', revision, ': there is ',
						coalesce(substring(obj_description(to_regnamespace('pgbarrier'), 'pg_namespace') FROM 'revision [0-9a-f]+'), 'an unknown revision')),
					CASE WHEN obj_description(to_regnamespace('pgbarrier'), 'pg_namespace') NOT LIKE '%state ' || state THEN 'repair what was changed since the last migration' END,
					CASE WHEN older THEN 'replace the tables of version 1, keep the barriers' END,
					(SELECT string_agg('create relation pgbarrier.' || r, chr(10)) FROM unnest(ARRAY['barrier', 'origin', 'here', 'armed', 'horizon']) AS r
						WHERE to_regclass('pgbarrier.' || r) IS NULL),
					part,
					CASE WHEN NOT marked THEN 'make a mark: what ended without a row before reads as expired' END,
					CASE WHEN part IS NULL AND NOT older THEN 'lock no table, unless a view differs'
						ELSE 'lock the tables for a moment, once nobody uses them; producers wait meanwhile. In use by ' || users_now END);
			END IF;
			PERFORM set_config('pgbarrier.migrate', plan, true), set_config('search_path', found_path, true);
			RETURN;
		END IF;

		IF look = 1 THEN
			-- Released at the end of the transaction, whichever tool opened it. Whoever is ahead may try for a while.
			SELECT nullif(s.setting::integer, 0) INTO patience FROM pg_settings s WHERE s.name = 'lock_timeout';
			BEGIN
				PERFORM set_config('lock_timeout', least(patience, 60000)::text, true);
				PERFORM pg_advisory_xact_lock(7018962344107663490);
			EXCEPTION WHEN lock_not_available THEN
				RAISE EXCEPTION 'another session keeps this one from migrating: pid %', (SELECT string_agg(l.pid::text, ', ') FROM pg_locks l
					WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND (l.classid::bigint << 32) + l.objid::bigint = 7018962344107663490)
					USING ERRCODE = 'lock_not_available', HINT = 'It migrates, or holds advisory lock 7018962344107663490.';
			END;
		END IF;
	END LOOP;

	-- From here on there may be locks to take that wait for open transactions, while whoever comes later waits for
	-- them. So they are given up soon, before anybody is told of a deadlock, and tried again, longer and more rarely. What
	-- is waited for long is the first of them, so that nothing is held meanwhile. Not indented: it is the rest.
	FOR try IN 1..tries LOOP BEGIN
	waits := least(patience, 1280, 10 * 2 ^ (try - 1));
	PERFORM set_config('lock_timeout', waits::text, true);

	IF to_regnamespace('pgbarrier') IS NULL THEN
		CREATE SCHEMA pgbarrier;
	END IF;

	-- Version 1 has tables that go. Who produces and purges is waited for first, under locks that let checks go on,
	-- because an open transaction can last. Checks are waited for afterwards, in the order in which they and a
	-- purge take the tables.
	older := to_regclass('pgbarrier.identity') IS NOT NULL OR to_regprocedure('pgbarrier.truncated()') IS NOT NULL;
	had_barriers := to_regclass('pgbarrier.barrier') IS NOT NULL;
	had_horizon := EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('pgbarrier.horizon') AND relkind = 'r');
	IF older AND had_barriers AND had_horizon THEN
		LOCK TABLE pgbarrier.horizon IN EXCLUSIVE MODE;
		LOCK TABLE pgbarrier.barrier IN SHARE ROW EXCLUSIVE MODE;
		LOCK TABLE pgbarrier.horizon, pgbarrier.barrier IN ACCESS EXCLUSIVE MODE;
	ELSIF had_barriers AND try > 1 THEN
		LOCK TABLE pgbarrier.barrier IN ACCESS EXCLUSIVE MODE;
	END IF;
	PERFORM set_config('lock_timeout', least(waits, 20)::text, true);

	-- One row per barrier, visible exactly when its transaction has committed. xid is the top-level
	-- transaction's: the row's own xmin would be a subtransaction's under a savepoint. The few rows with an
	-- id below every barrier's are marks, see mark().
	IF to_regclass('pgbarrier.barrier') IS NULL THEN
		CREATE TABLE pgbarrier.barrier (
			id  uuid PRIMARY KEY,
			xid xid8 NOT NULL DEFAULT pg_current_xact_id()
		);
	END IF;

	-- Ids are UUIDv7 of the server's clock: purging by age is then a range of the primary key, and no
	-- client's clock is trusted. At least 62 bits are strong random. A default, and not a function of ours,
	-- because it is planned once and then costs no call.
	IF NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = 'pgbarrier.barrier'::regclass AND adnum = 1) THEN
		IF current_setting('server_version_num')::integer >= 180000 THEN
			ALTER TABLE pgbarrier.barrier ALTER id SET DEFAULT uuidv7();
		ELSE
			-- A random UUIDv4, its first 48 bits replaced by milliseconds, its version nibble 4 made 7.
			ALTER TABLE pgbarrier.barrier ALTER id SET DEFAULT
				encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
					PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
					FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid;
		END IF;
	END IF;

	-- A random number for every row that is inserted, also by pg_restore, which does not restore the values
	-- of generated columns: so a dump does not carry it. The upper half is the transaction's id, so that of
	-- several rows the least is the first, wherever the table had room for it. The declaration is not true. It
	-- makes PostgreSQL take the function for a generated column, and the argument has it called for each row.
	CREATE OR REPLACE FUNCTION pgbarrier.seed(id uuid) RETURNS bigint
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS $fn$
	BEGIN
		RETURN ((pg_current_xact_id()::text::bigint & 2147483647) << 32)
			| ('x' || left(gen_random_uuid()::text, 8))::bit(32)::bigint; -- breakage: a seed for each restore
	END
	$fn$;

	-- What makes this database itself: one row, of which the first counts if something has added others.
	IF to_regclass('pgbarrier.origin') IS NOT NULL AND NOT EXISTS (
		SELECT FROM pg_attribute WHERE attrelid = to_regclass('pgbarrier.origin') AND attname = 'seed' AND attgenerated = 's'
	) THEN
		DROP TABLE pgbarrier.origin CASCADE; -- something dropped a part of it
	END IF;
	IF to_regclass('pgbarrier.origin') IS NULL THEN
		CREATE TABLE pgbarrier.origin (
			id   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
			base bigint NOT NULL DEFAULT 0,
			seed bigint NOT NULL GENERATED ALWAYS AS (pgbarrier.seed(id)) STORED
		);
	END IF;

	IF had_horizon THEN -- version 1 has an id there
		-- Nothing had been purged, and the table is still the same: then every row is there.
		EXECUTE $sql$SELECT CASE WHEN $1 AND bool_and(purged_through = '00000000-0000-0000-0000-000000000000') THEN '0'::xid8 END FROM pgbarrier.horizon$sql$
			INTO through USING had_barriers;
		DROP TABLE pgbarrier.horizon;
	END IF;
	IF to_regclass('pgbarrier.identity') IS NOT NULL AND to_regprocedure('pgbarrier.origin()') IS NOT NULL THEN
		EXECUTE 'SELECT (''x'' || pgbarrier.origin())::bit(32)::bigint' INTO legacy;
	END IF;

	-- Views, because they are parsed now, whatever a caller's search_path will be. One that exists is only
	-- replaced if it is another: that takes a lock that waits for every producer.
	DECLARE
		wanted record;
		same   boolean;
	BEGIN
		FOR wanted IN SELECT * FROM (VALUES
			-- A token's origin: which database its xid belongs to. Made of the random seed, which a restored dump
			-- does not carry, and of the database's oid, which CREATE DATABASE ... TEMPLATE changes. Physical
			-- copies (a promoted standby, pg_upgrade, point-in-time recovery) keep both, and their xids go on, so
			-- their tokens stay good. The factor is odd, so that another oid always makes another sum modulo 2^32.
			-- The last directory of a table's path is its database's oid, found in half the time that asking
			-- pg_database takes.
			('here', $view$
				SELECT lpad(to_hex((o.base + (o.seed & 4294967295) + split_part(pg_relation_filepath(o.tableoid), '/', -2)::bigint * 715827883) & 4294967295), 8, '0') AS origin,
					lpad(to_hex(o.seed & 4294967295), 8, '0') AS seed
				FROM pgbarrier.origin o ORDER BY o.seed LIMIT 1$view$),
			-- How the triggers stand that notice lost rows: digits that change whenever one of them is changed,
			-- switched off and on again included (its row is written by another transaction then), and nothing
			-- while one is not as it should be. ENABLE TRIGGER ALL is not enough: it makes ordinary ones of those
			-- that were ALWAYS or REPLICA.
			('armed', $view$
				SELECT lpad(to_hex(hashtext(string_agg(concat(t.oid, ' ', t.xmin), ' ' ORDER BY t.tgname)) & 268435455), 7, '0') AS digits -- breakage: triggers as they stood
				FROM pg_trigger t
				WHERE t.tgrelid = to_regclass('pgbarrier.barrier')
					AND concat(t.tgname, ' ', t.tgenabled) IN ('lost_table A', 'lost_rows O', 'lost_row R', 'lost_id A')
				HAVING count(*) = 4
				$view$),
			-- Transactions up to and including this one may have had barriers whose rows are gone; of a later one,
			-- every row that was committed is there. No row: that may be so of all. See mark(). Only by the table
			-- that is called so now: another may have been put in its place, and this view goes with the one it
			-- was made of.
			('horizon', $view$
				SELECT b.xid AS through,
					-- for a check of version 1 that waits for the migration
					(CASE b.xid WHEN '0' THEN '00000000-0000-0000-0000-000000000000' ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff' END)::uuid AS purged_through
				FROM pgbarrier.here h CROSS JOIN pgbarrier.armed a JOIN pgbarrier.barrier b
					ON b.id >= concat('00000000', left(h.seed, 4), '0', right(h.seed, 4), a.digits, '00000000')::uuid
					AND b.id <= concat('00000000', left(h.seed, 4), '0', right(h.seed, 4), a.digits, 'ffffffff')::uuid
					AND right(b.id::text, 8) = lpad(to_hex(b.xmin::text::bigint), 8, '0') -- breakage: a mark's copy
					AND b.tableoid = to_regclass('pgbarrier.barrier')
				ORDER BY b.xid DESC LIMIT 1$view$)
		) AS w (name, definition) LOOP
			IF to_regclass('pgbarrier.' || wanted.name) IS NOT NULL THEN
				EXECUTE 'CREATE VIEW pgbarrier.wanted AS ' || wanted.definition;
				same := pg_get_viewdef('pgbarrier.wanted'::regclass) = pg_get_viewdef(('pgbarrier.' || wanted.name)::regclass);
				DROP VIEW pgbarrier.wanted;
				CONTINUE WHEN same;
			END IF;
			EXECUTE format('CREATE OR REPLACE VIEW pgbarrier.%I AS %s', wanted.name, wanted.definition);
		END LOOP;
	END;

	-- mark makes the horizon's row. That a barrier's row is missing proves an abort only as long as no row
	-- of a committed one can be missing, so the proof stands among the rows themselves: whatever empties
	-- the table, hides it or shows an older state of it takes the mark along, whether triggers fire or not.
	-- A copy of a mark is none, because the id says by whom it was written (its xmin) and in which database
	-- (its seed): not one that was restored from a dump, and not one that a rewritten table has. Nor is one from
	-- before the triggers were changed: rows may have gone unnoticed meanwhile.
	-- Without through, it is as late as possible. The block with EXCEPTION is a subtransaction, whose id is
	-- greater than any that was handed out before: also in a transaction with one snapshot.
	CREATE OR REPLACE FUNCTION pgbarrier.mark(through xid8 DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off
	AS $fn$
	DECLARE
		own    bigint := pg_current_xact_id()::text::bigint;
		blank  uuid := ('0000000000000000' || right(gen_random_uuid()::text, 12) || '0000')::uuid; -- nobody else's, who would have to be waited for
		writer bigint;
		prefix text;
		made   uuid;
		latest xid8;
	BEGIN
		IF NOT EXISTS (SELECT FROM pgbarrier.here) THEN
			INSERT INTO pgbarrier.origin DEFAULT VALUES;
		END IF;
		SELECT concat('00000000', left(h.seed, 4), '0', right(h.seed, 4)) INTO prefix FROM pgbarrier.here h;
		BEGIN
			INSERT INTO pgbarrier.barrier AS b (id, xid) VALUES (blank, '0') RETURNING b.xmin::text::bigint INTO writer;
			-- Without digits it is no mark, and none can be made.
			made := concat(prefix, coalesce((SELECT a.digits FROM pgbarrier.armed a), '0000000'), lpad(to_hex(writer), 8, '0'))::uuid;
			UPDATE pgbarrier.barrier b SET id = made,
				xid = coalesce(mark.through, (own + ((writer - own) & 4294967295))::text::xid8)
			WHERE b.id = blank RETURNING b.xid INTO latest;
		EXCEPTION WHEN assert_failure THEN
			RAISE;
		END;
		-- It is no barrier to announce, and must not stay a pending trigger event, which would forbid to
		-- truncate or alter the table later in the transaction.
		SET CONSTRAINTS pgbarrier.announce IMMEDIATE;
		SET CONSTRAINTS pgbarrier.announce DEFERRED;
		-- Several marks are no harm, the latest counts. So one that another transaction is about to remove
		-- is left to it, and so is a later one, which another has made meanwhile.
		IF current_setting('transaction_isolation') = 'read committed' THEN
			DELETE FROM pgbarrier.barrier b WHERE b.id = ANY (ARRAY(
				SELECT m.id FROM pgbarrier.barrier m WHERE m.id >= rpad(prefix, 32, '0')::uuid AND m.id <= rpad(prefix, 32, 'f')::uuid
					AND m.id <> made AND m.xid <= latest
				FOR UPDATE SKIP LOCKED));
		END IF;
	END
	$fn$;

	-- The least id of a barrier that is created at that time.
	CREATE OR REPLACE FUNCTION pgbarrier.first_id(created timestamptz) RETURNS uuid
	LANGUAGE sql STABLE
	AS $fn$
		SELECT encode(overlay(decode('00000000000070008000000000000000', 'hex')
			PLACING substring(int8send(greatest(0, floor(extract(epoch FROM created) * 1000))::bigint) FROM 3)
			FROM 1), 'hex')::uuid
	$fn$;

	CREATE OR REPLACE FUNCTION pgbarrier.version() RETURNS integer
	LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$ SELECT 2 $fn$;

	-- create makes a barrier in the current transaction and returns its token. announce => false
	-- switches announcing off for the transaction, or until it is rolled back to an earlier savepoint; waits
	-- on its barriers then end by checks.
	-- It has no search_path of its own, which would cost a tenth of it: no name or operator in it depends
	-- on one. Expressions are few, because each has to be set up anew in every transaction.
	CREATE OR REPLACE FUNCTION pgbarrier.create(announce boolean DEFAULT true) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	AS $fn$
	DECLARE
		token pg_catalog.text;
		first pg_catalog.bool; -- the transaction has written nothing before
	BEGIN
		IF announce IS FALSE THEN
			token := pg_catalog.set_config('pgbarrier.announce', 'off', true);
		END IF;
		INSERT INTO pgbarrier.barrier AS b DEFAULT VALUES
			RETURNING pg_catalog.concat('pgb1.', b.id, '.', b.xid, '.', coalesce((SELECT h.origin FROM pgbarrier.here h), pgbarrier.no_origin())),
				pg_catalog.cideq(b.cmin, '0')
			INTO token, first;
		-- The transaction may have begun with this very statement.
		IF first AND pg_catalog.timestamptz_lt(pg_catalog.statement_timestamp(),
			pg_catalog.timestamptz_pl_interval(pg_catalog.transaction_timestamp(), '10 ms'))
		THEN
			PERFORM pgbarrier.unusual(token);
		END IF;
		RETURN token;
	END
	$fn$;

	-- That a barrier was made in autocommit, with nothing else in its transaction, is only certain when
	-- that ends, so announce warns of it. Here is noted which statement was nothing but the call: then,
	-- its text may not be known any more. The client's messages have different times.
	CREATE OR REPLACE FUNCTION pgbarrier.unusual(token text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
	AS $fn$
	BEGIN
		IF current_query() COLLATE "C" ~* '^[[:space:]]*select[^;]*pgbarrier"?[.]"?create"?[[:space:]]*[(][^;]*;?[[:space:]]*$' THEN
			PERFORM set_config('pgbarrier.alone', concat(extract(epoch FROM statement_timestamp()), ' ', token), true);
		END IF;
	EXCEPTION WHEN OTHERS THEN
		NULL; -- a warning is not worth an error
	END
	$fn$;

	CREATE OR REPLACE FUNCTION pgbarrier.no_origin() RETURNS text
	LANGUAGE plpgsql STABLE
	AS $fn$
	BEGIN
		RAISE EXCEPTION 'pgbarrier: this database has no origin, its table pgbarrier.origin is empty'
			USING ERRCODE = 'undefined_table', HINT = 'Run sql/triggers.sql.';
	END
	$fn$;

	-- announce sends a barrier's token to whoever listens, at commit. NOTIFY holds one lock of the
	-- whole server until the commit is flushed (PreCommit_Notify, commands/async.c), so transactions
	-- that all announced would commit one after the other. Therefore only one announcement is in
	-- flight at a time: who does not get the lock commits without one and rides along (listeners
	-- check whatever they wait for when they hear anything).
	--
	-- It must not make COMMIT fail or wait, and what NOTIFY does in a COMMIT is beyond the reach of an
	-- exception handler. So nothing is announced
	--   unless the client's statement is COMMIT, and nothing else: the rest of a transaction can be long, and
	--   PREPARE TRANSACTION refuses what has notified;
	--   while another NOTIFY is held up in its COMMIT, or if transaction_timeout could end this one;
	--   if the notification queue fills, or the table of locks does.
	-- A NOTIFY that comes between this look and our own has to be waited for. lock_timeout is switched off
	-- for that, until the transaction ends, so for deferred constraints that are checked after this as well.
	-- One transaction could fill a small queue by itself, so only its first 100 barriers are announced; the
	-- others ride along as well. The setting counts them, one character each.
	CREATE OR REPLACE FUNCTION pgbarrier.announce() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	BEGIN
		-- One expression, because each has to be set up anew in every transaction. NEW is not in it: on a
		-- table of others it would be of a type of theirs.
		IF TG_TABLE_SCHEMA = 'pgbarrier' AND octet_length(current_query()) < 1000 AND current_query() COLLATE "C" ~* ( -- COMMIT in Turkish too, and with comments
				'^([[:space:]]|--[^[:cntrl:]]*|/[*]([^*]|[*]+[^*/])*[*]+/)*(commit|end)'
				|| '([[:space:];]|work|transaction|and|no|chain|--[^[:cntrl:]]*|/[*]([^*]|[*]+[^*/])*[*]+/)*$')
			AND length(coalesce(current_setting('pgbarrier.announced', true), '')) < 100
			AND current_setting('pgbarrier.announce', true) IS DISTINCT FROM 'off'
			AND pg_try_advisory_xact_lock(7018962344107663491) -- breakage: announcing lock
		THEN
			PERFORM pg_notify('pgbarrier', concat('pgb1.', NEW.id, '.', NEW.xid, '.', h.origin)),
				set_config('pgbarrier.announced', coalesce(current_setting('pgbarrier.announced', true), '') || '+', true),
				set_config('lock_timeout', '0', true)
			FROM pgbarrier.here h
			WHERE NEW.xid <> '0' AND pg_notification_queue_usage() < 0.5 -- breakage: notification queue
				AND coalesce(current_setting('transaction_timeout', true), '0') = '0' -- PostgreSQL 17; statement_timeout ends no COMMIT
				-- Nobody has the lock of NOTIFY, which is of no database. Of very many locks, what was seen of the
				-- first is of too long ago. Not FROM the function, which would store all the rows. One look is enough.
				AND (current_setting('pgbarrier.announced', true) LIKE '+%' OR (SELECT count(*) < least(2000, current_setting('max_locks_per_transaction')::integer * current_setting('max_connections')::integer / 4)
					AND NOT bool_or((l).objid = 0 AND (l).database = 0 AND (l).classid = 'pg_database'::regclass AND (l).locktype = 'object') -- breakage: NOTIFY is held up
					FROM (SELECT pg_lock_status() AS l) AS locks))
				-- There is still a place in the table of locks for NOTIFY's.
				AND CASE WHEN pg_try_advisory_lock(7018962344107663492) THEN pg_advisory_unlock(7018962344107663492) END;
			IF NOT FOUND THEN -- nor for the transaction's other barriers: to look again for each takes seconds
				PERFORM set_config('pgbarrier.announced', repeat('-', 100), true);
			END IF;
		ELSIF TG_TABLE_SCHEMA <> 'pgbarrier' OR current_query() IS NULL OR statement_timestamp() = transaction_timestamp() THEN
			-- Where EXECUTE was granted too widely, others can put it on tables of theirs, whose columns have
			-- types and casts of theirs, which we must not run with our owner's rights.
			IF TG_TABLE_SCHEMA <> 'pgbarrier' THEN
				RAISE EXCEPTION 'pgbarrier.announce() is for pgbarrier.barrier alone' USING ERRCODE = 'trigger_protocol_violated';
			END IF;
			-- The end of autocommit: in the extended protocol no statement runs any more, in the simple one
			-- the statement that began the transaction still does.
			IF starts_with(current_setting('pgbarrier.alone', true), concat(extract(epoch FROM statement_timestamp()), ' pgb1.', NEW.id, '.')) THEN
				RAISE WARNING 'pgbarrier: the barrier % commits by itself, whatever becomes of the changes that it is for',
					split_part(current_setting('pgbarrier.alone', true), ' ', 2)
					USING HINT = 'Create it in the transaction of the changes: after BEGIN, before COMMIT.';
			END IF;
		END IF;
		RETURN NULL;
	EXCEPTION
		WHEN trigger_protocol_violated THEN RAISE;
		WHEN OTHERS OR query_canceled THEN RETURN NULL; -- breakage: an error of announcing
	END
	$fn$;

	-- lost moves the horizon when rows go: by purge, by hand, by a cleaner between tests, by replication.
	-- A mark that goes counts as a barrier does: without the latest one, an older one would. What has the xid
	-- of a transaction that is still to come is of another cluster, from a dump, and tells nothing of this one.
	-- A transaction that deletes row by row makes a few exact marks and then one as late as possible: each is a
	-- subtransaction, and the dead ones have to be passed by.
	CREATE OR REPLACE FUNCTION pgbarrier.lost() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET row_security = off -- as in check
	AS $fn$
	DECLARE
		begun  CONSTANT xid8 := greatest(pg_snapshot_xmax(pg_current_snapshot()), pg_current_xact_id());
		newest xid8;
		moves  text;
	BEGIN
		IF TG_TABLE_SCHEMA <> 'pgbarrier' THEN -- see announce
			RAISE EXCEPTION 'pgbarrier.lost() is for pgbarrier.barrier alone' USING ERRCODE = 'trigger_protocol_violated';
		ELSIF TG_TABLE_NAME = 'origin' OR TG_OP = 'TRUNCATE' THEN -- breakage: the table is emptied
			PERFORM pgbarrier.mark();
		ELSIF TG_LEVEL = 'ROW' THEN
			-- mark itself updates a row with xid 0.
			IF (TG_OP = 'DELETE' OR OLD.xid > '0') AND OLD.xid <= begun AND NOT EXISTS (SELECT FROM pgbarrier.horizon h WHERE h.through >= OLD.xid)
				AND EXISTS (SELECT FROM pgbarrier.armed) THEN
				PERFORM pgbarrier.mark();
			END IF;
		ELSE
			SELECT g.xid INTO newest FROM gone g WHERE g.xid <= begun ORDER BY g.xid DESC LIMIT 1;
			IF NOT EXISTS (SELECT FROM pgbarrier.horizon) THEN
				IF EXISTS (SELECT FROM gone) AND EXISTS (SELECT FROM pgbarrier.armed) THEN
					PERFORM pgbarrier.mark();
				END IF;
			ELSIF newest > (SELECT h.through FROM pgbarrier.horizon h) THEN -- breakage: rows go
				moves := coalesce(current_setting('pgbarrier.moves', true), '');
				PERFORM pgbarrier.mark(CASE WHEN length(moves) < 20 THEN newest END), set_config('pgbarrier.moves', moves || '+', true);
			END IF;
		END IF;
		RETURN NULL;
	END
	$fn$;

	-- The row that is there stays the only one: a dump's, restored into a migrated database, is passed over.
	CREATE OR REPLACE FUNCTION pgbarrier.only_origin() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
	AS $fn$
	BEGIN
		IF TG_TABLE_SCHEMA <> 'pgbarrier' THEN -- see announce
			RAISE EXCEPTION 'pgbarrier.only_origin() is for pgbarrier.origin alone' USING ERRCODE = 'trigger_protocol_violated';
		END IF;
		RETURN CASE WHEN EXISTS (SELECT FROM pgbarrier.origin) THEN NULL ELSE NEW END;
	END
	$fn$;

	DECLARE
		wanted record;
	BEGIN
		FOR wanted IN EXECUTE triggers LOOP
			IF wanted.there THEN
				EXECUTE format('DROP TRIGGER %I ON pgbarrier.%I', wanted.name, wanted.relation);
			END IF;
			EXECUTE 'CREATE ' || wanted.definition;
			EXECUTE format('ALTER TABLE pgbarrier.%I ENABLE %s TRIGGER %I', wanted.relation,
				CASE wanted.enabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, wanted.name);
		END LOOP;
	END;

	IF NOT EXISTS (SELECT FROM pgbarrier.origin) THEN
		INSERT INTO pgbarrier.origin DEFAULT VALUES;
		IF legacy IS NOT NULL THEN -- tokens on their way keep their origin
			UPDATE pgbarrier.origin SET base = legacy - ('x' || (SELECT h.origin FROM pgbarrier.here h))::bit(32)::bigint;
		ELSE
			through := '0'; -- no token has this origin yet
		END IF;
	END IF;
	IF NOT EXISTS (SELECT FROM pgbarrier.horizon) THEN
		PERFORM pgbarrier.mark(through);
	END IF;

	-- An xid that a crash took before it was flushed has not been handed out yet in this life of the
	-- server, and pg_xact_status raises "in the future" for it: its transaction is gone.
	CREATE OR REPLACE FUNCTION pgbarrier.never_assigned(xid xid8) RETURNS boolean
	LANGUAGE plpgsql VOLATILE
	AS $fn$
	BEGIN
		PERFORM pg_xact_status(xid);
		RETURN false;
	EXCEPTION WHEN invalid_parameter_value THEN
		RETURN true; -- breakage: never assigned
	END
	$fn$;

	-- check tells what became of tokens, given by their ids and xids: one letter a token, in their order.
	--   C committed: the updates can be read
	--   A aborted: they never will be
	--   P pending: neither is certain yet
	--   E expired: the transaction has ended, and whether it committed is not known any more
	--   I no token that this database ever made
	-- Besides: the schema's version, this database's origin (a token with another one is of another
	-- database, whatever its letter), and the snapshot that all was judged by.
	-- It keeps nothing from one call to the next, so each answer is right by itself, through a pooler and
	-- across a crash or a promotion.
	CREATE OR REPLACE FUNCTION pgbarrier.check(ids uuid[], xids xid8[],
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- A plan made while the table was small must not scan it when it has grown; nor compile, which takes
	-- longer than the check. Row security could hide rows: then the query is an error.
	SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan SET row_security = off
	AS $fn$
	DECLARE
		newest bigint;
	BEGIN
		-- On a standby the snapshot shows running transactions as ended (its xip list is empty), so
		-- "ended and no row" would be a false abort. In READ COMMITTED the statement below takes its own
		-- snapshot after this line, so being promoted while we look is harmless, with one exception: see
		-- below. A transaction with one snapshot that began in recovery is read-only for ever. One
		-- statement in SERIALIZABLE would be a reader that can make a producer's COMMIT fail.
		IF pg_is_in_recovery() THEN -- breakage: asked of a standby
			RAISE EXCEPTION 'pgbarrier: this server is a standby, only the primary can tell what became of a transaction'
				USING ERRCODE = 'read_only_sql_transaction',
				HINT = 'Connect to the primary, for example with target_session_attrs=read-write.';
		ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
			IF current_setting('transaction_read_only') = 'on' THEN
				RAISE EXCEPTION 'pgbarrier: cannot check in a read-only transaction with one snapshot: it may date from before a promotion'
					USING ERRCODE = 'invalid_transaction_state', -- pgbarrier.Check knows it by that
					HINT = 'Check outside the transaction, in READ COMMITTED, or in a read-write transaction.';
			ELSIF current_setting('transaction_isolation') = 'serializable' AND statement_timestamp() = transaction_timestamp() THEN -- breakage: SERIALIZABLE by default
				RAISE EXCEPTION 'pgbarrier: a check that is SERIALIZABLE by default could make a producer fail'
					USING ERRCODE = 'invalid_transaction_state', HINT = 'Check in READ COMMITTED.';
			END IF;
		END IF;
		version := 2;

		-- The row is the only proof of a commit; the xid only tells that nothing more can happen. Both are
		-- judged by the same snapshot, that of this statement: looked at one after the other, a commit in
		-- between would read as an abort. Rows are looked up for what has ended alone.
		--
		-- The snapshot may still be one of recovery. In the moment of a promotion a session is given the one
		-- that it took before, while no transaction ends (GetSnapshotDataReuse, storage/ipc/procarray.c;
		-- StartupXLOG ends recovery first and ExpireAllKnownAssignedTransactionIds after that), and a
		-- transaction may import one that was exported in recovery (SET TRANSACTION SNAPSHOT). It hides what
		-- was prepared, and what was replayed later. All of that is pending, by that snapshot for ever: what
		-- can be seen now, in pg_prepared_xact() for example, may have changed since it was taken.
		WITH now AS MATERIALIZED (
			SELECT pg_current_snapshot() AS snap, pg_current_xact_id_if_assigned() AS own
		), judged AS (
			SELECT u.ord, u.xid, now.snap, CASE
				WHEN u.id IS NULL OR u.xid IS NULL THEN 'I'
				-- Never handed out, in any epoch (FirstNormalTransactionId). pg_xact_status has an answer
				-- for these though they are in the future, which would hide that others are, see below.
				WHEN u.xid::xid IN ('0', '1', '2') OR u.xid > '9223372036854775807' THEN 'I'
				-- Our own row is there for us, but has not committed.
				WHEN u.xid = now.own OR NOT pg_visible_in_snapshot(u.xid, now.snap) THEN 'P' -- breakage: running
				WHEN found.xid = u.xid THEN 'C' -- breakage: the row
				WHEN found.xid IS NOT NULL OR u.id::text !~ '^.{14}7.{4}[89ab]' THEN 'I'
				-- By a snapshot of recovery, see above. It lists nobody, but its xmin is the oldest that it hides. A
				-- primary's snapshot lists its xmin, if that is not xmax or our own xid (GetSnapshotData).
				WHEN u.xid >= pg_snapshot_xmin(now.snap) AND pg_visible_in_snapshot(pg_snapshot_xmin(now.snap), now.snap) -- breakage: snapshot of recovery
					AND pg_snapshot_xmin(now.snap) IS DISTINCT FROM now.own THEN 'P'
				-- The row may have been purged, unless all of the transaction aborted. That is asked first, because
				-- it mostly has, and the horizon costs more.
				WHEN pg_xact_status(u.xid) = 'aborted' OR u.xid > (SELECT h.through FROM pgbarrier.horizon h) THEN 'A' -- breakage: aborted
				ELSE 'E' END AS outcome
			FROM now CROSS JOIN unnest(ids, xids) WITH ORDINALITY AS u(id, xid, ord)
			LEFT JOIN LATERAL (
				SELECT b.xid FROM pgbarrier.barrier b
				WHERE b.id = u.id AND b.id >= '00000001-0000-0000-0000-000000000000' AND pg_visible_in_snapshot(u.xid, now.snap)
				OFFSET 0
			) found ON true
		)
		SELECT coalesce((SELECT h.origin FROM pgbarrier.here h), ''), (SELECT now.snap::text FROM now),
			coalesce(string_agg(j.outcome, '' ORDER BY j.ord), ''),
			max(j.xid::text::bigint) FILTER (WHERE j.outcome = 'P' AND j.xid >= pg_snapshot_xmax(j.snap))
		INTO origin, snapshot, outcomes, newest
		FROM judged j;

		-- If the newest is not in the future, none is.
		IF newest IS NOT NULL AND pgbarrier.never_assigned(newest::text::xid8) THEN
			SELECT string_agg(CASE WHEN substr(outcomes, u.ord::integer, 1) <> 'P' OR NOT pgbarrier.never_assigned(u.xid)
				THEN substr(outcomes, u.ord::integer, 1)
				-- Garbled or forged: its barrier is another transaction's.
				WHEN EXISTS (SELECT FROM pgbarrier.barrier b WHERE b.id = u.id) THEN 'I' ELSE 'A' END, '' ORDER BY u.ord)
			INTO outcomes
			FROM unnest(ids, xids) WITH ORDINALITY AS u(id, xid, ord);
		END IF;
	END
	$fn$;

	-- visible tells, in check's letters, whether the updates can be read here, by the transaction that
	-- asks, on a standby or a primary:
	--   C the row is there, and so are the updates
	--   A they will not come; only a primary knows, for example a standby that was promoted
	--   P not yet. A standby says so as well of what has aborted
	--   E the row is not there, and rows of its age may be gone
	-- one_snapshot tells that the transaction that asks has one for all its statements, so that not
	-- even P can change in it.
	CREATE OR REPLACE FUNCTION pgbarrier.visible(ids uuid[], xids xid8[],
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text, OUT one_snapshot boolean)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan SET row_security = off -- as in check
	AS $fn$
	BEGIN
		one_snapshot := current_setting('transaction_isolation') IN ('repeatable read', 'serializable');
		-- A primary, also one promoted a moment ago, knows more: what is running, and what was lost.
		IF NOT one_snapshot AND NOT pg_is_in_recovery() THEN
			SELECT c.version, c.origin, c.snapshot, c.outcomes INTO version, origin, snapshot, outcomes
			FROM pgbarrier.check(ids, xids) c;
			RETURN;
		END IF;
		version := 2;

		-- The row alone decides: it is right by any snapshot, of a standby or a primary, so a promotion
		-- meanwhile does no harm. Which transactions have ended cannot be told for certain from a snapshot
		-- taken in recovery. It does not list who is running, and even its xmin passes them when the process
		-- that replays ends, as it may before the sessions do when a standby shuts down: it forgets them all
		-- (StartupProcExit, postmaster/startup.c; ExpireAllKnownAssignedTransactionIds). So xmin may keep
		-- a wait from expiring too early, and decides nothing else.
		WITH now AS MATERIALIZED (
			SELECT pg_current_snapshot() AS snap, pg_current_xact_id_if_assigned() AS own
		), judged AS (
			SELECT u.ord, CASE
				WHEN u.id IS NULL OR u.xid IS NULL OR u.xid::xid IN ('0', '1', '2') OR u.xid > '9223372036854775807' THEN 'I'
				WHEN u.xid = now.own THEN 'P'
				WHEN found.xid = u.xid THEN 'C'
				WHEN found.xid IS NOT NULL OR u.id::text !~ '^.{14}7.{4}[89ab]' THEN 'I'
				WHEN u.xid >= pg_snapshot_xmin(now.snap) OR u.xid > (SELECT h.through FROM pgbarrier.horizon h) THEN 'P' -- breakage: standby
				ELSE 'E' END AS outcome
			FROM now CROSS JOIN unnest(ids, xids) WITH ORDINALITY AS u(id, xid, ord)
			LEFT JOIN LATERAL (
				SELECT b.xid FROM pgbarrier.barrier b WHERE b.id = u.id AND b.id >= '00000001-0000-0000-0000-000000000000' OFFSET 0
			) found ON true
		)
		SELECT coalesce((SELECT h.origin FROM pgbarrier.here h), ''), (SELECT now.snap::text FROM now),
			coalesce(string_agg(j.outcome, '' ORDER BY j.ord), '')
		INTO origin, snapshot, outcomes
		FROM judged j;
	END
	$fn$;

	-- split takes token texts apart. What is no token by the grammar of pgbarrier.ParseToken has null for
	-- its id and xid. Ten times as fast as one regular expression: where the hyphens and dots are, that there
	-- are no more of them, that all else is hexadecimal, and that the xid is a decimal bigint.
	CREATE OR REPLACE FUNCTION pgbarrier.split(tokens text[], OUT ids uuid[], OUT xids xid8[])
	LANGUAGE sql STABLE
	AS $fn$
		SELECT coalesce(array_agg(CASE WHEN valid THEN id::uuid END ORDER BY ord), '{}'),
			coalesce(array_agg(CASE WHEN valid THEN xid::xid8 END ORDER BY ord), '{}')
		FROM (
			SELECT ord, split_part(token, '.', 2) AS id, split_part(token, '.', 3) AS xid,
				coalesce(token LIKE 'pgb1.________-____-7___-____-____________.%.________'
					AND token NOT LIKE '%-%-%-%-%-%' AND token NOT LIKE '%.%.%.%.%'
					AND substr(token, 6) !~ '[^0-9a-f.-]' AND substr(token, 25, 1) IN ('8', '9', 'a', 'b')
					AND split_part(token, '.', 3) !~ '[^0-9]'
					AND split_part(token, '.', 3) NOT LIKE '0%'
					AND (length(split_part(token, '.', 3)) BETWEEN 1 AND 18
						OR length(split_part(token, '.', 3)) = 19 AND split_part(token, '.', 3) COLLATE "C" <= '9223372036854775807'), false) AS valid
			FROM unnest(tokens) WITH ORDINALITY AS u(token, ord)
		) AS parts
	$fn$;

	-- letters puts the outcomes of tokens that were split together again: W is of another database.
	CREATE OR REPLACE FUNCTION pgbarrier.letters(tokens text[], ids uuid[], origin text, outcomes text) RETURNS text
	LANGUAGE sql STABLE
	AS $fn$
		SELECT coalesce(string_agg(CASE WHEN u.id IS NOT NULL AND right(u.token, 8) <> origin THEN 'W' -- breakage: origin of a text
			ELSE substr(outcomes, u.ord::integer, 1) END, '' ORDER BY u.ord), '')
		FROM unnest(tokens, ids) WITH ORDINALITY AS u(token, id, ord)
	$fn$;

	-- The forms for token texts, for SQL and any language, have the letter W besides. They answer as in
	-- version 1, whose processes go on with them for as long as they run.
	CREATE OR REPLACE FUNCTION pgbarrier.check(tokens text[],
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	DECLARE
		t record;
	BEGIN
		SELECT s.ids, s.xids INTO t FROM pgbarrier.split(tokens) s;
		SELECT 1, c.origin, c.snapshot, pgbarrier.letters(tokens, t.ids, c.origin, c.outcomes)
		INTO version, origin, snapshot, outcomes
		FROM pgbarrier.check(t.ids, t.xids) c;
	END
	$fn$;

	CREATE OR REPLACE FUNCTION pgbarrier.visible(tokens text[],
		OUT version integer, OUT origin text, OUT snapshot text, OUT outcomes text, OUT one_snapshot boolean)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	DECLARE
		t record;
	BEGIN
		SELECT s.ids, s.xids INTO t FROM pgbarrier.split(tokens) s;
		SELECT 1, v.origin, v.snapshot, pgbarrier.letters(tokens, t.ids, v.origin, v.outcomes), v.one_snapshot
		INTO version, origin, snapshot, outcomes, one_snapshot
		FROM pgbarrier.visible(t.ids, t.xids) v;
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

	-- proof is what the tables know of a token, in words: its outcome as status has it, how that is known, what
	-- to do about it, and the facts for programs. explain needs it, which runs with the caller's rights.
	CREATE OR REPLACE FUNCTION pgbarrier.proof(token text, OUT outcome text, OUT says text, OUT next text, OUT facts jsonb)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET row_security = off -- as in check
	SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' -- of the texts
	AS $fn$
	DECLARE
		standby CONSTANT boolean := pg_is_in_recovery();
		stamped CONSTANT boolean := current_setting('track_commit_timestamp') = 'on';
		made    timestamptz; -- when the barrier was
		xid     xid8;
		t       record; -- what check or visible answers
		gone    record; -- what has been purged
		ended   text;   -- of the transaction, by the commit log
		twin    text;
	BEGIN
		xid := (SELECT s.xids[1] FROM pgbarrier.split(ARRAY[token]) s);
		IF standby THEN
			SELECT v.origin, v.snapshot, v.outcomes INTO t FROM pgbarrier.visible(ARRAY[token]) v;
		ELSE
			SELECT c.origin, c.snapshot, c.outcomes INTO t FROM pgbarrier.check(ARRAY[token]) c;
		END IF;
		IF xid IS NOT NULL THEN
			made := to_timestamp(('x' || translate(substr(token, 6, 13), '-', ''))::bit(48)::bigint / 1000.0);
		END IF;
		facts := jsonb_strip_nulls(jsonb_build_object('token', left(token, 70), 'created', made, 'xid', xid::text,
			'origin', t.origin, 'snapshot', t.snapshot, 'standby', standby));

		CASE t.outcomes
		WHEN 'C' THEN
			outcome := 'committed';
			says := 'the barrier''s row is there, so its transaction has committed, and every later snapshot of this server sees its updates';
			next := 'run the work';
			IF stamped AND pg_snapshot_xmax(pg_current_snapshot())::text::bigint - xid::text::bigint < 2000000000 THEN
				facts := facts || jsonb_strip_nulls(jsonb_build_object('committed', pg_xact_commit_timestamp(xid::xid)));
			END IF;
		WHEN 'A' THEN
			outcome := 'aborted';
			next := 'drop the work: its updates will never be readable';
			IF pgbarrier.never_assigned(xid) THEN
				says := 'a crash took its transaction before it reached the disk: its number has not been given out again';
			ELSE
				ended := pg_xact_status(xid);
				says := CASE ended
					WHEN 'aborted' THEN 'its transaction was rolled back, or ended with its session or in a crash'
					WHEN 'committed' THEN 'its transaction committed without the barrier, which was rolled back to a savepoint; or a crash took it, and its number was given out again'
					ELSE 'its transaction has ended without the barrier''s row, and of its time no row is gone' END;
			END IF;
			IF made < pg_postmaster_start_time() THEN
				says := concat(says, '; the server was started after that, at ', date_trunc('second', pg_postmaster_start_time()));
			END IF;
		WHEN 'P' THEN
			outcome := 'pending';
			says := CASE WHEN standby THEN 'the barrier''s row is not on this standby, which cannot tell whether its transaction is running, has aborted, or is still to be replayed'
				ELSE 'its transaction has not ended' END;
			next := 'ask the primary';
		WHEN 'E' THEN
			outcome := 'expired';
			next := 'decide by the data itself; and purge with a retention that outlasts the slowest message';
			SELECT h.through,
				(SELECT max(CASE WHEN stamped THEN pg_xact_commit_timestamp(m.xmin) END) FROM pgbarrier.barrier m
					WHERE m.id < '00000001-0000-0000-0000-000000000000' AND m.xid = h.through) AS moved,
				(SELECT to_timestamp(('x' || translate(left(b.id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) FROM pgbarrier.barrier b
					WHERE b.id > '00000001-0000-0000-0000-000000000000' ORDER BY b.id LIMIT 1) AS oldest
			INTO gone FROM (SELECT) one LEFT JOIN pgbarrier.horizon h ON true;
			says := CASE WHEN gone.through IS NULL THEN 'its transaction has ended, there is no row, and rows may have gone in another way than by purge: the database has no mark that none has (run sql/triggers.sql)'
				ELSE concat('its transaction has ended, and its row may have been purged: rows of transactions up to ', gone.through, ' may be gone, since ',
					coalesce(date_trunc('second', gone.moved)::text, 'when is not known (track_commit_timestamp)')) END
				|| coalesce('; the oldest barrier that is kept is ' || date_trunc('second', clock_timestamp() - gone.oldest) || ' old', '; no barrier is kept');
			facts := facts || jsonb_strip_nulls(jsonb_build_object('purged_through', gone.through::text, 'purged', gone.moved, 'oldest_kept', gone.oldest));
		WHEN 'W' THEN
			outcome := 'wrong database';
			-- A database and its template have one seed: then the oids alone make the difference.
			SELECT d.datname INTO twin FROM pg_database d, pg_database own
			WHERE own.datname = current_database() AND d.oid <> own.oid
				AND lpad(to_hex((('x' || t.origin)::bit(32)::bigint + (d.oid::bigint - own.oid::bigint) * 715827883) & 4294967295), 8, '0') = right(token, 8);
			says := concat('its origin is ', right(token, 8), ', that of database ', current_database(), ' is ', t.origin, ': it was made in ',
				coalesce('database ' || twin || ' of this server, which is its template or its copy',
				'a database that is unknown here, or in this one before it was restored from a dump or given another origin'));
			next := concat('wait for it in ', coalesce('database ' || twin, 'the database where it was made'));
			facts := facts || jsonb_strip_nulls(jsonb_build_object('token_origin', right(token, 8), 'made_in', twin));
		ELSE
			outcome := 'invalid';
			next := 'look how it came into the message: tokens are to be passed on as they are';
			says := CASE
				WHEN coalesce(token, '') = '' THEN 'it is empty'
				WHEN length(token) > 70 THEN concat('it has ', length(token), ' characters, a token has at most 70')
				WHEN NOT starts_with(token, 'pgb1.') THEN 'it does not start with pgb1.'
				WHEN token !~ '^[^.]*[.][^.]*[.][^.]*[.][^.]*$' THEN 'it has not the four parts pgb1, uuid, xid and origin; was it cut off?'
				WHEN split_part(token, '.', 2) !~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' THEN 'its id is not a lower-case version 7 uuid'
				WHEN split_part(token, '.', 4) !~ '^[0-9a-f]{8}$' THEN 'its origin is not 8 lower-case hexadecimal digits; was it cut off?'
				WHEN xid IS NULL THEN 'its transaction id is not a number from 1 to 9223372036854775807 without leading zeros'
				ELSE 'this database never made it: the barrier with its id is of another transaction, or the transaction id cannot be one' END;
		END CASE;
	END
	$fn$;

	-- explain says in words why a token has its outcome: rows of what, which begin with the outcome as status has
	-- it, words, and the facts for programs. Of a pending one it tells who keeps the transaction open, and who
	-- blocks that, as the role that asks may see it: sessions of others show their state and statement to
	-- pg_read_all_stats alone.
	CREATE OR REPLACE FUNCTION pgbarrier.explain(token text) RETURNS TABLE (about text, says text, facts jsonb)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
	SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
	AS $fn$
	#variable_conflict use_column
	DECLARE
		p    record;
		runs boolean; -- it is pending, and this is the server to ask
		low  xid;     -- the low 32 bits, which of those that run at one time no two share
	BEGIN
		-- Who is not seen any more may have ended meanwhile.
		FOR look IN 1..2 LOOP
			PERFORM pg_stat_clear_snapshot(); -- which is taken once for a transaction
			SELECT * INTO p FROM pgbarrier.proof(token);
			runs := p.outcome = 'pending' AND NOT pg_is_in_recovery();
			low := (p.facts->>'xid')::xid8::xid;
			EXIT WHEN NOT runs OR EXISTS (SELECT FROM pg_stat_activity a WHERE a.backend_xid = low)
				OR EXISTS (SELECT FROM pg_prepared_xacts x WHERE x.transaction = low);
		END LOOP;

		RETURN QUERY WITH RECURSIVE chain AS ( -- by pid alone: of a long queue each is blocked by all before it
			SELECT a.pid FROM pg_stat_activity a WHERE runs AND a.backend_xid = low
			UNION
			SELECT unnest(pg_blocking_pids(c.pid)) FROM chain c WHERE c.pid <> 0
		), sessions AS (
			SELECT row_number() OVER () AS n, c.pid, pg_blocking_pids(c.pid) AS blockers, a.usename AS role, a.application_name AS application,
				a.datname AS database, a.state, coalesce(a.wait_event = 'SyncRep', false) AS syncing, a.query = '<insufficient privilege>' AS hidden,
				CASE WHEN a.client_port >= 0 THEN host(a.client_addr) || ':' || a.client_port WHEN a.client_port = -1 THEN 'a local socket' END AS client,
				a.state_change AS since, a.xact_start AS began, a.wait_event_type || ' ' || a.wait_event AS waits,
				nullif(left(regexp_replace(a.query, '[[:space:]]+', ' ', 'g'), 300), '') AS statement,
				-- A prepared transaction has no pid. That of a row lock can be named.
				(SELECT x.gid FROM pg_locks l JOIN pg_prepared_xacts x ON x.transaction = l.transactionid
					WHERE l.pid = ANY (ARRAY(SELECT chain.pid FROM chain)) AND NOT l.granted AND c.pid = 0 LIMIT 1) AS gid
			FROM (SELECT * FROM chain LIMIT 100) c LEFT JOIN pg_stat_activity a ON a.pid = c.pid
		), prepared AS (
			SELECT x.gid, x.owner, x.database, x.prepared AS since FROM pg_prepared_xacts x WHERE runs AND x.transaction = low
		), head AS ( -- whom the others wait for
			SELECT s.* FROM sessions s ORDER BY cardinality(s.blockers), s.n DESC LIMIT 1
		)
		SELECT o.about, o.says, o.facts FROM (
			SELECT 1 AS part, 0 AS n, p.outcome::text AS about, p.says::text AS says, p.facts::jsonb AS facts
			UNION ALL
			SELECT 2, 0, 'barrier', concat('created ', date_trunc('second', c.at), ', ', date_trunc('second', clock_timestamp() - c.at), ' ago, by transaction ', p.facts->>'xid'),
				NULL FROM (SELECT (p.facts->>'created')::timestamptz AS at) c WHERE c.at IS NOT NULL
			UNION ALL
			SELECT 2, 1, 'standby', concat('this server is one; the last commit that it has replayed is ', date_trunc('second', clock_timestamp() - pg_last_xact_replay_timestamp()), ' old'),
				NULL WHERE pg_is_in_recovery()
			UNION ALL
			SELECT 3, s.n, CASE s.n WHEN 1 THEN 'producer' ELSE 'blocked by' END, concat_ws(', ',
				CASE WHEN s.pid > 0 THEN 'pid ' || s.pid ELSE coalesce(format('prepared transaction %L', s.gid), 'a prepared transaction') END,
				CASE WHEN s.pid = pg_backend_pid() THEN 'this session' END,
				CASE WHEN s.syncing THEN 'waiting for a synchronous standby' WHEN NOT s.hidden THEN s.state END || ' for ' || date_trunc('second', clock_timestamp() - s.since),
				'transaction open for ' || date_trunc('second', clock_timestamp() - s.began),
				CASE WHEN s.blockers = '{0}' THEN 'blocked by a prepared transaction' WHEN s.blockers <> '{}' THEN 'blocked by pid ' || array_to_string(s.blockers, ', ') END,
				'role ' || s.role, 'application "' || nullif(s.application, '') || '"', 'client ' || s.client,
				CASE WHEN s.state = 'active' THEN 'statement: ' ELSE 'last statement: ' END || CASE WHEN NOT s.hidden THEN s.statement END),
				jsonb_strip_nulls(jsonb_build_object('pid', nullif(s.pid, 0), 'blocked_by', nullif(s.blockers, '{}'), 'role', s.role, 'application', s.application,
					'database', s.database, 'client', s.client, 'state', s.state, 'since', s.since, 'transaction_began', s.began, 'waits_for', s.waits,
					'statement', CASE WHEN NOT s.hidden THEN s.statement END, 'gid', s.gid, 'hidden', nullif(s.hidden, false)))
			FROM sessions s
			UNION ALL
			SELECT 3, 0, 'producer', format('prepared transaction %L, prepared %s ago, role %s, database %s', x.gid, date_trunc('second', clock_timestamp() - x.since), x.owner, x.database),
				jsonb_build_object('gid', x.gid, 'since', x.since, 'role', x.owner, 'database', x.database) FROM prepared x
			UNION ALL
			SELECT 3, 0, 'producer', 'not seen: it has just ended, ' || CASE current_setting('transaction_isolation') WHEN 'read committed' THEN 'or was lost in a crash and its number not given out again yet'
				ELSE 'and this transaction still has the snapshot of before' END, NULL
			WHERE runs AND NOT EXISTS (SELECT FROM sessions) AND NOT EXISTS (SELECT FROM prepared)
			UNION ALL
			SELECT 4, 0, 'not shown', format('state, client and statement of sessions of %s, to role %s', string_agg(DISTINCT coalesce('role ' || s.role, 'the server''s own'), ', '), current_user), NULL
			FROM sessions s WHERE s.hidden HAVING count(*) > 0
			UNION ALL
			SELECT 5, 0, 'next', coalesce(h.name || ' is whom the others wait for: ', '') || h.advice, NULL FROM (
				SELECT CASE WHEN NOT runs THEN p.next::text
					WHEN x.gid IS NOT NULL THEN format('end it in database %s, as role %s or a superuser: COMMIT PREPARED %3$L or ROLLBACK PREPARED %3$L', x.database, x.owner, x.gid)
					WHEN s.pid = 0 THEN 'end that prepared transaction, see pg_prepared_xacts'
					WHEN s.pid = pg_backend_pid() THEN 'ask outside of the transaction that created it'
					WHEN s.hidden THEN format('ask again as a role with pg_read_all_stats: GRANT pg_read_all_stats TO %I', current_user)
					WHEN s.syncing THEN 'see why no standby answers (pg_stat_replication, synchronous_standby_names); if its session is ended, the commit can be read though no standby has it'
					WHEN s.state LIKE 'idle in transaction%' THEN format('find out why its client does not go on; SELECT pg_terminate_backend(%s) rolls its transaction back', s.pid)
					WHEN s.state = 'active' THEN format('it is working: wait, or SELECT pg_cancel_backend(%s)', s.pid)
					ELSE 'ask again' END AS advice,
					CASE WHEN s.n > 1 AND s.pid > 0 THEN 'pid ' || s.pid END AS name
				FROM (SELECT) one LEFT JOIN head s ON true LEFT JOIN prepared x ON true LIMIT 1) h
		) o ORDER BY o.part, o.n;
	END
	$fn$;

	-- wait is status for workers in any language: it returns the outcome once there is one, or pending when
	-- patience is over, on the session of whoever calls, which it keeps for so long. Without patience, or with less
	-- than none, it looks once. It writes nothing, and has no transaction id assigned.
	--   SELECT pgbarrier.wait($1, '10 seconds')
	-- Call it in a statement of its own, outside of a transaction: the updates can be read by the next statement, and
	-- not by this one, whose snapshot is older. Like any statement it keeps that snapshot until it ends, and vacuum
	-- keeps what it could see. So be patient for seconds, and call again. Between two looks it holds no lock of a table.
	CREATE OR REPLACE FUNCTION pgbarrier.wait(token text, patience interval DEFAULT '10 seconds') RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	DECLARE
		begun   CONSTANT timestamptz := clock_timestamp();
		-- Not added to a timestamp, which would have to be in the calendar.
		seconds CONSTANT double precision := extract(epoch FROM patience);
		waited  double precision;
		outcome text;
	BEGIN
		IF patience IS NULL THEN
			RAISE EXCEPTION 'pgbarrier: patience is null, it must be an interval'
				USING ERRCODE = 'null_value_not_allowed', HINT = 'For example 10 seconds.';
		ELSIF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN -- breakage: one snapshot
			RAISE EXCEPTION 'pgbarrier: cannot wait in a transaction that is %: it has one snapshot, in which nothing ends', upper(current_setting('transaction_isolation'))
				USING ERRCODE = 'invalid_transaction_state', HINT = 'Wait outside of the transaction, in READ COMMITTED.';
		ELSIF seconds > 0 AND NOT has_function_privilege('pg_catalog.pg_sleep(double precision)', 'EXECUTE') THEN
			RAISE EXCEPTION 'pgbarrier: cannot wait: role %, which owns pgbarrier.wait, may not call pg_sleep', current_user
				USING ERRCODE = 'insufficient_privilege',
				HINT = format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_sleep(double precision) TO %I', current_user);
		END IF;
		LOOP
			-- In READ COMMITTED each statement of a VOLATILE function has a snapshot of its own. A subtransaction that
			-- is rolled back gives back the locks of the look, for which a TRUNCATE, and all behind it, would wait.
			BEGIN
				outcome := pgbarrier.status(token);
				RAISE SQLSTATE 'PGBLK'; -- breakage: locks of a look
			EXCEPTION WHEN SQLSTATE 'PGBLK' THEN
				NULL;
			END;
			waited := extract(epoch FROM clock_timestamp() - begun);
			-- The transaction's own barrier is pending for as long as it waits.
			IF outcome <> 'pending' OR waited >= seconds OR split_part(token, '.', 3) = pg_current_xact_id_if_assigned()::text THEN
				RETURN outcome;
			END IF;
			-- A 16th of what has been waited for, as a listener's checks: 2 ms at first, a second at most.
			PERFORM pg_sleep(least(greatest(0.002, waited / 16), 1, seconds - waited));
		END LOOP;
	END
	$fn$;

	-- purge_batch deletes up to batch barriers that were created longer ago than retention, oldest first,
	-- beginning after an id (null: with the first). It returns how many, and the last of them. Call it
	-- again after that one while it returns as many as batch: to begin with the first each time would pass
	-- by all that is deleted, which is still there while an old snapshot is held. One session purges at a
	-- time: to the others it returns null. The horizon moves in the same transaction, see lost().
	CREATE OR REPLACE FUNCTION pgbarrier.purge_batch(retention interval, batch integer, after uuid, OUT purged bigint, OUT last uuid)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan SET row_security = off -- as in check
	AS $fn$
	DECLARE
		-- Variables, because an expression with the clock is no bound for the index: all that is younger
		-- would be looked at.
		begun uuid;
		young uuid;
	BEGIN
		IF retention IS NULL OR retention <= '0' THEN
			RAISE EXCEPTION 'pgbarrier: retention is %, it must be longer than zero', coalesce(retention::text, 'null')
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Retention must outlast the slowest wait and the longest transaction, for example 7 days.';
		ELSIF batch IS NULL OR batch < 1 THEN
			RAISE EXCEPTION 'pgbarrier: batch is %, it must be at least 1', coalesce(batch::text, 'null')
				USING ERRCODE = 'invalid_parameter_value';
		ELSIF current_setting('transaction_isolation') = 'serializable' THEN
			RAISE EXCEPTION 'pgbarrier: a purge in SERIALIZABLE could make a producer''s COMMIT fail'
				USING ERRCODE = 'invalid_transaction_state', HINT = 'Purge in READ COMMITTED.';
		END IF;
		-- Not an advisory lock, which anybody could hold for ever to keep us from purging.
		PERFORM FROM pgbarrier.origin o WHERE o.id = (SELECT f.id FROM pgbarrier.origin f ORDER BY f.seed LIMIT 1) FOR UPDATE SKIP LOCKED;
		IF NOT FOUND THEN
			RETURN;
		END IF;
		begun := greatest(after, '00000001-0000-0000-0000-000000000000');
		young := pgbarrier.first_id(clock_timestamp() - retention);
		-- A range and no join, which a plan made for a small table would do by reading the whole table for each row.
		WITH gone AS (
			DELETE FROM pgbarrier.barrier b
			WHERE b.id > begun AND b.id < young AND b.id <= coalesce(
				(SELECT l.id FROM pgbarrier.barrier l WHERE l.id > begun AND l.id < young ORDER BY l.id OFFSET batch - 1 LIMIT 1), young)
			RETURNING b.id
		)
		SELECT count(*), (array_agg(gone.id ORDER BY gone.id DESC))[1] INTO purged, last FROM gone;
		-- In a restored dump, for example, or if triggers were disabled for a while.
		IF NOT EXISTS (SELECT FROM pgbarrier.horizon) AND EXISTS (SELECT FROM pgbarrier.armed) THEN
			PERFORM pgbarrier.mark();
		END IF;
	END
	$fn$;

	-- purge deletes all barriers that were created longer ago than retention, in the transaction of whoever
	-- calls, and returns how many. With a batch it deletes so many at most. While another session purges,
	-- it returns null.
	CREATE OR REPLACE FUNCTION pgbarrier.purge(retention interval, batch integer DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $fn$
	DECLARE
		size CONSTANT integer := 10000;
		total bigint;
		one   record;
		after uuid;
	BEGIN
		LOOP
			SELECT p.purged, p.last INTO one FROM pgbarrier.purge_batch(retention, coalesce(batch, size), after) p;
			total := coalesce(total + one.purged, one.purged);
			after := one.last;
			EXIT WHEN batch IS NOT NULL OR coalesce(one.purged < size, true);
		END LOOP;
		RETURN total;
	END
	$fn$;

	-- Of version 1.
	IF older THEN
		IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'pgbarrier.barrier'::regclass AND tgname = 'truncated') THEN
			DROP TRIGGER truncated ON pgbarrier.barrier;
		END IF;
		FOR part IN SELECT p.oid::regprocedure FROM pg_proc p
			WHERE p.oid IN (to_regprocedure('pgbarrier.truncated()'), to_regprocedure('pgbarrier.watch(text[], xid8[], integer, integer)')) LOOP
			EXECUTE format('DROP FUNCTION %s', part);
		END LOOP;
		IF to_regclass('pgbarrier.identity') IS NOT NULL THEN
			DROP TABLE pgbarrier.identity;
		END IF;
		-- A create() that waits for the migration goes on with these, and with new_id(). They go with the next version.
		CREATE OR REPLACE FUNCTION pgbarrier.origin() RETURNS text
		LANGUAGE plpgsql STABLE
		AS $fn$ BEGIN RETURN (SELECT h.origin FROM pgbarrier.here h); END $fn$;
		CREATE OR REPLACE FUNCTION pgbarrier.token(id uuid, xid xid8) RETURNS text
		LANGUAGE sql STABLE
		AS $fn$ SELECT 'pgb1.' || id || '.' || xid || '.' || pgbarrier.origin() $fn$;
		-- Whoever may use what there was may use what takes its place.
		FOR old_grants IN
			SELECT format('GRANT EXECUTE ON FUNCTION pgbarrier.%s TO %s', new.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
			FROM (VALUES ('check(text[])', 'check(uuid[], xid8[])'), ('visible(text[])', 'visible(uuid[], xid8[])'),
				('purge(interval, integer)', 'purge_batch(interval, integer, uuid)')) AS new (old, name)
			JOIN pg_proc p ON p.oid = ('pgbarrier.' || new.old)::regprocedure
			CROSS JOIN aclexplode(p.proacl) a
			WHERE a.grantee NOT IN (0, p.proowner) AND a.privilege_type = 'EXECUTE'
		LOOP
			EXECUTE old_grants;
		END LOOP;
	END IF;

	REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgbarrier FROM PUBLIC;
	REVOKE ALL ON ALL TABLES IN SCHEMA pgbarrier FROM PUBLIC;
	REVOKE ALL ON SCHEMA pgbarrier FROM PUBLIC;

	EXECUTE describe INTO state;
	EXECUTE format('COMMENT ON SCHEMA pgbarrier IS %L', concat('pgbarrier schema 2, revision ', revision, ', state ', state));
	EXIT;
	EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
		PERFORM pg_stat_clear_snapshot();
		EXECUTE users INTO users_now;
		IF try = tries THEN
			RAISE EXCEPTION 'tables of schema pgbarrier are in use, gave up after % tries: %', try, users_now
				USING ERRCODE = 'lock_not_available', HINT = 'Nothing was changed. Migrate again once these transactions have ended, or end them: SELECT pg_terminate_backend(pid).';
		END IF;
		RAISE NOTICE 'pgbarrier: migrating waits for tables in use, try % of %: %', try, tries, users_now;
		BEGIN
			PERFORM pg_sleep(waits * 0.004); -- of five parts of the time, producers have four
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
	END; END LOOP;

	PERFORM set_config('lock_timeout', found_patience, true), set_config('search_path', found_path, true);
END
$pgbarrier$;

-- +goose StatementEnd
-- +migrate StatementEnd
