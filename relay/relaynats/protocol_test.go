package relaynats

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/relay"
)

func TestAWaitEndsWithWhatTheDatabaseSays(t *testing.T) {
	play(t, func(s *scene) {
		r := s.relay()
		c := s.newClient()
		for status, want := range map[pgbarrier.Status]error{
			pgbarrier.Committed: nil, pgbarrier.Aborted: pgbarrier.ErrAborted, pgbarrier.Expired: pgbarrier.ErrExpired,
			pgbarrier.Invalid: pgbarrier.ErrInvalidToken, pgbarrier.WrongDatabase: pgbarrier.ErrWrongDatabase,
		} {
			early, late := token(), token()
			s.database.Set(status, early)
			done, other := begin(c, early), begin(c, late)
			synctest.Wait()
			s.database.Set(status, late)
			for of, done := range map[pgbarrier.Token]<-chan error{early: done, late: other} {
				took, err := s.within(time.Minute, done)
				if !errors.Is(err, want) {
					t.Errorf("%v ended with %v, want %v", status, err, want)
				}
				var wrapped *pgbarrier.TokenError
				if want != nil && (!errors.As(err, &wrapped) || wrapped.Token != of) {
					t.Errorf("%v is of no token, or of another", err)
				}
				if took > firstPause {
					t.Errorf("%v took %v", status, took)
				}
			}
		}
		synctest.Wait()
		if stats := r.relay.Stats(); stats.Tokens != 0 || c.Stats().Waiting != 0 {
			t.Errorf("something is left: %+v, %+v", stats, c.Stats())
		}
	})
}

func TestSeveralTokensAreOneWait(t *testing.T) {
	play(t, func(s *scene) {
		s.relay()
		c := s.newClient()
		one, other, third := token(), token(), token()
		all, bad := begin(c, one, other), begin(c, one, third)
		s.database.Commit(one)
		synctest.Wait()
		select {
		case err := <-all:
			t.Fatalf("ended with %v when one of two was committed", err)
		default:
		}
		s.database.Commit(other)
		if _, err := s.within(time.Second, all); err != nil {
			t.Error(err)
		}
		s.database.Abort(third)
		_, err := s.within(time.Second, bad)
		var of *pgbarrier.TokenError
		if !errors.Is(err, pgbarrier.ErrAborted) || !errors.As(err, &of) || of.Token != third {
			t.Errorf("ended with %v, want that %v aborted", err, third)
		}
	})
}

func TestACheckAsksOnceAndDoesNotWait(t *testing.T) {
	play(t, func(s *scene) {
		s.relay()
		c := s.newClient()
		committed, pending := token(), token()
		s.database.Commit(committed)
		statuses, err := c.Check(s.Context(), pending, committed)
		if err != nil || len(statuses) != 2 || statuses[0] != pgbarrier.Pending || statuses[1] != pgbarrier.Committed {
			t.Errorf("got %v, %v", statuses, err)
		}
	})
}

// quiet is a wait that a relay has, of which nothing is heard.
func (s *scene) quiet(c *Client) (pgbarrier.Token, <-chan error) {
	t := token()
	done := begin(c, t)
	time.Sleep(time.Minute)
	return t, done
}

func TestAKilledRelayIsReplaced(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		token, done := s.quiet(c)
		s.relay()
		r.kill()
		s.database.Commit(token)
		ping := c.config.Ping * 5 / 4
		if took, err := s.within(time.Minute, done); err != nil || took > ping+200*time.Millisecond {
			t.Errorf("%v after %v, want nil within a ping", err, took)
		}
	})
}

func TestAKilledRelayIsNoticedAtOnceWhenThereIsTraffic(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		committed, done := s.quiet(c)
		s.relay()
		r.kill()
		s.database.Commit(committed)
		begin(c, token())
		if took, err := s.within(time.Minute, done); err != nil || took > 200*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestAHungRelayIsReplaced(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		token, done := s.quiet(c)
		s.relay()
		goOn := r.hang()
		s.database.Commit(token)
		most := c.config.Ping*5/4 + c.config.Silence + 200*time.Millisecond
		if took, err := s.within(time.Minute, done); err != nil || took > most {
			t.Errorf("%v after %v, want nil within %v", err, took, most)
		}
		goOn()
	})
}

func TestADrainedRelayIsNotFelt(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		var tokens []pgbarrier.Token
		var waits []<-chan error
		for range 100 {
			tokens = append(tokens, token())
			waits = append(waits, begin(c, tokens[len(tokens)-1]))
		}
		time.Sleep(time.Minute)
		other := s.relay()
		r.relay.Drain()
		for i, token := range tokens {
			time.Sleep(20 * time.Millisecond)
			s.database.Commit(token)
			if took, err := s.within(time.Minute, waits[i]); err != nil || took > 100*time.Millisecond {
				t.Errorf("%v after %v", err, took)
			}
			if i == 80 {
				select {
				case err := <-r.ended:
					if err != nil {
						t.Error(err)
					}
				default:
					t.Error("the relay still serves after 1.6 s")
				}
			}
		}
		if n := other.relay.Stats().Committed; n == 0 {
			t.Errorf("the other relay has answered %d waits of 100", n)
		}
	})
}

