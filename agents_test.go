package inmem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

// life opens the store anew, as another process would after this one was killed:
// what the old one has in memory is forgotten.
func (s *store) life() *store {
	s.t.Helper()
	disk := s.mem.Clone()
	next := openStore(s.t, disk, s.dir, func(o *inmem.Options) {
		*o = s.opts
		o.FS, o.OnEvent = disk, nil
	})
	next.wall = s.wall
	return next
}

// Values that are another each time are those of the first time.
func TestRecordedValues(t *testing.T) {
	s := newStore(t)
	id := s.begin().ID()
	agent := func() string {
		r := s.resumed(id)
		now, err := r.Now(ctx)
		require.NoError(t, err)
		u, err := r.UUID(ctx)
		require.NoError(t, err)
		rng, err := r.Rand(ctx)
		require.NoError(t, err)
		return fmt.Sprint(now, u, rng.Uint64(), rng.Uint64())
	}
	first := agent()
	s.wall.move(time.Hour)
	require.Equal(t, first, agent())
	require.Contains(t, first, "2023-11-14 22:13:20 +0000 UTC")
	require.NotEqual(t, first, func() string { id = s.begin().ID(); return agent() }())
}

// A sleep ends when it would have ended without the restart.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, func(o *inmem.Options) { o.Now = time.Now })
		r := s.begin()
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		require.ErrorIs(t, r.Sleep(short, time.Hour), context.DeadlineExceeded)
		require.Equal(t, 10*time.Minute, time.Since(began))
		r = s.resumed(r.ID())
		require.NoError(t, r.Sleep(ctx, time.Hour))
		require.Equal(t, time.Hour, time.Since(began))
		r = s.resumed(r.ID())
		require.NoError(t, r.Sleep(ctx, time.Hour))
		require.Equal(t, time.Hour, time.Since(began), "it is over")
		require.NoError(t, r.Sleep(ctx, -time.Hour))
		closing := make(chan error, 1)
		go func() { closing <- r.Sleep(ctx, time.Hour) }()
		synctest.Wait()
		require.NoError(t, s.Close())
		s.ended = true
		require.ErrorIs(t, <-closing, inmem.ErrClosed)
	})
}

// Signals are taken once each, in order, whenever they come, in whatever life.
func TestSignals(t *testing.T) {
	s := newStore(t)
	id := s.begin().ID()
	n, err := s.run(id).Signal(ctx, "approval", "early")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	await := func(r *inmem.Run) string {
		v, err := inmem.Await[string](ctx, r, "approval")
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "early", await(s.resumed(id)))

	s = s.life()
	r := s.resumed(id)
	require.Equal(t, "early", await(r))
	got := make(chan string, 1)
	go func() { got <- await(r) }()
	put(t, s.run(id), "k", "something else happens")
	_, err = s.run(id).Signal(ctx, "another", "x")
	require.NoError(t, err)
	_, err = s.run(id).Signal(ctx, "approval", "late")
	require.NoError(t, err)
	require.Equal(t, "late", <-got)
	_, err = s.run(id).Signal(ctx, "approval", make(chan int))
	require.ErrorContains(t, err, "cannot be stored")

	s = s.life()
	r = s.resumed(id)
	require.Equal(t, "early", await(r))
	require.Equal(t, "late", await(r))
	cancelled, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { _, err := inmem.Await[string](cancelled, r, "approval"); failed <- err }()
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
}

// An await may end by the time that was given for it, counted over restarts.
func TestAwaitTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, func(o *inmem.Options) { o.Now = time.Now })
		id := s.begin().ID()
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		_, err := inmem.Await[int](short, s.resumed(id), "n", inmem.Timeout(time.Hour))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		for range 2 {
			_, err = inmem.Await[int](ctx, s.resumed(id), "n", inmem.Timeout(time.Hour))
			require.ErrorIs(t, err, inmem.ErrTimeout)
			require.Equal(t, time.Hour, time.Since(began))
			_, err = s.run(id).Signal(ctx, "n", 7)
			require.NoError(t, err)
		}
		r := s.resumed(id)
		_, err = inmem.Await[int](ctx, r, "n", inmem.Timeout(time.Hour))
		require.ErrorIs(t, err, inmem.ErrTimeout, "it is recorded so, whatever came later")
		v, err := inmem.Await[int](ctx, r, "n", inmem.Timeout(time.Hour))
		require.NoError(t, err)
		require.Equal(t, 7, v)
		require.NoError(t, s.Close())
		s.ended = true
	})
}

