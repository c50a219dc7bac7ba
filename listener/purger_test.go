package listener

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOldBarriersArePurgedAFewTimesPerRetention(t *testing.T) {
	for retention, want := range map[time.Duration]int{time.Hour: 4 * 24, 7 * 24 * time.Hour: 24} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			purges := 0
			purge := func(context.Context) (int64, error) {
				if purges++; purges%2 == 0 {
					return 0, errBroken // and goes on
				}
				return 1, nil
			}
			var task sync.WaitGroup
			task.Go(func() { keepPurging(ctx, retention, discard, purge) })
			time.Sleep(24 * time.Hour)
			cancel()
			task.Wait()
			if purges < want*3/4 || purges > want*3/2 {
				t.Errorf("retention %v: %d purges a day, want about %d", retention, purges, want)
			}
		})
	}
}
