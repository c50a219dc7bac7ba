package scenario

import (
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// queues are those that pgbarrier is to be ten times quicker than.
var queues = []string{
	contender.NameRiverDefault, contender.NameRiverTuned, contender.NameWatermill, contender.NameWatermill10,
	contender.NamePoll10, contender.NamePoll100,
}

// atTheWorst is where a plain trigger serialises most.
var atTheWorst = []string{"64 producers", "think 1ms", "flush 1 ms"}

// Goals are what pgbarrier has to reach on a quiet machine of two CPUs.
var Goals = []report.Goal{
	{Scenario: "1 idle", Row: contender.NamePgbarrier, Metric: "p50 ms", Times: 1.1, Against: []string{contender.NameListen}},
	{Scenario: "1 idle", Row: contender.NamePgbarrier, Metric: "p99 ms", Times: 1.1, Against: []string{contender.NameListen}},
	{Scenario: "1 idle", Row: contender.NamePgbarrier, Metric: "p50 ms", Times: 0.1, Against: queues},
	{Scenario: "1 idle", Row: contender.NamePgbarrier, Metric: "p99 ms", Times: 0.1, Against: queues},

	{Scenario: "2 load", Row: contender.NamePgbarrier, Metric: "commits/s", AtLeast: true, Times: 0.9, Against: []string{contender.NameUnannounced}},
	{Scenario: "2 load", Cases: atTheWorst, Row: contender.NamePgbarrier, Metric: "commits/s", AtLeast: true, Times: 10, Against: []string{contender.NameListen}},
	{Scenario: "2 load", Cases: atTheWorst, Row: contender.NamePgbarrier, Metric: "sent→run p50 ms", Times: 1, Against: []string{contender.NameLockWait}},
	{Scenario: "2 load", Cases: atTheWorst, Row: contender.NamePgbarrier, Metric: "sent→run p99 ms", Times: 1, Against: []string{contender.NameLockWait}},

	{Scenario: "3 cost", Row: rowBarrierPipelined, Metric: "round trips", Times: 1, Against: []string{rowTwoPipelined}},
	{Scenario: "3 cost", Row: rowBarrierPipelined, Metric: "µs", Times: 1.1, Against: []string{rowTwoPipelined}},

	{Scenario: "4 abort", Cases: []string{"1 pending"}, Row: contender.NamePgbarrier, Metric: "p50 ms", Limit: 1},
	{Scenario: "4 abort", Cases: []string{"1 pending"}, Row: contender.NamePgbarrier, Metric: "p99 ms", Limit: 10},
	{Scenario: "4 abort", Cases: []string{"16 pending"}, Row: contender.NamePgbarrier, Metric: "p50 ms", Limit: 1},
	{Scenario: "4 abort", Cases: []string{"16 pending"}, Row: contender.NamePgbarrier, Metric: "p99 ms", Limit: 10},
	{Scenario: "4 abort", Cases: []string{"thousands pending"}, Row: contender.NamePgbarrier, Metric: "p99 ms", Limit: 20},
	// Two heartbeats of 10 s each in 20 s, and what the pool may do.
	{Scenario: "4 abort", Cases: []string{"nothing waits"}, Row: contender.NamePgbarrier, Metric: "queries/s", Limit: 0.2},

	{Scenario: "5 waiters", Row: contender.NamePgbarrier, Metric: "B/wait", Limit: 500},
	{Scenario: "5 waiters", Row: contender.NamePgbarrier, Metric: "register µs", Limit: 1},
	{Scenario: "5 waiters", Row: contender.NamePgbarrier, Metric: "wake µs", Limit: 1},
	{Scenario: "5 waiters", Row: contender.NamePgbarrier, Metric: "check server ms", Times: 1.25, Against: []string{contender.NamePgbarrier}, From: caseOfWaits(10)},
	{Scenario: "5 waiters", Cases: []string{"committed", "5000"}, Row: contender.NamePgbarrier, Metric: "tokens/s", AtLeast: true, Limit: 100_000},

	{Scenario: "7 growth", Cases: []string{"barrier rows"}, Row: contender.NamePgbarrier, Metric: "index lookup", AtLeast: true, Limit: 1},
	{Scenario: "7 growth", Cases: []string{"barrier rows"}, Row: contender.NamePgbarrier, Metric: "sequential scans", Limit: 0},
	{Scenario: "7 growth", Cases: []string{"purging"}, Row: rowPurging, Metric: "COMMIT p99 ms", Times: 2, Against: []string{rowNotPurging}},
	{Scenario: "7 growth", Cases: []string{"purging"}, Row: rowPurging, Metric: "sent→run p99 ms", Times: 2, Against: []string{rowNotPurging}},
}
