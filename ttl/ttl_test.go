package ttl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/actor"
	"inmem/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("refused")

// id returns a run's ID; a higher n sorts later.
func id(n byte) run.ID { return run.ID{15: n} }

// sent is one message as the shard got it.
type sent struct {
	run run.ID
	due []Due
	at  int64 // by the store's clock
}

// shards stands for the store: its clock, and what its shards were sent.
type shards struct {
	mu     sync.Mutex
	offset atomic.Int64              // added to the bubble's clock, in ms
	fail   func(id run.ID) error     // nil = every message is accepted
	onSend func(ctx context.Context) // called at the beginning of Send
	tries  atomic.Int64
	got    []sent
}

func (s *shards) now() int64 { return time.Now().UnixMilli() + s.offset.Load() }

func (s *shards) send(ctx context.Context, id run.ID, due []Due) error {
	if s.onSend != nil {
		s.onSend(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.tries.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(id); err != nil {
			return err
		}
	}
	s.got = append(s.got, sent{id, due, s.now()})
	return nil
}

// take returns the messages since the last take, once the actor is at rest.
func (s *shards) take() []sent {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (s *shards) failWith(fail func(run.ID) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// inBubble runs test with a started actor, on a clock that moves only when
// every goroutine waits.
func inBubble(t *testing.T, test func(t *testing.T, s *shards, a *Actor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &shards{}
		a := New(Config{Now: s.now, Send: s.send, OnPanic: func(err error) { t.Error(err) }})
		a.Start()
		defer a.Stop()
		test(t, s, a)
	})
}

func TestSendsInOrderOfDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		a.Track([]Change{
			{id(1), "c", 1, t0 + 3000},
			{id(2), "a", 7, t0 + 1500},
			{id(1), "b", 2, t0 + 2000},
		})
		a.Track(nil)
		synctest.Wait()
		assert.Equal(t, 3, a.Pending())
		time.Sleep(5 * time.Second)
		assert.Equal(t, []sent{
			{id(2), []Due{{"a", 7}}, t0 + 1500},
			{id(1), []Due{{"b", 2}}, t0 + 2000},
			{id(1), []Due{{"c", 1}}, t0 + 3000},
		}, s.take())
		assert.Zero(t, a.Pending())
	})
}

func TestPastDeadlinesAreSentAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		a.Track([]Change{
			{id(2), "z", 1, t0 - 1}, {id(1), "y", 2, t0 - 1}, {id(1), "x", 3, t0 - 1},
			{id(1), "now", 4, t0}, {id(1), "long ago", 5, -1 << 63},
		})
		assert.Equal(t, []sent{
			{id(1), []Due{{"long ago", 5}, {"x", 3}, {"y", 2}, {"now", 4}}, t0},
			{id(2), []Due{{"z", 1}}, t0},
		}, s.take(), "by deadline, run, key; one message a run")
	})
}

func TestANewerChangeReplaces(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		a.Track([]Change{
			{id(1), "later", 1, t0 + 1000}, {id(1), "sooner", 1, t0 + 9000},
			{id(1), "gone", 1, t0 + 1000}, {id(1), "stale", 5, t0 + 3000},
			{id(1), "never there", 1, 0},
		})
		a.Track([]Change{
			{id(1), "later", 2, t0 + 4000}, {id(1), "sooner", 2, t0 + 2000},
			{id(1), "gone", 2, 0}, {id(1), "stale", 4, t0 + 1000}, {id(1), "stale", 4, 0},
		})
		assert.Equal(t, 3, a.Pending())
		time.Sleep(10 * time.Second)
		assert.Equal(t, []sent{
			{id(1), []Due{{"sooner", 2}}, t0 + 2000},
			{id(1), []Due{{"stale", 5}}, t0 + 3000},
			{id(1), []Due{{"later", 2}}, t0 + 4000},
		}, s.take())
	})
}

func TestForgetDropsARun(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		a.Track([]Change{
			{id(1), "a", 1, t0 + 1000}, {id(1), "b", 2, t0 + 2000}, {id(2), "a", 1, t0 + 1000},
		})
		a.Forget(id(1))
		a.Forget(id(9))
		a.Track([]Change{{id(1), "reborn", 1, t0 + 1500}})
		assert.Equal(t, 2, a.Pending())
		time.Sleep(5 * time.Second)
		assert.Equal(t, []sent{
			{id(2), []Due{{"a", 1}}, t0 + 1000},
			{id(1), []Due{{"reborn", 1}}, t0 + 1500},
		}, s.take())
	})
}

func TestTrackCopies(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		changes := []Change{{id(1), "a", 1, s.now() + 1000}}
		a.Track(changes)
		changes[0] = Change{id(2), "b", 2, s.now()}
		time.Sleep(2 * time.Second)
		got := s.take()
		require.Len(t, got, 1)
		assert.Equal(t, []Due{{"a", 1}}, got[0].due)
	})
}

func TestMessagesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		var changes []Change
		for i := range 2*maxDue + 1 {
			changes = append(changes, Change{id(1), fmt.Sprintf("%04d", i), 1, s.now() + 10})
		}
		changes = append(changes, Change{id(2), "other", 1, s.now() + 10})
		a.Track(changes)
		time.Sleep(time.Second)
		var sizes []int
		var keys []string
		for _, m := range s.take() {
			sizes = append(sizes, len(m.due))
			for _, d := range m.due {
				keys = append(keys, d.Key)
			}
		}
		assert.Equal(t, []int{maxDue, maxDue, 1, 1}, sizes)
		assert.True(t, slices.IsSorted(keys))
	})
}

func TestMoreThanOneTakeIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		const keys = 2*maxTake + 1
		changes := make([]Change, keys)
		for i := range changes {
			changes[i] = Change{id(byte(i % 3)), fmt.Sprint(i), 1, s.now() - int64(i)}
		}
		a.Track(changes)
		total := 0
		for _, m := range s.take() {
			total += len(m.due)
		}
		assert.Equal(t, keys, total, "all of it at once")
	})
}

func TestAFailedSendIsRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		s.failWith(func(r run.ID) error {
			if r == id(1) && s.now() < t0+1250 {
				return errRefused
			}
			return nil
		})
		a.Track([]Change{
			{id(1), "a", 1, t0 + 1000},
			{id(2), "b", 1, t0 + 1010}, // others need not wait
		})
		time.Sleep(1100*time.Millisecond - 1)
		assert.Equal(t, []sent{{id(2), []Due{{"b", 1}}, t0 + 1010}}, s.take())
		assert.Equal(t, 1, a.Pending(), "kept")
		assert.EqualValues(t, 2, s.tries.Load())
		time.Sleep(5 * time.Second)
		assert.Equal(t, []sent{{id(1), []Due{{"a", 1}}, t0 + 1300}}, s.take())
		assert.EqualValues(t, 5, s.tries.Load(), "a at 1000, 1100, 1200, 1300 and b once")
		assert.Zero(t, a.Pending())
	})
}

func TestChangesWhileABatchRests(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		s.failWith(func(run.ID) error { return errRefused })
		a.Track([]Change{
			{id(1), "renewed", 1, t0}, {id(1), "kept", 1, t0}, {id(1), "gone", 1, t0}, {id(2), "x", 1, t0},
		})
		synctest.Wait()
		a.Track([]Change{{id(1), "renewed", 2, t0 + 2000}, {id(1), "gone", 2, 0}})
		a.Forget(id(2))
		s.failWith(nil)
		assert.Empty(t, s.take())
		assert.Equal(t, 2, a.Pending())
		time.Sleep(5 * time.Second)
		assert.Equal(t, []sent{
			{id(1), []Due{{"kept", 1}}, t0 + 100},
			{id(1), []Due{{"renewed", 2}}, t0 + 2000},
		}, s.take())
	})
}

// What changes while its message is on the way is not dropped when the message
// has arrived.
func TestChangesWhileAMessageIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		t0 := s.now()
		arrive := make(chan struct{})
		s.onSend = func(context.Context) { <-arrive }
		a.Track([]Change{{id(1), "renewed", 1, t0}, {id(1), "settled", 1, t0}, {id(2), "told twice", 1, t0}})
		synctest.Wait()
		a.Track([]Change{{id(1), "renewed", 2, t0 + 500}, {id(2), "told twice", 1, t0}})
		assert.Equal(t, 3, a.Pending())
		close(arrive)
		assert.Equal(t, []sent{
			{id(1), []Due{{"renewed", 1}, {"settled", 1}}, t0},
			{id(2), []Due{{"told twice", 1}}, t0},
		}, s.take())
		assert.Equal(t, 1, a.Pending())
		time.Sleep(time.Second)
		assert.Equal(t, []sent{{id(1), []Due{{"renewed", 2}}, t0 + 500}}, s.take())
	})
}

func TestAClockThatJumpsForwardIsNoticed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		a.Track([]Change{{id(1), "a", 1, s.now() + time.Hour.Milliseconds()}})
		time.Sleep(2500 * time.Millisecond)
		assert.Empty(t, s.take())
		s.offset.Store(time.Hour.Milliseconds())
		time.Sleep(maxSleep)
		assert.Len(t, s.take(), 1, "within a second")
	})
}

// A store's clock never runs backwards: when the wall clock does, it stands
// still until the wall clock has caught up.
func TestAClockThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{}
		t0 := s.now()
		var stopped atomic.Bool
		now := func() int64 {
			if stopped.Load() {
				return t0
			}
			return s.now()
		}
		stopped.Store(true)
		a := New(Config{Now: now, Send: s.send})
		a.Start()
		defer a.Stop()
		a.Track([]Change{{id(1), "a", 1, t0 + 500}})
		time.Sleep(time.Minute)
		assert.Empty(t, s.take())
		stopped.Store(false)
		time.Sleep(500 * time.Millisecond)
		assert.Len(t, s.take(), 1)
	})
}