// TestAgentsAreResumed kills the process of many agents, again and again, at
// whatever each of them is at: all end with their results, and no step is
// executed after its result was recorded.
func TestAgentsAreResumed(t *testing.T) {
	const agents, steps = 30, 6
	var mu sync.Mutex
	recorded := map[string]int{} // executions of a step, by its idempotency key, that were seen to be recorded
	life := 0
	register := func(s *store, budget *atomic.Int64) {
		s.Agents().Register("worker", func(ctx context.Context, r *inmem.Run, input json.RawMessage) (any, error) {
			sum := 0
			for i := range steps {
				v, err := inmem.Do(ctx, r, "add", i, func(ctx context.Context) (int, error) {
					if budget.Add(-1) < 0 {
						<-ctx.Done() // the process is about to be killed
						return 0, ctx.Err()
					}
					mu.Lock()
					defer mu.Unlock()
					recorded[inmem.IdempotencyKey(ctx)]++
					return i, nil
				})
				if err != nil {
					return nil, err
				}
				sum += v
			}
			return sum, nil
		})
	}
	s := newStore(t)
	ids := []run.ID{}
	var budget atomic.Int64
	budget.Store(20)
	register(s, &budget)
	for i := range agents {
		r, err := s.Agents().Start(ctx, "worker", run.Meta{Name: fmt.Sprint(i)}, i)
		require.NoError(t, err)
		ids = append(ids, r.ID())
	}
	for budget.Load() >= 0 {
		time.Sleep(time.Millisecond)
	}
	for ; life < 8; life++ {
		next := s.life()
		s.abandon()
		s = next
		var budget atomic.Int64
		budget.Store(int64(20 + 10*life))
		register(s, &budget)
		_, err := s.Agents().Resume(ctx)
		require.NoError(t, err)
		if life < 7 {
			soon(t, "the budget is used up or all have ended", func() bool {
				left, err := s.Agents().Resume(ctx)
				require.NoError(t, err)
				return budget.Load() < 0 || left == 0 && s.active() == 0
			})
		}
	}
	for _, id := range ids {
		v, err := inmem.Result[int](ctx, s.run(id))
		require.NoError(t, err)
		require.Equal(t, 15, v)
		info, err := s.run(id).Info()
		require.NoError(t, err)
		require.Equal(t, run.Completed, info.Status)
	}
	require.NoError(t, s.Agents().Wait(ctx))
	total := 0
	for _, n := range recorded {
		total += n
	}
	require.Len(t, recorded, agents*steps)
	require.LessOrEqual(t, total, agents*steps+8*agents, "of each agent at most one step is lost in each life")
}

// active counts the runs that are active.
func (s *store) active() (n int) {
	for _, err := range s.Runs(ctx, run.Filter{Status: []run.Status{run.Active}}) {
		require.NoError(s.t, err)
		n++
	}
	return n
}

// What an agent returns, or how it fails, is its run's end.
func TestAgentEnds(t *testing.T) {
	var events sync.Map
	s := newStore(t, func(o *inmem.Options) {
		o.OnEvent = func(e inmem.Event) {
			if done, ok := e.(inmem.AgentDone); ok {
				events.Store(done.Run, done)
			}
		}
	})
	a := s.Agents()
	require.Same(t, a, s.Agents())
	a.Register("ok", func(ctx context.Context, r *inmem.Run, input json.RawMessage) (any, error) { return input, nil })
	a.Register("fails", func(context.Context, *inmem.Run, json.RawMessage) (any, error) { return nil, errDisk })
	a.Register("panics", func(context.Context, *inmem.Run, json.RawMessage) (any, error) { panic("oh") })
	a.Register("no JSON", func(context.Context, *inmem.Run, json.RawMessage) (any, error) { return make(chan int), nil })
	a.Register("ended by others", func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
		return nil, r.End(ctx, run.Cancelled)
	})
	start := func(name string) *inmem.Run {
		r, err := a.Start(ctx, name, run.Meta{}, map[string]int{"n": 1})
		require.NoError(t, err)
		return r
	}
	v, err := inmem.Result[map[string]int](ctx, start("ok"))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"n": 1}, v)
	for name, text := range map[string]string{"fails": errDisk.Error(), "panics": "panic: oh", "no JSON": "unsupported type"} {
		r := start(name)
		_, err = inmem.Result[int](ctx, r)
		require.ErrorIs(t, err, inmem.ErrAgentFailed)
		require.ErrorContains(t, err, text)
		info, err := r.Info()
		require.NoError(t, err)
		require.Equal(t, run.Failed, info.Status)
	}
	_, err = inmem.Result[int](ctx, start("ended by others"))
	require.ErrorIs(t, err, inmem.ErrNoResult)
	_, err = a.Start(ctx, "nobody", run.Meta{}, nil)
	require.ErrorIs(t, err, inmem.ErrNoAgent)
	_, err = a.Start(ctx, "ok", run.Meta{}, make(chan int))
	require.ErrorContains(t, err, "cannot be stored")
	taken := start("ok")
	_, err = a.Start(ctx, "ok", run.Meta{ID: taken.ID()}, nil)
	require.ErrorIs(t, err, inmem.ErrRunExists)
	require.NoError(t, a.Wait(ctx))
	soon(t, "all are told", func() bool { n := 0; events.Range(func(any, any) bool { n++; return true }); return n == 6 })
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = inmem.Result[int](cancelled, s.begin())
	require.ErrorIs(t, err, context.Canceled)
	s.end()
	_, err = a.Start(ctx, "ok", run.Meta{}, nil)
	require.ErrorIs(t, err, inmem.ErrClosed)
}

