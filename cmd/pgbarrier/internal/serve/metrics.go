package serve

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pgbarrier/pgbarrier/relay"
	"github.com/pgbarrier/pgbarrier/relay/relayhttp"
)

// newRegistry returns a registry of its own, with what the relay counts and what the Go runtime does.
func newRegistry(r *relay.Relay, h *relayhttp.Handler) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{relay: r, handler: h})
	return registry
}

// A collector reads the relay's numbers when it is asked for them.
type collector struct {
	relay   *relay.Relay
	handler *relayhttp.Handler
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pgbarrier_relay_"+name, help, labels, nil)
}

var (
	readyDesc    = desc("ready", "1 if new clients are welcome")
	sessionsDesc = desc("sessions", "Open sessions, of all transports; over HTTP each request is one")
	tokensDesc   = desc("tokens", "Tokens that are waited for")
	refusedDesc  = desc("waits_refused_total", "Waits that a limit refused")
	endedDesc    = desc("waits_ended_total", "Waits by what they ended with; closed is without an outcome", "outcome")
	requestsDesc = desc("http_requests", "HTTP requests that are being answered")
	httpDesc     = desc("http_refused_total", "HTTP requests that were refused: not authorized, or a limit")
	upDesc       = desc("database_up", "1 if the database answered the last check", "database", "origin")
	hearsDesc    = desc("database_listening", "1 if announcements are heard", "database", "origin")
	pendingDesc  = desc("database_pending", "Tokens that the listener waits for", "database", "origin")
	checksDesc   = desc("database_checks_total", "Checks that the database was asked", "database", "origin")
	heardDesc    = desc("database_announcements_total", "Announcements that were heard", "database", "origin")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readyDesc, sessionsDesc, tokensDesc, refusedDesc, endedDesc, requestsDesc, httpDesc,
		upDesc, hearsDesc, pendingDesc, checksDesc, heardDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	count := func(d *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	s := c.relay.Stats()
	gauge(readyDesc, number(c.relay.Ready() == nil))
	gauge(sessionsDesc, float64(s.Sessions))
	gauge(tokensDesc, float64(s.Tokens))
	count(refusedDesc, s.Refused)
	for outcome, n := range map[string]uint64{"committed": s.Committed, "aborted": s.Aborted, "expired": s.Expired,
		"wrong database": s.WrongDatabase, "invalid": s.Invalid, "closed": s.Closed} {
		count(endedDesc, n, outcome)
	}
	gauge(requestsDesc, float64(c.handler.Requests()))
	count(httpDesc, c.handler.Refused())
	for i, d := range s.Databases {
		labels := []string{fmt.Sprint(i), fmt.Sprintf("%08x", d.Origin)}
		l := d.Listener
		gauge(upDesc, number(d.Known && d.Failed == nil && l.LastErr == nil), labels...)
		gauge(hearsDesc, number(l.Connected), labels...)
		gauge(pendingDesc, float64(l.Pending), labels...)
		count(checksDesc, l.Checks, labels...)
		count(heardDesc, l.Announcements, labels...)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