func TestAFarDeadlineIsNoOverflow(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		a.Track([]Change{{id(1), "never", 1, 1<<63 - 1}})
		time.Sleep(time.Hour)
		assert.Empty(t, s.take())
		s.offset.Store(-2 * s.now())
		time.Sleep(time.Hour)
		assert.Empty(t, s.take())
		assert.Equal(t, 1, a.Pending())
	})
}

func TestStopWhileSendWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{onSend: func(ctx context.Context) { <-ctx.Done() }}
		a := New(Config{Now: s.now, Send: s.send})
		a.Start()
		a.Track([]Change{{id(1), "a", 1, s.now()}, {id(2), "a", 1, s.now()}})
		synctest.Wait()
		a.Stop()
		a.Stop()
		assert.Equal(t, 2, a.Pending(), "nothing was sent")
		assert.Empty(t, s.take())
	})
}

func TestAStoppedActorTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{}
		a := New(Config{Now: s.now, Send: s.send})
		a.Track([]Change{{id(1), "a", 1, s.now()}})
		a.Stop()
		a.Track([]Change{{id(1), "b", 1, s.now()}})
		a.Forget(id(1))
		a.Start()
		time.Sleep(time.Hour)
		assert.Equal(t, 1, a.Pending(), "what was tracked before Stop")
		assert.Empty(t, s.take())
	})
}

func TestTrackBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{}
		a := New(Config{Now: s.now, Send: s.send})
		defer a.Stop()
		a.Track([]Change{{id(1), "a", 1, s.now() - 1}})
		assert.Empty(t, s.take())
		a.Start()
		a.Start()
		assert.Len(t, s.take(), 1)
	})
}

func TestAPanicIsReported(t *testing.T) {
	for _, told := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var reported error
			cfg := Config{
				Now:  func() int64 { return 1 },
				Send: func(context.Context, run.ID, []Due) error { panic(errRefused) },
			}
			if told {
				cfg.OnPanic = func(err error) { reported = err }
			}
			a := New(cfg)
			a.Start()
			defer a.Stop()
			a.Track([]Change{{id(1), "a", 1, 1}})
			synctest.Wait()
			if told {
				var p *actor.PanicError
				require.ErrorAs(t, reported, &p)
				assert.ErrorIs(t, reported, errRefused)
			}
			a.Track([]Change{{id(1), "b", 1, 1}})
			assert.Equal(t, 1, a.Pending(), "no longer taken: nobody would send it")
		})
	}
}

func TestManyKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		const keys, runs = 100_000, 50
		t0 := s.now()
		deadline := map[Due]int64{}
		var changes []Change
		for i := range keys {
			d := Due{fmt.Sprintf("key%d", i), uint64(i + 1)}
			deadline[d] = t0 + 1 + int64(i*7919%10_000)
			changes = append(changes, Change{id(byte(i % runs)), d.Key, d.Version, deadline[d]})
		}
		for part := range slices.Chunk(changes, 1000) {
			a.Track(part)
		}
		assert.Equal(t, keys, a.Pending())
		time.Sleep(11 * time.Second)
		for _, m := range s.take() {
			require.LessOrEqual(t, len(m.due), maxDue)
			for _, d := range m.due {
				require.Equal(t, deadline[d], m.at, "sent in its millisecond")
				delete(deadline, d)
			}
		}
		assert.Empty(t, deadline, "every key was sent, once")
		assert.Zero(t, a.Pending())
	})
}

// While a Send waits the inbox does not grow without bound.
func TestTrackHelpsAnActorThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{onSend: func(ctx context.Context) { <-ctx.Done() }}
		a := New(Config{Now: s.now, Send: s.send})
		a.Start()
		defer a.Stop()
		a.Track([]Change{{id(1), "blocks", 1, s.now()}})
		synctest.Wait()
		for i := range 10 * maxInbox {
			a.Track([]Change{{id(1), "busy", uint64(i), s.now() + 1000}})
			require.Less(t, len(a.inbox), maxInbox)
		}
		assert.Equal(t, 2, a.Pending())
	})
}

// Shards track from many goroutines at once.
func TestManyTrackers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shards, a *Actor) {
		const trackers, each = 8, 500
		var wg sync.WaitGroup
		for w := range trackers {
			wg.Go(func() {
				for i := range each {
					a.Track([]Change{{id(byte(w)), fmt.Sprint(i), 1, s.now() - int64(i%2)*10 + 5}})
					if i%100 == 0 {
						a.Forget(id(200))
						a.Pending()
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		total := 0
		for _, m := range s.take() {
			total += len(m.due)
		}
		assert.Equal(t, trackers*each, total)
	})
}
