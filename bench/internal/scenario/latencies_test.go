package scenario

import (
	"testing"
	"time"
)

func TestAPercentileIsTheLeastValueThatSoManyDoNotExceed(t *testing.T) {
	values := make([]time.Duration, 200)
	for i := range values {
		values[i] = time.Duration(i + 1)
	}
	for _, test := range []struct {
		n, p int
		want time.Duration
	}{{200, 50, 100}, {200, 99, 198}, {100, 99, 99}, {20, 99, 20}, {1, 50, 1}, {3, 50, 2}, {0, 50, -1}} {
		if got := percentile(values[:test.n], test.p); got != test.want {
			t.Errorf("the %dth percentile of 1 to %d is %d, want %d", test.p, test.n, got, test.want)
		}
	}
}
