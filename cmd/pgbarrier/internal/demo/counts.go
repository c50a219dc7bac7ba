package demo

import (
	"context"
)

// A Result is what the demonstration found. All of it was counted by the database.
type Result struct {
	Server     string   `json:"server"`
	Queue      string   `json:"queue"`
	Requests   int      `json:"requests"`
	Approaches []Counts `json:"approaches"`
}

// Counts are the numbers of one approach.
type Counts struct {
	Name    string `json:"name"`
	title   string
	barrier bool

	ProducersKilled int `json:"producers_killed"`
	ListenKilled    int `json:"listen_connections_killed"`

	Committed int `json:"committed"` // orders
	Aborted   int `json:"aborted"`   // requests without an order: declined, or died with their producer

	Runs           int `json:"runs"`
	OK             int `json:"runs_ok"`              // found the order
	TooEarly       int `json:"runs_too_early"`       // did not, and it was there later
	ForNothing     int `json:"runs_for_no_order"`    // did not, and it never came
	Dropped        int `json:"dropped"`              // messages, because the wait said aborted
	WronglyDropped int `json:"dropped_wrongly"`      // for another reason, or the order was there
	Lost           int `json:"lost"`                 // orders without a run
	Twice          int `json:"orders_with_two_runs"` // or more

	Latency Latency `json:"latency"`
}

// Latency is from COMMIT returned, in the producer, until the worker ran.
type Latency struct {
	Measured int     `json:"measured"` // runs of orders whose producer lived to see COMMIT return
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	Buckets  []int   `json:"buckets"` // up to bucketBounds[i] ms, and one above all
	Bounds   []int   `json:"bucket_bounds_us"`
}

// bucketBounds are the upper bounds of the histogram's buckets, in microseconds.
var bucketBounds = []int{500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000}

const countSQL = `
WITH
	o AS (SELECT request, barrier FROM pgbarrier_demo.orders WHERE approach = $1),
	r AS (SELECT request, found, request IN (SELECT request FROM o) AS committed FROM pgbarrier_demo.runs WHERE approach = $1),
	d AS (SELECT reason, barrier IN (SELECT barrier FROM o) AS committed FROM pgbarrier_demo.drops WHERE approach = $1),
	i AS (SELECT what FROM pgbarrier_demo.incidents WHERE approach = $1)
SELECT
	(SELECT count(*) FROM i WHERE what = 'producer'),
	(SELECT count(*) FROM i WHERE what = 'LISTEN connection'),
	(SELECT count(*) FROM o),
	(SELECT count(*) FROM pgbarrier_demo.requests WHERE id NOT IN (SELECT request FROM o)),
	(SELECT count(*) FROM r),
	(SELECT count(*) FROM r WHERE found),
	(SELECT count(*) FROM r WHERE NOT found AND committed),
	(SELECT count(*) FROM r WHERE NOT found AND NOT committed),
	(SELECT count(*) FROM d),
	(SELECT count(*) FROM d WHERE committed OR reason <> 'aborted'),
	(SELECT count(*) FROM o WHERE request NOT IN (SELECT request FROM r)),
	(SELECT count(*) FROM (SELECT FROM r GROUP BY request HAVING count(*) > 1) AS twice)`

// A worker that an announcement woke can run before COMMIT has returned to the producer: that is
// less than zero, and counts as it is.
const latencySQL = `
WITH l AS (
	SELECT extract(epoch FROM r.began - c.returned)::float8 * 1000 AS ms
	FROM pgbarrier_demo.runs r JOIN pgbarrier_demo.commits c USING (approach, request)
	WHERE approach = $1 AND r.found
), b AS (
	SELECT width_bucket(ms * 1000, $2::float8[]) AS bucket, count(*) AS n FROM l GROUP BY 1
)
SELECT (SELECT count(*) FROM l), p[1], p[2], p[3], p[4],
	(SELECT array_agg(coalesce(n, 0) ORDER BY bucket)
	 FROM generate_series(0, cardinality($2::float8[])) AS bucket LEFT JOIN b USING (bucket))
FROM (
	SELECT coalesce(percentile_disc(ARRAY[0.5, 0.9, 0.99, 1]) WITHIN GROUP (ORDER BY ms), ARRAY[0, 0, 0, 0]) AS p FROM l
) AS q`

// count asks the database what became of an approach.
func (b *base) count(ctx context.Context, a approach) (Counts, error) {
	c := Counts{Name: a.name, title: a.title, barrier: a.barrier}
	err := b.pool.QueryRow(ctx, countSQL, a.name).Scan(
		&c.ProducersKilled, &c.ListenKilled, &c.Committed, &c.Aborted,
		&c.Runs, &c.OK, &c.TooEarly, &c.ForNothing, &c.Dropped, &c.WronglyDropped, &c.Lost, &c.Twice)
	if err != nil {
		return c, err
	}
	l := &c.Latency
	l.Bounds = bucketBounds
	err = b.pool.QueryRow(ctx, latencySQL, a.name, bucketBounds).Scan(&l.Measured, &l.P50, &l.P90, &l.P99, &l.Max, &l.Buckets)
	return c, err
}

// Wrong returns how many orders or messages an approach has treated wrongly.
func (c Counts) Wrong() int { return c.TooEarly + c.ForNothing + c.WronglyDropped + c.Lost + c.Twice }

// Kept reports whether pgbarrier has kept its promise, and had an occasion to break it.
func (r Result) Kept() bool {
	occasions := 0
	for _, c := range r.Approaches {
		if !c.barrier {
			continue
		}
		if c.Wrong() > 0 || c.OK != c.Committed || c.Committed == 0 {
			return false
		}
		occasions++
	}
	return occasions > 0
}
