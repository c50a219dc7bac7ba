package doctor

// announce: pgbarrier.announce() compares with exactly this spelling.
var announce = problems("announcing is on by default", `
	SELECT 'warn', format('pgbarrier.announce is off for %s%s', CASE s.setrole WHEN 0 THEN 'all roles' ELSE concat('role ', pg_get_userbyid(s.setrole)) END,
		CASE s.setdatabase WHEN 0 THEN ', in all databases' ELSE ', in this database' END)
	FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c
	WHERE c = 'pgbarrier.announce=off' AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
	UNION ALL
	SELECT 'warn', 'pgbarrier.announce is off in the session that asks' WHERE current_setting('pgbarrier.announce', true) = 'off'`)

// roleSettings: reset_val is what a session of the role begins with. Times are in milliseconds.
var roleSettings = problems("the role's settings are of no harm", `
	SELECT s.level, format('%s is %s: %s', s.name, s.value, s.harm)
	FROM (
		SELECT p.name, concat(p.reset_val, p.unit) AS value, w.level, w.harm
		FROM (VALUES ('default_transaction_read_only', 'fail', 'the role''s transactions can create no barriers'),
			('session_replication_role', 'warn', 'no commit is announced'),
			('transaction_timeout', 'warn', 'no commit is announced, because it could end one'),
			('default_transaction_isolation', 'warn', 'each check takes a transaction of its own'),
			('statement_timeout', 'warn', 'checks take a transaction of their own; migrating and purging may be cut off'),
			('lock_timeout', 'warn', 'what meets a lock of a migration or of VACUUM FULL fails soon')) AS w (name, level, harm)
		JOIN pg_settings p ON p.name = w.name
		WHERE CASE w.name WHEN 'default_transaction_read_only' THEN p.reset_val = 'on' WHEN 'session_replication_role' THEN p.reset_val = 'replica'
			WHEN 'default_transaction_isolation' THEN p.reset_val <> 'read committed' WHEN 'transaction_timeout' THEN p.reset_val <> '0'
			WHEN 'statement_timeout' THEN p.reset_val::bigint BETWEEN 1 AND 14999 ELSE p.reset_val::bigint BETWEEN 1 AND 999 END
	) s ORDER BY s.level, s.name`)

var durability = problems("what was seen survives a crash", `
	SELECT 'warn', 'synchronous_commit is off for the role that asks' FROM pg_settings WHERE name = 'synchronous_commit' AND reset_val = 'off'
	UNION ALL
	SELECT 'warn', 'fsync is off: a crash of the machine can destroy the database' WHERE current_setting('fsync') = 'off'`)

var synchronousStandby = problems("no COMMIT waits for a standby that is not there", `
	SELECT 'fail', format('synchronous_standby_names is %L, and none of them is connected', current_setting('synchronous_standby_names'))
	WHERE current_setting('synchronous_standby_names') <> '' AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))`)

var autovacuum = problems("autovacuum is on", `
	SELECT 'warn', format('pgbarrier.%s has %s', c.relname, o)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN unnest(c.reloptions) AS o
	WHERE n.nspname = 'pgbarrier' AND o ~* '^autovacuum_enabled=(false|off|no|0)'
	UNION ALL
	SELECT 'warn', format('%s is off on this server', name) FROM pg_settings WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off'`)
