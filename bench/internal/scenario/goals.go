package scenario

import (
	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
)

// Goals are what pgbarrier has to reach on a quiet machine of two CPUs.
var Goals = []report.Goal{
	{Scenario: "load", Row: contender.NamePgbarrier, Metric: "commits/s", AtLeast: true, Limit: 0.97, Against: contender.NameSilent},
	{Scenario: "load", Row: contender.NamePgbarrier, Metric: "commits/s", AtLeast: true, Limit: 0.75, Against: contender.NameBase},
	{Scenario: "load", Row: contender.NamePgbarrier, Metric: "sent→run p50 ms", Limit: 1, Against: contender.NamePoll},
	{Scenario: "load", Row: contender.NamePgbarrier, Metric: "sent→run p99 ms", Limit: 1, Against: contender.NamePoll},
	{Scenario: "load", Row: contender.NamePgbarrier, Metric: "sent→run p50 ms", Limit: 1, Against: contender.NameLockWait},
	{Scenario: "load", Row: contender.NamePgbarrier, Metric: "sent→run p99 ms", Limit: 1, Against: contender.NameLockWait},

	{Scenario: "idle", Row: contender.NamePgbarrier, Metric: "p50 ms", Limit: 1.2, Against: contender.NameListen},
	{Scenario: "idle", Row: contender.NamePgbarrier, Metric: "p99 ms", Limit: 1.2, Against: contender.NameListen},

	{Scenario: "cost", Row: rowQueue, Metric: metricAdded, Limit: 0.6, Against: rowQueue1},
	{Scenario: "cost", Row: rowSilent, Metric: metricAdded, Limit: 0.6, Against: rowSilent1},

	// Absolute values of another machine: p50 was 1.4 to 2.7 ms there, p99 5 to 17 ms.
	{Scenario: "abort", Row: pendingName(1), Metric: "p50 ms", Limit: 2.7},
	{Scenario: "abort", Row: pendingName(100), Metric: "p50 ms", Limit: 2.7},
	{Scenario: "abort", Row: pendingName(2000), Metric: "p50 ms", Limit: 2.7},
	{Scenario: "abort", Row: pendingName(1), Metric: "p99 ms", Limit: 17},
	{Scenario: "abort", Row: pendingName(100), Metric: "p99 ms", Limit: 5.1},
	{Scenario: "abort", Row: pendingName(2000), Metric: "p99 ms", Limit: 9.9},

	{Scenario: "lone", Row: rowWait, Metric: "p50 ms", Limit: 1.3, Against: rowPoll},

	{Scenario: "fleet", Row: fleetName(32), Metric: metricPerCommit, Limit: 1.5, Against: fleetName(1)},
	{Scenario: "fleet", Row: fleetName(128), Metric: metricPerCommit, Limit: 2.5, Against: fleetName(1)},

	// A quarter more is within what the figure of a few waits differs by.
	{Scenario: "waits", Row: waitsName(manyWaits), Metric: "B/wait", Limit: 500},
	{Scenario: "waits", Row: waitsName(manyWaits), Metric: "check server CPU µs", Limit: 1.25, Against: waitsName(fewWaits)},
	{Scenario: "waits", Row: waitsName(manyWaits), Metric: "check ms", Limit: 1.25, Against: waitsName(fewWaits)},

	{Scenario: "asynq", Row: contender.NamePgbarrier, Metric: metricTasks, AtLeast: true, Limit: 0.9, Against: rowUnguarded},
	{Scenario: "asynq", Row: rowUnheard, Metric: metricTasks, AtLeast: true, Limit: 0.9, Against: rowUnguarded},

	{Scenario: "jetstream", Row: contender.NamePgbarrier, Metric: "p50 ms", Limit: 1.3, Against: rowAfterCommit},
	{Scenario: "jetstream", Row: contender.NamePgbarrier, Metric: "sent→run p50 ms", Limit: 1.3, Against: rowAfterCommit},

	{Scenario: "held", Row: heldName(heldMessages), Metric: "B/message", Limit: 8192},
	{Scenario: "held", Row: heldName(heldMessages), Metric: "checks", Limit: 100},
}
