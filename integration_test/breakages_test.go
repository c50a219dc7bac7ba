package integration_test

// The ways to break the promises of promises_test.go.

const schema = "sql/triggers.sql"

// trustXID takes the transaction's status for the barrier's.
func trustXID(test string) breakage {
	return breakage{"a transaction id that committed counts as a commit, without the row", schema, "aborted",
		"WHEN pg_xact_status", "WHEN pg_xact_status(u.xid) = 'committed' THEN 'C' WHEN pg_xact_status", test}
}

var (
	endPending = breakage{"a check ends waits that it found pending", "listener/outcomes.go", "pending stays",
		"if outcome == wire.Pending", "if outcome > wire.Invalid", "TestAWaitEndsWithTheCommitAndTheUpdatesCanBeRead"}
	abortAsCommit = breakage{"ended without a row counts as committed", schema, "aborted",
		"THEN 'A'", "THEN 'C'", "TestAWaitEndsAbortedWithWhateverAbortsTheTransaction"}
	runningSince = breakage{"a row that cannot be seen yet counts as an abort", schema, "running",
		"", "", "TestTheWaitForASerializationFailureAtCommitIsAborted"}
	ignoreRow = breakage{"the row is not looked at", schema, "the row",
		"", "", "TestTheWaitForAProducerKilledBeforeInOrAfterCommitEndsWithTheTruth"}
	preparedAborts = breakage{"a prepared transaction counts as ended", schema, "running",
		"WHEN u.xid = now.own", "WHEN u.xid::xid IN (SELECT p.transaction FROM pg_prepared_xact() p) THEN 'A' WHEN u.xid = now.own",
		"TestAWaitForAPreparedTransactionEndsWhenItIsEnded"}
	forgetPrepared = breakage{"a snapshot taken in recovery is trusted after it", schema, "snapshot of recovery",
		"WHEN u.xid >=", "WHEN false AND u.xid >=", "TestASnapshotExportedBeforeAPromotionTellsNoFalseAbort"}
	standbySnapshot = breakage{"a standby's snapshot tells who has ended", schema, "standby",
		"WHEN u.xid >= pg_snapshot_xmin(now.snap) OR", "WHEN u.xid >= pg_snapshot_xmin(now.snap) THEN 'P' WHEN u.xid > (SELECT h.through FROM pgbarrier.horizon h) THEN 'A' WHEN",
		"TestAStandbyThatIsShutDownTellsNoAbort"}
	wrapContext = breakage{"the context's error is hidden", "listener/wait.go", "the context's own error",
		"return ctx.Err()", "return fmt.Errorf(\"wait: %w\", ctx.Err())",
		"TestAWaitForAForgottenPreparedTransactionEndsWithItsContextAndIsRightLater"}
	rememberUnwatched = breakage{"commits are remembered though nothing would tell of a crash", "listener/outcomes.go", "memory only while a session would notice a crash",
		"if s.stats.Connected", "if s.statements >= 0", "TestAnAsynchronousCommitThatWasSeenAndLostIsAbortedWhenWaitedForAgain"}
	sumUp = breakage{"a wait for several adds up commits from before and after a crash", "listener/outcomes.go", "several by one statement",
		"sub.foundBy != statement", "sub.foundBy == statement && false", "TestAWaitForSeveralForgetsACommitThatACrashTook"}
	keepSilent = breakage{"a session that went silent is kept", "listener/session.go", "silent session replaced",
		"begun.Add(r.config.Heartbeat/2), errSilent", "begun.Add(24*time.Hour), errSilent", "TestAHalfOpenConnectionIsNoticedAndReplaced"}
	believeListen = breakage{"a session that has never heard anything is kept", "listener/session.go", "silent session replaced",
		"begun.Add(r.config.Heartbeat/2), errSilent", "begun.Add(24*time.Hour), errSilent", "TestAListenThroughPgBouncerIsReportedWhileWaitsStillEnd"}
	anyAnnouncement = breakage{"an announcement ends whatever is waited for", "listener/outcomes.go", "announcement ends only its own token",
		"s.resolve(t, nil, ByAnnouncement, 0, &n)", "for t := range s.pending { s.resolve(t, nil, ByAnnouncement, 0, &n) }",
		"TestForgedDuplicatedAndMalformedNotificationsEndNoWaitWrongly"}
	endOne = breakage{"an outcome ends one of the waits for it", "listener/outcomes.go", "outcome ends all waits for it",
		"for b.waits.first != nil", "if b.waits.first != nil", "TestTheSameTokenHasTheSameOutcomeForAllAndAgain"}
	rememberLong = breakage{"commits are remembered for an hour", "listener/outcomes.go", "memory only for a second",
		"time.Second", "time.Hour", "TestACommitThatAFailoverLostIsForgottenThoughAllConnectionsAreHalfOpen"}
	keepHandler = breakage{"the pool's notification handler is kept", "internal/dial/dial.go", "pool's OnNotification dropped",
		"", "", "TestThePoolsNotificationHandlerTakesNothingFromTheListener"}
	keepEnding = breakage{"the pool's way of ending a statement is kept", "internal/dial/dial.go", "ctx-watcher replaced",
		"config.BuildContextWatcherHandler = func(", "_ = func(", "TestThePoolsWayOfEndingAStatementDoesNotKeepADeadConnection"}
	hookEnds = breakage{"a hook that fails ends Run", "listener/listener.go", "hook failure does not end Run",
		" && !errors.Is(err, dial.ErrHook)", "", "TestAHookThatFailsDoesNotEndRun"}
	serialize = breakage{"checks run in SERIALIZABLE if that is the default", "listener/checkconn.go", "READ COMMITTED wrapping",
		"BEGIN ISOLATION LEVEL READ COMMITTED;", "BEGIN;", "TestAWaitFailsNoSerializableCommit"}
	oneSnapshot = breakage{"checks run in REPEATABLE READ if that is the default", "listener/checkconn.go", "READ COMMITTED where it is not the default",
		`!= "read committed"`, `== "serializable"`, "TestTheListenerChecksInReadCommittedWhateverTheDefault"}
	timeOut = breakage{"checks have the pool's statement_timeout", "listener/checkconn.go", "statement_timeout wrapping",
		"SET LOCAL statement_timeout = 0", "", "TestAStatementTimeoutOfThePoolEndsNoCheck"}
	neverAssigned = breakage{"a transaction id in the future counts as pending", schema, "never assigned",
		"RETURN true;", "RETURN false;", "TestAfterACrashALostBarrierIsAbortedAlsoWhenItsXIDIsUsedAgain"}
	sumUpPolls = breakage{"a poll for several adds up commits from before and after a crash", "fallback_poll.go", "all at once",
		"asked == len(tokens)", "asked > 0", "TestAWaitForSeveralForgetsACommitThatACrashTook"}
	pollBatches = breakage{"a poll asks in batches", "fallback_poll.go", "one statement",
		"q.put(ctx, db, pending)", "Check(ctx, db, pending...)", "TestAPollForVeryManyIsNotFooledByACrashAfterItsFirstStatement"}
	giveUp = breakage{"an outage ends the wait", "fallback_poll.go", "outage",
		"!wire.IsOutage(err)", "wire.IsOutage(err)", "TestAPollWaitsForAServerThatIsNotThereYet"}
	queueUp = breakage{"announcing waits for its lock", schema, "announcing lock",
		"pg_try_advisory_xact_lock(7018962344107663491)", "pg_advisory_xact_lock(7018962344107663491)::text IS NOT NULL",
		"TestAnUnprivilegedRoleThatHoldsTheLockHoldsNoCommitUp"}
	fillQueue = breakage{"a filling queue is filled further", schema, "notification queue",
		"< 0.5", "< 2", "TestAFillingNotificationQueueIsLeftAlone"}
	oldestXID = breakage{"outcomes wait for the oldest running transaction", schema, "running",
		"NOT pg_visible_in_snapshot(u.xid, now.snap)", "u.xid >= pg_snapshot_xmin(now.snap)", "TestALongTransactionElsewhereHoldsNothingUp"}
	keepHorizon = breakage{"a purge does not move the horizon", schema, "rows go",
		"newest >", "false AND newest >", "TestAPurgeThatRacesWaitsMakesNoneOfThemWrong"}
	truncateQuietly = breakage{"a truncation does not move the horizon", schema, "the table is emptied",
		"TG_OP = 'TRUNCATE'", "false", "TestATruncatedBarrierIsExpiredAndNeverAFalseAbort"}
	horizonBack = breakage{"a purge moves the horizon back", schema, "rows go",
		"newest >", "true OR newest >", "TestWithTheServersClockSetBackOutcomesAreRightOrExpired"}
	ignoreOrigin = breakage{"the origin is not looked at", "internal/wire/check.go", "origin",
		"!= answer.Origin", "!= answer.Origin && false", "TestTokensAreForeignInADatabaseCopiedByTemplate"}
	takeAnyText = breakage{"text that is no token is taken", "token.go", "no token",
		"return Token{}, fmt.Errorf(\"%w: %s: %s\", ErrInvalidToken, quoteShort(s), problem)", "return t, nil", "TestAMalformedTokenIsRefusedWithWhatIsWrongWithIt"}
	noExplanation = breakage{"a missing schema is not told from other errors", "internal/wire/errors.go", "no schema",
		"case InvalidSchemaName, UndefinedFunction, UndefinedTable, UndefinedColumn:", `case "none":`, "TestWithoutTheSchemaEveryCallNamesTheCommandThatInstallsIt"}
	lockEnds = breakage{"a lock timeout is no outage", "internal/wire/errors.go", "lock timeout",
		"LockNotAvailable, ", "", "TestALockTimeoutEndsNeitherRunNorAPoll"}
	replaceAlways = breakage{"a trigger that is enabled ALWAYS is replaced", schema, "enabled ALWAYS",
		" OR w.name = 'announce' AND t.tgenabled = 'A'", "", "TestATriggerThatIsEnabledAlwaysIsLeftAlone"}
	trustCopies = breakage{"a mark's copy counts as a mark", schema, "a mark's copy",
		"= lpad", "<> lpad", "TestARewrittenTableTellsNoFalseAbort"}
	ignoreTriggers = breakage{"triggers that were switched off and on again are trusted", schema, "triggers as they stood",
		`concat(t.oid, ' ', t.xmin)`, "t.tgname", "TestRowsThatVanishWhileATriggerIsSwitchedOffAndOnAgainTellNoFalseAbort"}
	waitForNotify = breakage{"a NOTIFY that is held up is waited for", schema, "NOTIFY is held up",
		"(l).objid = 0", "(l).objid = 1", "TestNoCommitWaitsForANotifyThatIsHeldUp"}
	raiseErrors = breakage{"an error of announcing is one of the COMMIT", schema, "an error of announcing",
		"RETURN NULL", "RAISE", "TestNoFunctionThatTheOwnerLacksFailsACommit"}
	oneSeed = breakage{"a dump carries the seed", schema, "a seed for each restore",
		"('x' || left(gen_random_uuid()::text, 8))::bit(32)::bigint", "17", "TestOneDumpRestoredIntoTwoFreshClustersHasTwoOrigins"}
	checkSerializable = breakage{"a check is SERIALIZABLE if that is the default", "internal/wire/isolation.go", "SERIALIZABLE by default",
		"'serializable'\"", "''\"", "TestNothingThatStandsAloneReadsInSerializable"}
	oneQuestion = breakage{"a replica wait is over for a default of REPEATABLE READ", "replica.go", "one snapshot",
		"!oneSnapshot || !wire.InTransaction(replica)", "!oneSnapshot", "TestAReplicaWaitGoesOnWhateverTheDefaultIsolation"}
	waitInOneSnapshot = breakage{"a wait in SQL is taken in a transaction with one snapshot", schema, "one snapshot",
		"NOT IN ('read committed', 'read uncommitted')", "= 'chaos'", "TestAWaitInSQLIsRefusedInATransactionWithOneSnapshot"}
	waitWithLocks = breakage{"a wait in SQL keeps the locks of its looks", schema, "locks of a look",
		"RAISE SQLSTATE 'PGBLK'", "NULL", "TestAWaitInSQLHoldsNoLockAndHasNoTransactionID"}
	askStandby = breakage{"a standby is asked", schema, "asked of a standby",
		"pg_is_in_recovery()", "false", "TestRunReturnsAtOnceOnAStandby"}
)