// An agent that leaves out what is recorded has diverged: its run stays as it is.
func TestAgentThatLeavesStepsOut(t *testing.T) {
	s := newStore(t)
	register := func(s *store, steps int, end error) {
		s.Agents().Register("a", func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
			for i := range steps {
				if _, err := (counter{}).do(ctx, r, "s", i); err != nil {
					return nil, err
				}
			}
			if end != nil {
				<-ctx.Done()
			}
			return nil, end
		})
	}
	register(s, 3, errDisk)
	r, err := s.Agents().Start(ctx, "a", run.Meta{}, nil)
	require.NoError(t, err)
	soon(t, "the steps are recorded", func() bool { return versionOf(t, r) == 4 })
	next := s.life()
	s.abandon()
	register(next, 2, nil)
	n, err := next.Agents().Resume(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, next.Agents().Wait(ctx))
	info, err := next.run(r.ID()).Info()
	require.NoError(t, err)
	require.Equal(t, run.Active, info.Status)

	// The same held against the record, without executing anything.
	replay, check, err := next.ReplaySteps(r.ID())
	require.NoError(t, err)
	executed := counter{}
	for i := range 3 {
		var diverged *inmem.DivergedError
		require.ErrorAs(t, check(ctx), &diverged)
		require.Nil(t, diverged.Actual)
		require.Equal(t, fmt.Sprint(i+1), diverged.Path)
		_, err := executed.do(ctx, replay, "s", i)
		require.NoError(t, err)
	}
	require.NoError(t, check(ctx))
	_, err = executed.do(ctx, replay, "s", 3)
	var diverged *inmem.DivergedError
	require.ErrorAs(t, err, &diverged)
	require.Nil(t, diverged.Expected)
	require.Empty(t, executed)
	require.True(t, strings.Contains(err.Error(), "nothing more"))
	require.Equal(t, err, check(ctx), "an agent that swallows it is told all the same")
}

// A parent waits for its children over restarts, with few places for agents.
func TestChildren(t *testing.T) {
	s := newStore(t)
	hold := make(chan struct{})
	register := func(s *store) {
		a := s.Agents()
		a.Limit(2)
		a.Register("square", func(ctx context.Context, r *inmem.Run, input json.RawMessage) (any, error) {
			var n int
			if err := json.Unmarshal(input, &n); err != nil {
				return nil, err
			}
			if n == 3 {
				return nil, errors.New("three")
			}
			return inmem.Do(ctx, r, "multiply", n, func(ctx context.Context) (int, error) {
				select {
				case <-hold:
				case <-ctx.Done():
					return 0, ctx.Err()
				}
				return n * n, nil
			})
		})
		a.Register("sum", func(ctx context.Context, r *inmem.Run, input json.RawMessage) (any, error) {
			var children []*inmem.Run
			for i := range 5 {
				c, err := r.Child(ctx, "square", run.Meta{Name: fmt.Sprint("of ", i)}, i)
				if err != nil {
					return nil, err
				}
				children = append(children, c)
			}
			sum := 0
			for _, c := range children {
				n, err := inmem.Join[int](ctx, r, c)
				if err != nil && !errors.Is(err, inmem.ErrStepFailed) {
					return nil, err
				}
				sum += n
			}
			return sum, nil
		})
	}
	register(s)
	parent, err := s.Agents().Start(ctx, "sum", run.Meta{}, nil)
	require.NoError(t, err)
	for range 3 {
		soon(t, "the parent waits", func() bool { return versionOf(t, s.run(parent.ID())) >= 3 })
		next := s.life()
		s.abandon()
		s = next
		register(s)
		_, err := s.Agents().Resume(ctx)
		require.NoError(t, err)
	}
	close(hold)
	v, err := inmem.Result[int](ctx, s.run(parent.ID()))
	require.NoError(t, err)
	require.Equal(t, 0+1+4+16, v)
	children := 0
	for info, err := range s.Runs(ctx, run.Filter{Parent: parent.ID()}) {
		require.NoError(t, err)
		assert.True(t, info.Status.Ended(), info.Name)
		children++
	}
	require.Equal(t, 5, children, "none was begun twice")
}

// A fork of a run that has ended is an active run, whose agent finds all its
// steps recorded and says itself what comes of it.
func TestForkOfAnAgentThatEnded(t *testing.T) {
	s := newStore(t)
	var executed atomic.Int64
	s.Agents().Register("a", func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
		return inmem.Do(ctx, r, "count", nil, func(context.Context) (int64, error) { return executed.Add(1), nil })
	})
	r, err := s.Agents().Start(ctx, "a", run.Meta{}, nil)
	require.NoError(t, err)
	v, err := inmem.Result[int64](ctx, r)
	require.NoError(t, err)
	require.EqualValues(t, 1, v)
	fork, err := s.Fork(ctx, r.ID(), 0, run.Meta{})
	require.NoError(t, err)
	n, err := s.Agents().Resume(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	v, err = inmem.Result[int64](ctx, fork)
	require.NoError(t, err)
	require.EqualValues(t, 1, v)
	require.EqualValues(t, 1, executed.Load())
}
