package integration_test

// A promise is what a waiter gets when something happens, and the tests that keep it. README.md and
// docs/promises.md are rendered from the table below.
type promise struct {
	happens, gets string
	first         bool // README.md has it
	// tests keep the promise: each must exist, and pass whenever the whole suite runs.
	tests []string
	// breaks are ways to break the product so that the promise is broken; a test has to notice.
	breaks []breakage
}

// since are the tests that need a server of at least that major.
var since = map[string]int{
	"TestAFullNotificationQueueFailsNoCommit": 17, // before, the queue has 8 GB
}

var promises = []promise{
	{
		happens: "COMMIT",
		gets:    "nil, and every new snapshot on the primary sees the updates",
		first:   true,
		tests: []string{"TestAWaitEndsWithTheCommitAndTheUpdatesCanBeRead", "TestEveryWaitEndsWithTheTruthUnderLoad",
			"TestAPollEndsWithTheTransaction", "TestABarrierSharesItsTransactionsFateAtEveryIsolationLevel",
			"TestWaitsForProducersOfEveryIsolationLevelEndRight"},
		breaks: []breakage{endPending},
	}, {
		happens: "ROLLBACK, producer killed, connection lost before COMMIT, COMMIT refused",
		gets:    "`ErrAborted`",
		first:   true,
		tests: []string{"TestAWaitEndsAbortedWithWhateverAbortsTheTransaction", "TestTheBarrierOfAKilledProducerIsAborted",
			"TestTheBarrierOfALostConnectionIsAborted", "TestTheBarrierOfAFailedTransactionIsAborted",
			"TestTheBarrierOfATransactionThatFailsAtCommitIsAborted", "TestTheWaitForASerializationFailureAtCommitIsAborted",
			"TestTheWaitForAConcurrentUpdateIsAborted"},
		breaks: []breakage{abortAsCommit, runningSince},
	}, {
		happens: "the savepoint with the barrier rolled back, the rest committed",
		gets:    "`ErrAborted`",
		tests: []string{"TestABarrierOfARolledBackSavepointIsAbortedThoughItsTransactionCommits", "TestABarrierSharesItsSavepointsFate",
			"TestWaitsForBarriersInNestedSavepointsEndRight"},
		breaks: []breakage{trustXID("TestWaitsForBarriersInNestedSavepointsEndRight")},
	}, {
		happens: "COMMIT sent, connection lost or producer killed, the producer does not know",
		gets:    "the truth",
		first:   true,
		tests: []string{"TestACommitWhoseAnswerTheProducerNeverSawHasTheTrueOutcome", "TestAProducerThatLosesItsConnectionInCommitLearnsTheTruth",
			"TestTheWaitForAProducerKilledBeforeInOrAfterCommitEndsWithTheTruth"},
		breaks: []breakage{ignoreRow},
	}, {
		happens: "prepared transaction",
		gets:    "pending until COMMIT PREPARED or ROLLBACK PREPARED, also across a crash or a failover",
		tests: []string{"TestAWaitForAPreparedTransactionEndsWhenItIsEnded", "TestAPreparedTransactionIsPendingUntilItIsEnded",
			"TestOneUnannouncedBarrierMakesTheTransactionPreparable", "TestAPreparedTransactionOutlivesACrashAndIsStillPending",
			"TestAWaitForAPreparedTransactionGoesOnAcrossACrash", "TestAPreparedTransactionIsPendingAllThroughAPromotion",
			"TestAPreparedTransactionIsNotAbortedForATransactionBegunInAPromotion", "TestASnapshotExportedBeforeAPromotionTellsNoFalseAbort"},
		breaks: []breakage{preparedAborts, forgetPrepared},
	}, {
		happens: "the context ends first",
		gets:    "`ctx.Err()` as itself, and the right outcome later",
		tests:   []string{"TestAWaitForAForgottenPreparedTransactionEndsWithItsContextAndIsRightLater", "TestAPollsContextErrorComesAsItself"},
		breaks:  []breakage{wrapContext},
	}, {
		happens: "server crash before the commit is durable",
		gets:    "`ErrAborted`, also when its transaction id is used again",
		tests: []string{"TestAfterACrashALostBarrierIsAbortedAlsoWhenItsXIDIsUsedAgain", "TestWaitsInFlightOverACrashAreAbortedThoughTheirXIDsCommitAfterwards",
			"TestAWaitOutlastsTheServer"},
		breaks: []breakage{trustXID("TestWaitsInFlightOverACrashAreAbortedThoughTheirXIDsCommitAfterwards"), neverAssigned},
	}, {
		happens: "crash after an asynchronous commit was seen",
		gets:    "nil while it could be read, `ErrAborted` afterwards",
		tests: []string{"TestAnAsynchronousCommitThatACrashTookIsAbortedAfterwards",
			"TestAnAsynchronousCommitThatWasSeenAndLostIsAbortedWhenWaitedForAgain", "TestAWaitForSeveralForgetsACommitThatACrashTook",
			"TestAWaitForSeveralIsNotFooledByACheckThatWasTriedAgain", "TestAWaitForSeveralIsNotFooledByACrashWithinACheckBehindPgBouncer",
			"TestAPollForVeryManyIsNotFooledByACrashAfterItsFirstStatement"},
		breaks: []breakage{rememberUnwatched, sumUp, sumUpPolls, pollBatches},
	}, {
		happens: "listener's connection killed, half-open, or slow",
		gets:    "the right outcome, later by a check at most; a dead connection is replaced",
		tests: []string{"TestALostListenConnectionDelaysNoOutcomeForLong", "TestWaitsEndRightWhileTheListenersSessionsAreKilledInATightLoop",
			"TestAHalfOpenConnectionIsNoticedAndReplaced", "TestWithBothConnectionsHalfOpenWaitsEndOnceTheCheckTimesOut",
			"TestOnASlowNetworkEveryWaitEndsRight", "TestAPollOutlivesItsSession"},
		breaks: []breakage{keepSilent},
	}, {
		happens: "a pooler in transaction mode in between",
		gets:    "the right outcome; LISTEN through it, which hears nothing, is reported",
		tests:   []string{"TestBehindPgBouncerEverythingWorksWithADirectListenConnection", "TestAListenThroughPgBouncerIsReportedWhileWaitsStillEnd"},
		breaks:  []breakage{believeListen},
	}, {
		happens: "server down",
		gets:    "the wait goes on, and ends right when it is back",
		first:   true,
		tests: []string{"TestAWaitOutlastsTheServer", "TestAWaitGoesOnWhileTheServerIsDownAndEndsRight",
			"TestAPollWaitsForAServerThatIsNotThereYet", "TestAWaitMayBeginBeforeRun"},
		breaks: []breakage{giveUp},
	}, {
		happens: "failover to a standby",
		gets:    "the outcome as the new primary has it",
		tests: []string{"TestAWaitOverAFailoverEndsAsTheNewPrimaryHasIt", "TestAStandbyIsRefusedAndAPromotedOneKnows",
			"TestACommitThatAFailoverLostIsForgottenThoughAllConnectionsAreHalfOpen"},
		breaks: []breakage{trustXID("TestAWaitOverAFailoverEndsAsTheNewPrimaryHasIt"), rememberLong},
	}, {
		happens: "notification dropped, duplicated, forged or malformed, at any rate, by any role",
		gets:    "the right outcome",
		first:   true,
		tests: []string{"TestWaitsEndWhenNothingIsHeard", "TestForgedDuplicatedAndMalformedNotificationsEndNoWaitWrongly",
			"TestNotificationsForgedAtAHighRateByAnUnprivilegedRoleEndNoWaitWronglyAndLoseNone", "TestAForgedAnnouncementChangesNoStatus"},
		breaks: []breakage{anyAnnouncement},
	}, {
		happens: "announcing off, its lock held, or the notification queue full",
		gets:    "the right outcome; COMMIT does not fail, nor wait for other announcements",
		tests: []string{"TestWaitsEndWhenNothingIsHeard", "TestAnUnprivilegedRoleThatHoldsTheLockHoldsNoCommitUp",
			"TestOfCommitsAtOnceOnlyOneAnnouncesAndTheOthersDoNotWait", "TestAFillingNotificationQueueIsLeftAlone",
			"TestAFullNotificationQueueFailsNoCommit", "TestATransactionOfManyBarriersAnnouncesTheFirstHundred"},
		breaks: []breakage{queueUp, fillQueue},
	}, {
		happens: "any error or timeout while announcing, whatever the producer's settings and whoever else notifies",
		gets:    "COMMIT succeeds, unannounced",
		first:   true,
		tests: []string{"TestNoCommitWaitsForANotifyThatIsHeldUp", "TestAFloodOfAStrangersNotificationsFailsNoCommit",
			"TestAFullTableOfLocksFailsNoCommit", "TestNoFunctionThatTheOwnerLacksFailsACommit", "TestACommitSucceedsInEverySession",
			"TestEveryWayToEndATransactionHasItsOutcome", "TestACancelledCommitHasTheOutcomeOfItsBarrier",
			"TestATransactionWithABarrierCanBePrepared"},
		breaks: []breakage{waitForNotify, raiseErrors},
	}, {
		happens: "rows gone in any way but purge: TRUNCATE, DELETE, whichever replication role; hidden, rewritten, restored",
		gets:    "`ErrExpired` or an error, never `ErrAborted` for what committed",
		tests: []string{"TestRowsThatVanishHaveExpiredAndNeverAborted", "TestATruncatedBarrierIsExpiredAndNeverAFalseAbort",
			"TestRowsThatVanishWhileAllTriggersAreDisabledTellNoFalseAbort", "TestRowsThatVanishWhileATriggerIsMissingTellNoFalseAbortOnceItIsBack",
			"TestRowsThatVanishWhileATriggerIsSwitchedOffAndOnAgainTellNoFalseAbort", "TestRowsThatRowSecurityHidesTellNoFalseAbort",
			"TestARewrittenTableTellsNoFalseAbort", "TestADroppedTableIsMadeAnewAndTellsNoFalseAbort",
			"TestAnUnloggedTableThatACrashEmptiedTellsNoFalseAbort", "TestRowsThatReplicationRemovesTellNoFalseAbort",
			"TestAnOlderSnapshotNeverReadsACommittedBarrierAsAborted", "TestACleanerOfAllTablesMakesTokensForeignAndNeverAborted"},
		breaks: []breakage{truncateQuietly, trustCopies, ignoreTriggers},
	}, {
		happens: "long transaction elsewhere, pool exhausted",
		gets:    "no effect",
		tests: []string{"TestALongTransactionElsewhereDelaysNothing", "TestALongTransactionElsewhereHoldsNothingUp",
			"TestWaitsEndThoughEveryPoolConnectionIsHeldByThoseWhoWait"},
		breaks: []breakage{oldestXID},
	}, {
		happens: "the pool's hooks, handlers, isolation or timeouts are unusual",
		gets:    "the right outcome; none of it ends a wait or makes a COMMIT fail",
		tests: []string{"TestThePoolsNotificationHandlerTakesNothingFromTheListener", "TestThePoolsWayOfEndingAStatementDoesNotKeepADeadConnection",
			"TestAHookThatFailsDoesNotEndRun", "TestALockTimeoutEndsNeitherRunNorAPoll", "TestAWaitFailsNoSerializableCommit",
			"TestTheListenerChecksInReadCommittedWhateverTheDefault", "TestAStatementTimeoutOfThePoolEndsNoCheck",
			"TestCheckAndPollWorkWhateverTheSessionsDefaults", "TestNothingThatStandsAloneReadsInSerializable"},
		breaks: []breakage{checkSerializable, keepHandler, keepEnding, hookEnds, lockEnds, serialize, oneSnapshot, timeOut},
	}, {
		happens: "the same token waited on by many, again, after a redelivery",
		gets:    "the same outcome each time",
		tests: []string{"TestTheSameTokenHasTheSameOutcomeForAllAndAgain", "TestTheSameTokenMayComeTwice",
			"TestNoCheckEverGivesAWrongOutcomeAndNoOutcomeEverChanges"},
		breaks: []breakage{endOne},
	}, {
		happens: "token older than the retention, purged before or during the wait",
		gets:    "`ErrExpired`, or `ErrAborted` if that is still certain",
		tests: []string{"TestAPurgedBarrierIsExpiredUnlessItCertainlyAborted", "TestAPurgeThatRacesWaitsMakesNoneOfThemWrong",
			"TestPurgingNeverMakesAFalseOutcome", "TestATransactionOlderThanTheHorizonIsStillPendingAndThenRight",
			"TestTokensThatHaveNoOutcomeHereSayWhy"},
		breaks: []breakage{keepHorizon},
	}, {
		happens: "server's clock set back",
		gets:    "the right outcome, or `ErrExpired`",
		tests:   []string{"TestWithTheServersClockSetBackOutcomesAreRightOrExpired"},
		breaks:  []breakage{horizonBack},
	}, {
		happens: "token of another database, of a clone's or a dump's original, of another restore of that dump",
		gets:    "`ErrWrongDatabase`",
		tests: []string{"TestTokensAreForeignInADatabaseCopiedByTemplate", "TestTokensAreForeignInADatabaseWithCopiedRows",
			"TestTokensAreForeignInARestoredDump", "TestOneDumpRestoredIntoTwoFreshClustersHasTwoOrigins",
			"TestTheSameRowsCopiedIntoTwoFreshClustersHaveTwoOrigins", "TestRowsRestoredIntoAMigratedDatabaseChangeNothingOfItsOwn",
			"TestARenewedOriginMakesEarlierTokensForeign", "TestTokensThatHaveNoOutcomeHereSayWhy", "TestTheOriginOutlivesMaintenance"},
		breaks: []breakage{ignoreOrigin, oneSeed},
	}, {
		happens: "malformed token",
		gets:    "`ErrInvalidToken`, with what is wrong with it",
		tests: []string{"TestAMalformedTokenIsRefusedWithWhatIsWrongWithIt", "TestAnInvalidTokenIsRefusedBeforeTheServerIsAsked",
			"TestTheSQLFunctionsTakeAnyText", "TestForgedTokensHaveNoFalseOutcome"},
		breaks: []breakage{takeAnyText},
	}, {
		happens: "schema missing, incomplete or newer",
		gets:    "`ErrNotMigrated`, with the command that installs it",
		tests: []string{"TestRunSaysWhatIsWrongWithTheDatabase", "TestEachMissingPartIsNamedAndRepaired",
			"TestANewerSchemaIsRefused", "TestWithoutTheSchemaEveryCallNamesTheCommandThatInstallsIt",
			"TestATriggerThatIsEnabledAlwaysIsLeftAlone"},
		breaks: []breakage{noExplanation, replaceAlways},
	}, {
		happens: "check asked of a standby",
		gets:    "`ErrStandby`, never an outcome",
		tests:   []string{"TestAStandbyIsRefusedAndAPromotedOneKnows", "TestRunReturnsAtOnceOnAStandby"},
		breaks:  []breakage{askStandby},
	}, {
		happens: "updates are read from a standby (`AwaitReplica`): lag, paused replay, conflicts, restart, promotion",
		gets:    "nil once they can be read there; the standby itself never says `ErrAborted`",
		tests: []string{"TestAReplicaWaitEndsWhenTheUpdatesCanBeReadThere", "TestAReplicaWaitOutlivesRecoveryConflicts",
			"TestAReplicaWaitOutlivesItsSessionAndTheServer", "TestAStandbyThatIsShutDownTellsNoAbort", "TestAStandbyNeverGivesAWrongOutcome",
			"TestAPromotedReplicaEndsTheWaitsWithWhatItHas", "TestAReplicaWaitGoesOnWhateverTheDefaultIsolation"},
		breaks: []breakage{standbySnapshot, oneQuestion},
	}, {
		happens: "the worker waits in SQL, on its own session (`pgbarrier.wait`)",
		gets:    "the outcome in words, or `pending` once patience is over; no lock of a table and no transaction id is held",
		tests: []string{"TestAWaitInSQLEndsWithItsTransaction", "TestAWaitInSQLHasTheWordsOfStatus", "TestAWaitInSQLIsPendingWhenPatienceIsOver",
			"TestAWaitInSQLHoldsNoLockAndHasNoTransactionID", "TestAWaitInSQLIsRefusedInATransactionWithOneSnapshot",
			"TestAWaitInSQLForItsOwnTransactionIsPendingAtOnce", "TestAWaitInSQLEndsWithTheStatementsTimeout",
			"TestAWaitInSQLSaysThatItsOwnerMayNotSleep", "TestAWaitInSQLOnAStandbyIsRefusedAndEndsRightAfterACrash",
			"TestWaitsInSQLTellTheTruthUnderLoad"},
		breaks: []breakage{waitInOneSnapshot, waitWithLocks},
	},
}
