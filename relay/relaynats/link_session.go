package relaynats

import (
	"time"
)

// joined is a client's side of a session.
type joined struct {
	attempt uint64
	relay   string
	lease   time.Duration
	ping    time.Duration // after what silence it is asked whether it is there

	number   uint64 // of the last request
	sentAt   time.Time
	asked    stamps
	received uint64 // number of the last answers
	seen     uint64 // the last request that the relay is known to have
	provenAt time.Time

	pinged   uint64 // the request that asks for an acknowledgement; 0: none does
	pingedAt time.Time
	expected int // waits that the relay must have then, if it has answered no more of them
	counting bool
	draining bool
}

// stale reports whether the relay may have forgotten the session, because nothing was sent for so long.
func (s *joined) stale(now time.Time) bool {
	return s.number > 0 && since(now, s.sentAt) > s.lease*3/4
}

// work sends what the session has to be asked, and asks whether the relay is there.
func (l *link) work(now time.Time, due *earliest, out *[]outgoing) {
	s := l.session
	ping := s.pinged == 0 && (s.number == 0 || (len(l.sent)+len(l.checks) > 0 && due.reached(now, s.provenAt.Add(s.ping))))
	fresh := len(l.unsent) > 0 && due.reached(now, l.busyUntil)
	if fresh || ping || len(l.cancels) > 0 && due.reached(now, l.cancelAt) {
		l.flush(now, out)
		if ping {
			l.ping(now, out)
		}
	}
	l.ask(now, due, out)
	if s.pinged > 0 {
		due.reached(now, s.pingedAt.Add(l.patience()))
	} else if len(l.sent)+len(l.checks) > 0 {
		due.reached(now, s.provenAt.Add(s.ping))
	}
}

// flush sends cancels, and waits unless a limit has just refused some.
func (l *link) flush(now time.Time, out *[]outgoing) {
	most := min(maxMessage, l.client.bus.maxPayload()) - 64
	for len(l.cancels) > 0 || len(l.unsent) > 0 && !now.Before(l.busyUntil) {
		r := request{origin: l.origin}
		size := 0
		n := min(len(l.cancels), most/10)
		r.cancels, size = l.cancels[:n:n], size+10*n
		if l.cancels = l.cancels[n:]; len(l.cancels) == 0 {
			l.cancels = nil
		}
		if now.Before(l.busyUntil) {
			l.request(now, r, out)
			continue
		}
		for id, w := range l.unsent {
			line := waitLine{id, w.tokens}
			if size += line.size(); size > most && len(r.cancels)+len(r.waits) > 0 {
				break
			}
			r.waits = append(r.waits, line)
			delete(l.unsent, id)
			l.sent[id] = w
		}
		l.request(now, r, out)
	}
}

// ping asks for an acknowledgement.
func (l *link) ping(now time.Time, out *[]outgoing) {
	s := l.session
	l.request(now, request{origin: l.origin, ping: true}, out)
	s.pinged, s.pingedAt = s.number, now
	s.expected, s.counting = len(l.sent), true
}

func (l *link) request(now time.Time, r request, out *[]outgoing) {
	s := l.session
	s.number++
	r.number = s.number
	s.sentAt = now
	s.asked.add(s.number, now, s.lease)
	l.publish(out, relaySubjects+s.relay, s.attempt, r.encode())
}

// cancel takes a wait out, if it has not ended.
func (l *link) cancel(w *wait) bool {
	if l.unsent[w.id] == w {
		delete(l.unsent, w.id)
		return true
	}
	if l.sent[w.id] != w {
		return false
	}
	delete(l.sent, w.id)
	l.cancels = append(l.cancels, w.id)
	if len(l.cancels) == 1 {
		l.cancelAt = time.Now().Add(cancelPause)
	}
	l.session.counting = false // the relay may still have it when it counts
	return true
}

// stamps remember when requests were sent, roughly: for each, one that was sent no later.
type stamps []stamp

type stamp struct {
	number uint64
	at     time.Time
}

const stampsPerLease = 64

// add notes that a request is sent now.
func (s *stamps) add(number uint64, now time.Time, lease time.Duration) {
	if n := len(*s); n > 0 && since(now, (*s)[n-1].at) < lease/stampsPerLease {
		return
	}
	s.forget(now, lease)
	*s = append(*s, stamp{number, now})
}

// forget drops those that were sent a lease ago.
func (s *stamps) forget(now time.Time, lease time.Duration) {
	n := 0
	for n < len(*s) && since(now, (*s)[n].at) >= lease {
		n++
	}
	*s = append((*s)[:0], (*s)[n:]...)
}

// within reports whether a request was certainly sent less than a lease ago.
func (s *stamps) within(number uint64, now time.Time, lease time.Duration) bool {
	s.forget(now, lease)
	return len(*s) > 0 && (*s)[0].number <= number
}