func TestADrainEndsWithItsGraceWhenThereIsNoOtherRelay(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		token, done := s.quiet(c)
		began := time.Now()
		r.relay.Drain()
		<-r.ended
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it ended after %v", took)
		}
		time.Sleep(time.Minute)
		if c.Health() == nil {
			t.Error("the client is well without a relay")
		}
		s.relay()
		s.database.Commit(token)
		if took, err := s.within(time.Minute, done); err != nil || took > longestPause+100*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		if err := c.Health(); err != nil {
			t.Error(err)
		}
	})
}

func TestARestartOfNATSIsSurvived(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		s.relay()
		token, done := s.quiet(c)
		go func() {
			time.Sleep(time.Second)
			s.database.Commit(token)
		}()
		s.nats.restart(10 * time.Second)
		if took, err := s.within(time.Minute, done); err != nil || took > 100*time.Millisecond {
			t.Errorf("%v %v after NATS was back", err, took)
		}
	})
}

// losing drops messages to the subjects that one of the words is in, n of them.
func (s *scene) losing(n int, words ...string) {
	s.nats.set(func() {
		s.nats.delivered = func(subject string) bool {
			for _, word := range words {
				if strings.Contains(subject, word) && n > 0 {
					n--
					return false
				}
			}
			return true
		}
	})
}

func TestLostMessagesAreFoundOut(t *testing.T) {
	for _, to := range []string{relaySubjects, inboxes} {
		play(t, func(s *scene) {
			c := s.newClient()
			s.relay()
			first, done := s.quiet(c)
			s.losing(1, to)
			second := token()
			other := begin(c, second) // is lost, or
			synctest.Wait()
			s.database.Commit(first, second) // these are
			most := c.config.Ping*5/4 + c.config.Silence + 100*time.Millisecond
			for _, done := range []<-chan error{done, other} {
				if took, err := s.within(time.Minute, done); err != nil || took > most {
					t.Errorf("lost on %s: %v after %v", to, err, took)
				}
			}
			if lost := c.Stats().Lost; lost != 1 {
				t.Errorf("lost on %s: %d sessions were lost, want 1", to, lost)
			}
		})
	}
}

func TestDoubledMessagesChangeNothing(t *testing.T) {
	play(t, func(s *scene) {
		s.nats.double = 1
		c := s.newClient()
		r := s.relay()
		for range 100 {
			token := token()
			done := begin(c, token)
			time.Sleep(100 * time.Millisecond)
			s.database.Commit(token)
			if _, err := s.within(time.Minute, done); err != nil {
				t.Error(err)
			}
			if len(done) > 0 {
				t.Fatal("it ended twice")
			}
		}
		if stats := c.Stats(); stats.Lost > 0 || stats.Sessions != 1 {
			t.Errorf("sessions were lost: %+v", stats)
		}
		if n := r.relay.Stats().Committed; n != 100 {
			t.Errorf("the relay has answered %d waits, want 100", n)
		}
	})
}

func TestCommittedIsNotBelievedWhenItComesTooLate(t *testing.T) {
	play(t, func(s *scene) {
		c, p := s.clientProcess()
		s.relay()
		token, done := s.quiet(c)
		s.nats.set(func() { p.late = 31 * time.Second }) // it lies in NATS
		s.database.Commit(token)
		time.Sleep(time.Second)
		s.database.Abort(token) // a crash took the commit
		time.Sleep(time.Second)
		s.nats.set(func() { p.late = 0 })
		took, err := s.within(2*time.Minute, done)
		if !errors.Is(err, pgbarrier.ErrAborted) {
			t.Errorf("ended with %v after %v, want that it aborted", err, took)
		}
	})
}

func TestCommittedIsBelievedAgainWhenItIsAskedAgain(t *testing.T) {
	play(t, func(s *scene) {
		s.client.Ping, s.client.Silence = time.Hour, time.Hour // so that only its age shows that it is stale
		c, p := s.clientProcess()
		s.relay()
		token := token()
		done := begin(c, token)
		time.Sleep(20 * time.Second)
		s.nats.set(func() { p.late = 15 * time.Second })
		s.database.Commit(token)
		time.Sleep(time.Second)
		s.nats.set(func() { p.late = 0 })
		if took, err := s.within(time.Minute, done); err != nil || took < 13*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if n := c.Stats().Disbelieved; n != 1 {
			t.Errorf("%d outcomes were not believed, want 1", n)
		}
	})
}

