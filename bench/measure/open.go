package measure

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// beat is how often operations become due in a cell with a fixed rate: all of a
// beat at its beginning.
const beat = 200 * time.Microsecond

// open runs a cell whose operations become due at a fixed rate, whether or not
// those before have ended. Whichever caller is free takes the next one. The time
// of an operation counts from the moment it was due, so a store that stands
// still for a while is charged for all that had to wait.
func open(ctx context.Context, p Plan, ops []Op) (*Result, error) {
	total := int(float64(p.Rate) * (p.WarmUp + p.For).Seconds())
	s := &schedule{
		due:     make(chan time.Duration, total+1), // room for all: the clock never waits
		callers: make([]caller, len(ops)),
		warmUp:  p.WarmUp,
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for i := range s.callers {
		s.callers[i].hist = NewHistogram()
	}
	s.begun = time.Now()
	clock, err := newTicker(beat)
	if err != nil {
		return nil, err
	}
	defer clock.stop()
	for i, op := range ops {
		all.Go(func() {
			if s.callers[i].err = s.call(&s.callers[i], op); s.callers[i].err != nil {
				stop(s.callers[i].err)
			}
		})
	}
	result := &Result{}
	var m *meter
	for given := 0; given < total && ctx.Err() == nil; {
		if err := clock.wait(); err != nil {
			stop(err)
			break
		}
		now := time.Since(s.begun)
		if m == nil && now >= p.WarmUp {
			m = begin(p.Servers)
		}
		for ; given < total && s.at(given, p.Rate) <= now; given++ {
			s.due <- s.at(given, p.Rate)
		}
	}
	return s.finish(ctx, m, result, &all, p.For)
}

// schedule is what is due, since begun.
type schedule struct {
	begun   time.Time
	due     chan time.Duration
	warmUp  time.Duration
	ended   atomic.Bool
	callers []caller
}

// at returns when the n-th operation is due: at the first beat after its share of
// the time. It does not matter how late the clock is.
func (s *schedule) at(n, rate int) time.Duration {
	exact := time.Duration(float64(n) / float64(rate) * float64(time.Second))
	return (exact + beat - 1) / beat * beat
}

func (s *schedule) call(c *caller, op Op) error {
	for !s.ended.Load() {
		at, ok := <-s.due
		if !ok {
			return nil
		}
		if err := op(); err != nil {
			return err
		}
		if at >= s.warmUp {
			c.hist.Record(time.Since(s.begun) - at)
			c.ops++
		}
	}
	return nil
}

// finish lets the callers do what is left, for the length of the cell once more,
// and counts what is left then.
func (s *schedule) finish(ctx context.Context, m *meter, result *Result, all *sync.WaitGroup, patience time.Duration) (*Result, error) {
	close(s.due)
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	s.ended.Store(true)
	if m != nil {
		m.end(result)
	}
	now := time.Since(s.begun)
	<-done
	result.Latency = NewHistogram()
	for at := range s.due {
		if at >= s.warmUp {
			result.Late++
			result.Latency.Record(now - at)
		}
	}
	var err error
	for i := range s.callers {
		err = cmp.Or(s.callers[i].err, err)
		result.Ops += s.callers[i].ops
		result.Latency.Merge(s.callers[i].hist)
	}
	return result, cmp.Or(err, context.Cause(ctx))
}
