package integration_test

// The ways to break the promises of promises_test.go.

const (
	schema  = "sql/triggers.sql"
	abort   = "WHEN t.id > now.purged_through THEN 'A'"
	running = "WHEN NOT pg_visible_in_snapshot(t.xid, now.snap) THEN 'P'"
)

// trustXID takes the transaction's status for the barrier's.
func trustXID(test string) breakage {
	return breakage{"a transaction id that committed counts as a commit, without the row", schema, abort,
		"WHEN t.id > now.purged_through AND pg_xact_status(t.xid) = 'committed' THEN 'C'\n" + abort, test}
}

var (
	endPending = breakage{"a check ends waits that it found pending", "listener/outcomes.go",
		"if status != pgbarrier.Pending {", "if found >= 0 {", "TestAWaitEndsWithTheCommitAndTheUpdatesCanBeRead"}
	abortAsCommit = breakage{"ended without a row counts as committed", schema,
		abort, "WHEN t.id > now.purged_through THEN 'C'", "TestAWaitEndsAbortedWithWhateverAbortsTheTransaction"}
	runningSince = breakage{"a row that cannot be seen yet counts as an abort", schema,
		running, "WHEN false THEN 'P'", "TestTheWaitForASerializationFailureAtCommitIsAborted"}
	ignoreRow = breakage{"the row is not looked at", schema,
		"WHEN found.xid = t.xid THEN 'C'", "WHEN false THEN 'C'", "TestTheWaitForAProducerKilledBeforeInOrAfterCommitEndsWithTheTruth"}
	preparedAborts = breakage{"a prepared transaction counts as ended", schema,
		running, "WHEN t.xid::xid IN (SELECT p.transaction FROM pg_prepared_xact() p) THEN 'A'\n" + running,
		"TestAWaitForAPreparedTransactionEndsWhenItIsEnded"}
	forgetPrepared = breakage{"a snapshot taken in recovery is trusted after it", schema,
		"WHEN t.xid >= pg_snapshot_xmin(now.snap) AND pg_visible", "WHEN false AND pg_visible", "TestASnapshotExportedBeforeAPromotionTellsNoFalseAbort"}
	standbySnapshot = breakage{"a standby's snapshot tells who has ended", schema,
		"WHEN t.id > now.purged_through OR t.xid >= pg_snapshot_xmin(now.snap) THEN 'P'", "WHEN t.xid >= pg_snapshot_xmin(now.snap) THEN 'P' WHEN t.id > now.purged_through THEN 'A'",
		"TestAStandbyThatIsShutDownTellsNoAbort"}
	wrapContext = breakage{"the context's error is hidden", "listener/listener.go",
		"		return err\n	}\n	return ctx.Err()\n}\n\n// Subscribe", "		return err\n	}\n	return fmt.Errorf(\"wait: %w\", ctx.Err())\n}\n\n// Subscribe",
		"TestAWaitForAForgottenPreparedTransactionEndsWithItsContextAndIsRightLater"}
	neverAssigned = breakage{"a transaction id in the future counts as pending", schema,
		"RETURN true;", "RETURN false;", "TestAfterACrashALostBarrierIsAbortedAlsoWhenItsXIDIsUsedAgain"}
	rememberUnwatched = breakage{"commits are remembered though nothing would tell of a crash", "listener/outcomes.go",
		"if outcome != nil || !s.unheard && epoch == s.epoch {", "if outcome != nil || s.waiting >= 0 {", "TestAnAsynchronousCommitThatWasSeenAndLostIsAbortedWhenWaitedForAgain"}
	sumUp = breakage{"a wait for several adds up commits from before and after a crash", "listener/outcomes.go",
		"if sub.epoch == 0 {", "if sub.missing > 0 {", "TestAWaitForSeveralForgetsACommitThatACrashTook"}
	sumUpPolls = breakage{"a poll for several adds up commits from before and after a crash", "fallback_poll.go",
		"case len(pending) == 0 && asked == len(tokens):", "case len(pending) == 0 && asked > 0:", "TestAWaitForSeveralForgetsACommitThatACrashTook"}
	keepSilent = breakage{"a session that went silent is kept", "listener/receiver.go",
		"return connected, errSilent", "continue", "TestAHalfOpenConnectionIsNoticedAndReplaced"}
	waitForTurn = breakage{"a pulse waits for the check before it", "listener/query.go",
		"case <-ctx.Done():\n		return ctx.Err()\n	}\n	defer func() { <-q.turn }()", "}\n	defer func() { <-q.turn }()",
		"TestWithBothConnectionsHalfOpenWaitsEndOnceTheCheckTimesOut"}
	believeListen = breakage{"LISTEN is believed without a proof", "listener/receiver.go",
		"if err == nil && !heard {", "if err == nil && !heard && false {", "TestAListenThroughPgBouncerIsReportedWhileWaitsStillEnd"}
	giveUp = breakage{"an outage ends the wait", "fallback_poll.go",
		"case !IsOutage(err) || isBroken(db):", "case IsOutage(err) || isBroken(db):", "TestAPollWaitsForAServerThatIsNotThereYet"}
	anyAnnouncement = breakage{"an announcement ends whatever is waited for", "listener/outcomes.go",
		"	reports := s.resolve(t, nil, ByAnnouncement, nil)", "	for p := range s.pending {\n		t = p\n	}\n	reports := s.resolve(t, nil, ByAnnouncement, nil)",
		"TestForgedDuplicatedAndMalformedNotificationsEndNoWaitWrongly"}
	queueUp = breakage{"announcing waits for its lock", schema,
		"AND pg_try_advisory_xact_lock(7018962344107663491)", "AND pg_advisory_xact_lock(7018962344107663491)::text IS NOT NULL",
		"TestAnUnprivilegedRoleThatHoldsTheLockHoldsNoCommitUp"}
	fillQueue = breakage{"a filling queue is filled further", schema,
		"pg_notification_queue_usage() < 0.5", "pg_notification_queue_usage() < 2", "TestAFillingNotificationQueueIsLeftAlone"}
	oldestXID = breakage{"outcomes wait for the oldest running transaction", schema,
		running, "WHEN t.xid >= pg_snapshot_xmin(now.snap) THEN 'P'", "TestALongTransactionElsewhereHoldsNothingUp"}
	endOne = breakage{"an outcome ends one of the waits for it", "listener/outcomes.go",
		"	s.remove(b)\n	for b.waits.first != nil {", "	s.remove(b)\n	if b.waits.first != nil {", "TestTheSameTokenHasTheSameOutcomeForAllAndAgain"}
	keepHorizon = breakage{"a purge does not move the horizon", schema,
		"WHERE purged_through < last", "WHERE false", "TestAPurgeThatRacesWaitsMakesNoneOfThemWrong"}
	horizonBack = breakage{"a purge moves the horizon back", schema,
		"WHERE purged_through < last", "", "TestWithTheServersClockSetBackOutcomesAreRightOrExpired"}
	ignoreOrigin = breakage{"the origin is not looked at", schema,
		"WHEN right(t.token, 8) <> now.here THEN 'W'", "WHEN false THEN 'W'", "TestTokensAreForeignInADatabaseCopiedByTemplate"}
	takeAnyText = breakage{"text that is no token is taken", "token.go",
		"return Token{}, fmt.Errorf(\"%w: %s: %s\", ErrInvalidToken, quoteShort(s), problem)", "return t, nil", "TestAMalformedTokenIsRefusedWithWhatIsWrongWithIt"}
	noExplanation = breakage{"a missing schema is not told from other errors", "errors.go",
		`case "3F000", "42883", "42P01", "42703":`, `case "none":`, "TestWithoutTheSchemaEveryCallNamesTheCommandThatInstallsIt"}
	triedAgain = breakage{"a check that is tried again answers for the time before", "listener/listener.go",
		"newQueryConn(dial, waits.lostCheck)", "newQueryConn(dial, waits.recheck)", "TestAWaitForSeveralIsNotFooledByACheckThatWasTriedAgain"}
	oneEpoch = breakage{"the statements of a check count as one though nothing would tell of a crash", "listener/asking.go",
		"	if s.unheard {\n		s.epoch++", "	if s.unheard && s.closed != nil {\n		s.epoch++", "TestAWaitForSeveralIsNotFooledByACrashWithinACheckBehindPgBouncer"}
	pollBatches = breakage{"a poll asks in batches", "fallback_poll.go",
		"judgement, err := ask(ctx, db, pending...)", "statuses, err := Check(ctx, db, pending...)\n		judgement := Judgement{Statuses: statuses}",
		"TestAPollForVeryManyIsNotFooledByACrashAfterItsFirstStatement"}
	rememberLong = breakage{"commits are remembered for an hour", "listener/recent.go",
		"commitMemory = time.Second", "commitMemory = time.Hour", "TestACommitThatAFailoverLostIsForgottenThoughAllConnectionsAreHalfOpen"}
	keepHandler = breakage{"the pool's notification handler is kept", "listener/conn.go",
		"	config.OnNotification = nil\n", "", "TestThePoolsNotificationHandlerTakesNothingFromTheListener"}
	keepEnding = breakage{"the pool's way of ending a statement is kept", "listener/conn.go",
		"config.BuildContextWatcherHandler = func(", "_ = func(", "TestThePoolsWayOfEndingAStatementDoesNotKeepADeadConnection"}
	hookEnds = breakage{"a hook that fails ends Run", "listener/listener.go",
		" && !errors.Is(err, errHook)", "", "TestAHookThatFailsDoesNotEndRun"}
	lockEnds = breakage{"a lock timeout is no outage", "fallback_poll.go",
		`"55P03", `, "", "TestALockTimeoutEndsNeitherRunNorAPoll"}
	serialize = breakage{"checks run in SERIALIZABLE if that is the default", "listener/query.go",
		"BEGIN ISOLATION LEVEL READ COMMITTED;", "BEGIN;", "TestAWaitFailsNoSerializableCommit"}
	oneSnapshot = breakage{"the watch runs in REPEATABLE READ if that is the default", "listener/query.go",
		`!= "read committed", nil`, `== "serializable", nil`, "TestTheListenerChecksAndWatchesInReadCommittedWhateverTheDefault"}
	timeOut = breakage{"checks have the pool's statement_timeout", "listener/query.go",
		"; SET LOCAL statement_timeout = 0", "", "TestAStatementTimeoutOfThePoolEndsNoCheck"}
	truncateQuietly = breakage{"a truncation does not move the horizon", schema,
		"ORDER BY b.id DESC LIMIT 1));\n		RETURN NULL;", "ORDER BY b.id DESC LIMIT 1)) WHERE false;\n		RETURN NULL;",
		"TestATruncatedBarrierIsExpiredAndNeverAFalseAbort"}
	replaceAlways = breakage{"a trigger that is enabled ALWAYS is replaced", schema,
		"t.tgenabled IN ('O', 'A')", "t.tgenabled = 'O'", "TestATriggerThatIsEnabledAlwaysIsLeftAlone"}
	oneQuestion = breakage{"a replica wait is over for a default of REPEATABLE READ", "replica.go",
		"!oneSnapshot || !inTransaction(replica)", "!oneSnapshot", "TestAReplicaWaitGoesOnThoughTransactionsAreRepeatableReadByDefault"}
	askStandby = breakage{"a standby is asked", schema,
		"IF pg_is_in_recovery() THEN", "IF false THEN", "TestRunReturnsAtOnceOnAStandby"}
)
