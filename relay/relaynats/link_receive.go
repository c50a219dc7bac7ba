package relaynats

import (
	"fmt"
	"time"

	"github.com/pgbarrier/pgbarrier"
)

// receive takes a message to the client's inbox. It is called for one at a time.
func (c *Client) receive(m message) {
	origin, attempt, ok := parseInbox(c.inbox, m.subject)
	if !ok {
		return
	}
	var news []ended
	c.mu.Lock()
	if l := c.links[origin]; l != nil {
		news = l.receive(time.Now(), attempt, m)
		c.stats.Waiting -= len(news)
	}
	c.mu.Unlock()
	callAll(news)
}

// receive takes a message that came in one attempt, and returns the waits that it has ended.
func (l *link) receive(now time.Time, attempt uint64, m message) []ended {
	seeking := attempt == l.seeking && l.seeking > 0
	current := l.session != nil && attempt == l.session.attempt
	if m.nobody {
		switch {
		case seeking:
			l.fail(now, "there is no relay for this database")
			l.client.signal()
		case current:
			l.lose(now, "the relay is gone")
		}
		return nil
	}
	data, err := verify(l.client.config.Keys, m.subject, m.data)
	if err != nil {
		l.client.stats.Ignored++
		l.problem = err.Error()
		return nil
	}
	v, k, d := open(data)
	switch {
	case v == anyVersion && k == kindMismatch && (seeking || current):
		l.mismatch(d)
	case v != version:
		l.client.stats.Ignored++
	case k == kindGreeting && seeking:
		l.greeted(now, d)
	case k == kindAnswers && current:
		var a answers
		if a.decode(d) != nil {
			l.client.stats.Ignored++
			l.lose(now, "answers cannot be read")
			return nil
		}
		return l.take(now, a)
	case k == kindChecked:
		l.checked(now, d)
	case k == kindGone && current:
		l.lose(now, "the relay has forgotten the session")
	case k == kindMoved && current:
		l.move(now)
	}
	return nil
}

// mismatch keeps for Health that a relay is of another version. Another relay may not be.
func (l *link) mismatch(d *decoder) {
	var h hello
	if h.decode(d) != nil {
		return
	}
	l.mismatched = fmt.Sprintf("the relay speaks versions %d to %d of the protocol, this client %d", h.min, h.max, version)
	l.problem = l.mismatched
}

// greeted takes a relay's answer to the hello.
func (l *link) greeted(now time.Time, d *decoder) {
	var g greeting
	if g.decode(d) != nil {
		l.client.stats.Ignored++
		return
	}
	switch s := l.session; {
	case s != nil && (s.relay == g.relay || g.reluctant):
		return // no better
	case g.reluctant || g.relay == l.avoid:
		if l.second == nil {
			l.second = &g
		}
		if until := now.Add(secondPause); until.Before(l.seekUntil) {
			l.seekUntil = until
		}
	default:
		l.found = &g
	}
	l.client.signal()
}

// move leaves a relay that drains, not all clients at the same moment.
func (l *link) move(now time.Time) {
	if !l.session.draining {
		l.session.draining, l.restless = true, false
		l.leave(now.Add(randomUpTo(moveSpread)))
	}
}

// leave looks for another relay, and keeps the session until there is one.
func (l *link) leave(at time.Time) {
	if l.restless {
		return
	}
	l.restless, l.seekAt = true, at
	l.client.signal()
}

// take takes answers. Numbers that are missing or doubtful begin a new session, after what is certain was taken.
func (l *link) take(now time.Time, a answers) (news []ended) {
	s := l.session
	if a.number <= s.received {
		l.client.stats.Repeated++
		return nil
	}
	problem := ""
	if a.number != s.received+1 {
		problem = "answers were lost"
	}
	s.received = a.number
	if a.echo > s.number || a.seen > s.number {
		problem = "the relay has seen what was not sent"
	}
	fresh := s.asked.within(a.echo, now, s.lease)
	for _, line := range a.lines {
		w := l.sent[line.id]
		if w == nil {
			continue // cancelled meanwhile
		}
		s.expected--
		if line.status == busy {
			delete(l.sent, line.id)
			l.unsent[line.id] = w
			continue
		}
		err, ok := w.outcome(pgbarrier.Status(line.status), line.index, fresh)
		if !ok {
			l.client.stats.Disbelieved++
			problem = "the relay's news are stale"
			continue
		}
		delete(l.sent, line.id)
		l.client.stats.Answers++
		news = append(news, ended{w, err})
	}
	if a.retry > 0 {
		l.client.stats.Busy++
		l.busyUntil = now.Add(a.retry + randomUpTo(a.retry))
	}
	if a.ack && problem == "" {
		problem = s.prove(now, a)
	}
	switch {
	case problem != "":
		l.lose(now, problem)
		return news
	case a.unwell:
		l.leave(now.Add(randomUpTo(unwellPause)))
	default:
		l.answered()
	}
	if a.draining {
		l.move(now)
	}
	l.client.signal()
	return news
}

// prove takes an acknowledgement, and returns what is wrong with it.
func (s *joined) prove(now time.Time, a answers) (problem string) {
	if a.seen > s.seen {
		s.seen, s.provenAt = a.seen, now
	}
	if s.pinged == 0 || a.seen < s.pinged {
		return ""
	}
	if s.counting && a.seen == s.pinged && uint64(max(s.expected, 0)) != a.held {
		problem = "the relay has not all that it was asked for"
	}
	s.pinged, s.counting = 0, false
	return problem
}

// outcome returns what a wait ends with. It is not ok if the answer ends nothing: committed is believed only if it was
// true a moment ago, because a crash of the database takes commits with it that were visible and not yet durable.
func (w *wait) outcome(found pgbarrier.Status, index uint64, fresh bool) (err error, ok bool) {
	if found == pgbarrier.Committed {
		return nil, fresh
	}
	if index >= uint64(len(w.tokens)) {
		return nil, false
	}
	err = found.Err(w.tokens[index])
	return err, err != nil
}
