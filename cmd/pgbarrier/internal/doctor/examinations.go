package doctor

// examinations are all there are, in the order in which they are made and printed: what explains others comes first.
var examinations = []examination{
	// connection.go
	{"server", "never: it names the server, the database and the role that answer", "", 0, identity},
	{"standby", "the server is in recovery: nothing can be created, and no outcome told, there",
		"connect to the primary, for example with target_session_attrs=read-write; what reads from a replica calls AwaitReplica", 0, standby},
	{"pooler", "a pooler in transaction mode is in between: LISTEN hears nothing through it, and what a session SETs is another's",
		"set listener.Config.ListenConnString to a direct connection, and examine that as well", bare, pooler},
	{"listen", "a NOTIFY sent by one session was not heard by another that listens: waits end by checks alone",
		"give LISTEN a direct connection to the primary: listener.Config.ListenConnString", primary | bare, listen},
	{"clock", "the server's clock and the local one differ by more than a second: ages and the times in tokens are wrong by that",
		"let both synchronize with NTP", 0, clock},

	// schema.go
	{"schema", "the schema is missing, incomplete, or of another version", "pgbarrier migrate", 0, installed},
	{"revision", "sql/triggers.sql was installed from another release than this command is of", "pgbarrier migrate, with the newest release in use", schema, revision},
	{"drift", "a function, view, column, index or trigger is not as it was installed", "pgbarrier migrate repairs it; find out who changed it", schema, drift},
	{"triggers", "a trigger is missing, disabled, or a stranger's; or a rule is on the tables", "pgbarrier migrate repairs its own; drop the stranger's", schema, triggers},
	{"row-security", "row security is on for a table: it would hide rows, so checks refuse to answer if it is forced on the owner",
		"ALTER TABLE … NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY", schema, rowSecurity},
	{"owner", "parts of the schema belong to different roles, so that functions lack rights on tables", "ALTER … OWNER TO the schema's owner, for each", schema, owner},
	{"mark", "the table has no mark, as after a dump was restored: what ended without a row is expired, not aborted", "pgbarrier migrate", schema, mark},
	{"check", "a check, which every wait depends on, fails or is slow", "see what it says, and the other findings", schema | primary, check},
	{"publications", "a table is published and has no replica identity: whatever updates or deletes in it fails, purging included",
		"ALTER TABLE … REPLICA IDENTITY DEFAULT, or take schema pgbarrier out of the publication", schema, publications},

	// grants.go
	{"grants", "the role that asks may neither create barriers nor wait for them, or half of it", "the head of sql/triggers.sql lists the grants", schema, grants},
	{"owner-grants", "the schema's owner may not execute what its functions use, as on a hardened server", "GRANT EXECUTE ON FUNCTION … TO the owner", schema, ownerGrants},
	{"listener-grants", "the role that asks may not execute what a listener uses besides the schema: it cannot tell that it hears, or how busy the server is",
		"GRANT EXECUTE ON FUNCTION … TO the role of the workers", 0, listenerGrants},

	// settings.go
	{"announce", "pgbarrier.announce is off by default: those commits are not announced, and waits end by checks",
		"if it is not on purpose: ALTER ROLE or DATABASE … RESET pgbarrier.announce", 0, announce},
	{"role-settings", "a setting of the role, the database or the connection string hurts producers or checks",
		"ALTER ROLE or DATABASE … RESET the setting; SET it where it is needed", 0, roleSettings},
	{"durability", "a crash can take commits that a worker has seen and acted on", "synchronous_commit = on for producers, and fsync = on", 0, durability},
	{"synchronous-standby", "synchronous_standby_names is set and no such standby is connected: every COMMIT waits for one",
		"bring a standby back, or ALTER SYSTEM SET synchronous_standby_names = '' and reload", primary | sight, synchronousStandby},
	{"autovacuum", "nobody removes dead rows: autovacuum is off for a table or the server", "ALTER TABLE … RESET (autovacuum_enabled), or autovacuum = on", 0, autovacuum},

	// notifying.go
	{"notify-queue", "the notification queue fills: half full, nothing is announced, and full, everybody else's NOTIFY fails",
		"end the transaction of the session that listens in one: SELECT pg_terminate_backend(pid)", 0, notifyQueue},
	{"notify-lock", "one COMMIT holds the lock of NOTIFY, of which the whole server has one: nothing is announced, and everybody else's NOTIFY waits",
		"find out what that COMMIT waits for, often a synchronous standby; SELECT pg_terminate_backend(pid) ends it", 0, notifyLock},
	{"announcing-lock", "a session keeps one of pgbarrier's advisory locks: nothing is announced, or Migrate waits",
		"SELECT pg_terminate_backend(pid), and choose other keys for that application's locks", 0, announcingLock},
	{"locks", "there are so many locks on the server that commits do not look who holds that of NOTIFY: nothing is announced",
		"find the session with the most: SELECT pid, count(*) FROM pg_locks GROUP BY pid ORDER BY 2 DESC", 0, locks},

	// table.go
	{"future-ids", "barriers are of a time to come, because the server's clock was set back: they are purged that much later", "nothing, once the clock is right", schema, futureIDs},
	{"size", "the table of barriers, with its index, is larger than 10 GB", "purge more often, or keep barriers for a shorter time: Config.Retention, pgbarrier purge", schema, size},
	{"dead-rows", "most rows of the table are dead, and more than 100,000: checks that find no row and purges take longer",
		"VACUUM pgbarrier.barrier; if that removes few, see the finding snapshots", schema, deadRows},
	{"backlog", "barriers are older than half as long again as --retention (without it: than 30 days): nobody purges, or too slowly",
		"Config.Retention in a worker, or pgbarrier purge --retention=7d once; see the findings prepared and snapshots", schema, backlog},

	// sessions.go
	{"pending", "a transaction with barriers is open for more than a minute: its waits cannot end before",
		"look what that session does; SELECT pg_terminate_backend(pid) rolls it back, and its messages are dropped", schema | sight, pending},
	{"prepared", "a prepared transaction is older than ten minutes: its waits cannot end, and it holds vacuum back", "COMMIT PREPARED or ROLLBACK PREPARED, in its database", 0, prepared},
	{"snapshots", "a snapshot is older than an hour, or a standby's or replication slot's ten million transactions: dead rows stay, also those of purges",
		"end that session, or drop the slot that nobody uses", sight, snapshots},
	{"listeners", "more than 64 sessions listen: every announcement wakes all of them", "let some processes share a listener, or set Config.PollOnly in some", sight, listeners},
	{"cost", "checks take more than a fifth of the time of all statements, as pg_stat_statements has it", "raise Config.MinDelay, or have fewer listeners", sight, cost},
	{"connections", "fewer than ten connections are free, of the server, the database or the role: a listener needs two, and now and then a third",
		"raise max_connections or the CONNECTION LIMIT, or have smaller pools", 0, connections},
	{"wraparound", "the oldest transaction id is 500 million transactions old: at two billion the server refuses to create barriers, and all other writes",
		"VACUUM (FREEZE) in that database; see the findings prepared and snapshots", 0, wraparound},
}