func TestASessionIdleForLongerThanItsLeaseIsBegunAnew(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		for i := range 3 {
			token := token()
			s.database.Commit(token)
			if took, err := s.within(time.Minute, begin(c, token)); err != nil || took > firstPause {
				t.Errorf("%v after %v", err, took)
			}
			time.Sleep(time.Hour)
			if stats := r.relay.Stats(); stats.Sessions != 0 {
				t.Errorf("the relay still has a session after an hour")
			}
			if stats := c.Stats(); stats.Lost > 0 || int(stats.Sessions) != i+1 {
				t.Errorf("after %d waits: %+v", i+1, stats)
			}
		}
	})
}

func TestACancelledWaitLeavesNothingBehind(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relay()
		keep := begin(c, token())
		for range 1000 {
			stop := c.WaitFunc(func(error) { t.Error("a cancelled wait ended") }, token())
			if time.Now().UnixNano()%2 == 0 {
				synctest.Wait()
			}
			stop()
			stop()
		}
		time.Sleep(time.Second)
		if n := r.relay.Stats().Tokens; n != 1 || s.database.Waiting() != 1 {
			t.Errorf("the relay waits for %d tokens and its database for %d, want 1", n, s.database.Waiting())
		}
		if stats := c.Stats(); stats.Lost > 0 || stats.Waiting != 1 {
			t.Errorf("%+v", stats)
		}
		_ = keep
	})
}

func TestADeadClientIsForgotten(t *testing.T) {
	play(t, func(s *scene) {
		c, p := s.clientProcess()
		r := s.relay()
		s.quiet(c)
		p.kill()
		time.Sleep(40 * time.Second)
		if stats := r.relay.Stats(); stats.Sessions != 0 || stats.Tokens != 0 || s.database.Waiting() != 0 {
			t.Errorf("something is left: %+v", stats)
		}
	})
}

func TestALimitDelaysWaits(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		r := s.relayOf(relay.Config{Databases: []relay.Database{s.database}, MaxSessionTokens: 10})
		var tokens []pgbarrier.Token
		var waits []<-chan error
		for range 30 {
			tokens = append(tokens, token())
			waits = append(waits, begin(c, tokens[len(tokens)-1]))
		}
		time.Sleep(10 * time.Second)
		if n := r.relay.Stats().Tokens; n != 10 {
			t.Errorf("the relay waits for %d tokens, want 10", n)
		}
		s.database.Commit(tokens...)
		for _, done := range waits {
			if _, err := s.within(time.Minute, done); err != nil {
				t.Error(err)
			}
		}
		if stats := c.Stats(); stats.Lost > 0 || stats.Busy == 0 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestAFullRelayIsLeftForAnother(t *testing.T) {
	play(t, func(s *scene) {
		s.relayOf(relay.Config{Databases: []relay.Database{s.database}, MaxTokens: 1})
		first := s.newClient()
		begin(first, token())
		time.Sleep(time.Second)
		other := s.relay()
		for range 20 {
			begin(s.newClient(), token())
		}
		time.Sleep(time.Second)
		if n := other.relay.Stats().Tokens; n != 20 {
			t.Errorf("the relay that is not full has %d of 20 waits", n)
		}
	})
}

func TestARelayWhoseDatabaseDoesNotAnswerIsLeft(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		s.relay()
		token, done := s.quiet(c)
		reaches := newDouble()
		s.relayOf(relay.Config{Databases: []relay.Database{reaches}})
		s.database.fail(errors.New("cut off"))
		time.Sleep(5 * time.Second)
		reaches.Commit(token)
		if took, err := s.within(time.Minute, done); err != nil || took > unwellPause+3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestAnOutageOfTheDatabaseEndsNoWaitAndIsShown(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		s.relay()
		token, done := s.quiet(c)
		s.database.fail(errors.New("down"))
		time.Sleep(time.Minute)
		if c.Health() == nil {
			t.Error("the client is well")
		}
		s.database.Commit(token)
		s.database.fail(nil)
		if took, err := s.within(time.Minute, done); err != nil || took > firstPause {
			t.Errorf("%v after %v", err, took)
		}
		time.Sleep(4 * time.Second)
		if err := c.Health(); err != nil {
			t.Error(err)
		}
	})
}

func TestATokenOfADatabaseThatNoRelayServesGoesOnWaiting(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		s.relay()
		foreign := token()
		foreign.Origin++
		ctx, cancel := context.WithTimeout(s.Context(), time.Hour)
		defer cancel()
		if err := c.Wait(ctx, foreign); err != context.DeadlineExceeded {
			t.Errorf("ended with %v", err)
		}
		done := begin(c, foreign)
		time.Sleep(time.Minute)
		if err := c.Health(); err == nil || !strings.Contains(err.Error(), formatOrigin(foreign.Origin)) {
			t.Errorf("Health is %v", err)
		}
		if len(done) > 0 {
			t.Error("it ended")
		}
	})
}

