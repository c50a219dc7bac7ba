package listener

import (
	"fmt"
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

func BenchmarkWaitSet(b *testing.B) {
	for _, pending := range []int{0, 1_000, 100_000} {
		b.Run(fmt.Sprintf("pending=%d", pending), func(b *testing.B) {
			s := newWaitSet(nil)
			for i := range pending {
				subscribe(s, []pgbarrier.Token{token(b, uint64(1+i%99))})
			}
			s.toCheck(1, 0)
			tok := token(b, 7)
			b.Run("subscribe+close", func(b *testing.B) {
				b.ReportAllocs()
				one := []pgbarrier.Token{tok}
				for b.Loop() {
					subscribe(s, one).Close()
				}
			})
			b.Run("subscribe+announce", func(b *testing.B) {
				b.ReportAllocs()
				one := []pgbarrier.Token{tok}
				for b.Loop() {
					one[0].Origin++
					subscribe(s, one)
					hear(s, one[0])
				}
			})
			b.Run("idle-check", func(b *testing.B) {
				snapshot := below100(nil)
				b.ReportAllocs()
				for n := uint64(2); b.Loop(); n++ {
					s.toCheck(n, 0)
					s.ended(n, snapshot)
				}
			})
		})
	}
}

func BenchmarkHear(b *testing.B) {
	s := newWaitSet(nil)
	payload := token(b, 7).String()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.hear(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func upTo(n uint64) (xids []uint64) {
	for xid := uint64(1); xid < n; xid++ {
		xids = append(xids, xid)
	}
	return xids
}