func TestAnOriginThatChangesIsServed(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		s.relay()
		s.database.mu.Lock()
		s.database.moved = 77
		s.database.mu.Unlock()
		token := token()
		token.Origin = 77
		s.database.Commit(token)
		if took, err := s.within(time.Minute, begin(c, token)); err != nil || took > 4*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestTheFallbackIsAskedWhenNoRelayAnswers(t *testing.T) {
	play(t, func(s *scene) {
		s.client.Fallback = s.database.Check
		c := s.newClient()
		committed, aborted, pending := token(), token(), token()
		s.database.Commit(committed)
		s.database.Abort(aborted)
		done, bad, open := begin(c, committed), begin(c, committed, aborted), begin(c, committed, pending)
		if took, err := s.within(time.Minute, done); err != nil || took < 10*time.Second || took > 13*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if _, err := s.within(time.Second, bad); !errors.Is(err, pgbarrier.ErrAborted) {
			t.Error(err)
		}
		statuses, err := c.Check(s.Context(), pending)
		if err != nil || statuses[0] != pgbarrier.Pending {
			t.Errorf("%v, %v", statuses, err)
		}
		s.relay()
		s.database.Commit(pending)
		if _, err := s.within(longestPause+time.Second, open); err != nil {
			t.Error(err)
		}
		asked := c.Stats().Fallbacks
		time.Sleep(time.Minute)
		if more := c.Stats().Fallbacks; more != asked {
			t.Errorf("the fallback was asked %d times when a relay was there", more-asked)
		}
	})
}

func TestWhatEndsWithRunHasNoOutcome(t *testing.T) {
	play(t, func(s *scene) {
		s.relay()
		c, err := newClient(s.nats.process(), ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		done := begin(c, token()) // before Run
		ctx, cancel := context.WithCancel(s.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(time.Second)
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Error(err)
		}
		for _, done := range []<-chan error{done, begin(c, token())} {
			if _, err := s.within(time.Second, done); !errors.Is(err, pgbarrier.ErrClosed) {
				t.Error(err)
			}
		}
		if _, err := c.Check(s.Context(), token()); !errors.Is(err, pgbarrier.ErrClosed) {
			t.Error(err)
		}
		synctest.Wait()
		if n := s.database.Waiting(); n != 0 {
			t.Errorf("the relay still waits for %d", n)
		}
	})
}

func TestARelayOfAnotherVersionGetsAndGivesAClearAnswer(t *testing.T) {
	play(t, func(s *scene) {
		s.relay()
		p := s.nats.process()
		answered := make(chan []byte, 1)
		stop, _ := p.subscribe(inboxes+"x.>", func(m message) { answered <- m.data })
		defer stop()
		_ = p.publish(helloSubject(testOrigin), inboxes+"x.y", hello{version + 1, version + 3}.encode(kindHello))
		var h hello
		if v, k, d := open(<-answered); v != anyVersion || k != kindMismatch || h.decode(d) != nil || h.min != version {
			t.Errorf("a newer client was answered version %d, kind %d, %v", v, k, h)
		}
	})
	play(t, func(s *scene) {
		p := s.nats.process()
		stop, _ := p.subscribe(helloSubject(testOrigin), func(m message) {
			_ = p.publish(m.reply, "", hello{version + 1, version + 2}.encode(kindMismatch))
		})
		defer stop()
		c := s.newClient()
		s.quiet(c)
		if err := c.Health(); err == nil || !strings.Contains(err.Error(), "versions 2 to 3") {
			t.Errorf("Health is %v", err)
		}
	})
}

func TestWaitsInSeveralDatabasesAreOne(t *testing.T) {
	play(t, func(s *scene) {
		c := s.newClient()
		s.relay()
		other := newDouble()
		other.moved = 7
		s.relayOf(relay.Config{Databases: []relay.Database{other}})
		here, there := token(), token()
		there.Origin = 7
		done := begin(c, here, there)
		s.database.Commit(here)
		time.Sleep(time.Second)
		if len(done) > 0 {
			t.Fatal("it ended when one of two was committed")
		}
		if statuses, err := c.Check(s.Context(), there, here); err != nil || statuses[0] != pgbarrier.Pending || statuses[1] != pgbarrier.Committed {
			t.Errorf("%v, %v", statuses, err)
		}
		other.Commit(there)
		if _, err := s.within(10*time.Second, done); err != nil {
			t.Error(err)
		}
	})
}
