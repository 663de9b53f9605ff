package measure

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Op does one operation.
type Op func() error

// Plan is how a cell is timed.
type Plan struct {
	For     time.Duration // the time that counts
	WarmUp  time.Duration // before it
	Rate    int           // operations a second, of all callers; 0: each as fast as it can
	Servers []int         // processes whose CPU time counts, too
}

// Of an operation that takes less than slow, the clock is asked for one in
// sampled only: asking costs as much as a get.
const (
	slow    = 20 * time.Microsecond
	sampled = 16
)

// Run has each op called over and over by a goroutine of its own, and returns
// what came of it. The first error ends the cell.
func Run(ctx context.Context, p Plan, ops []Op) (*Result, error) {
	if p.Rate > 0 {
		return open(ctx, p, ops)
	}
	return closed(ctx, p, ops)
}

// The phases of a cell.
const (
	warming = int32(iota)
	measuring
	over
)

// loop is a cell whose callers begin an operation when the one before ended.
type loop struct {
	phase atomic.Int32
	begun time.Time
	// first is closed by the first operation that counts, failed by the first error.
	first, failed         chan struct{}
	firstOnce, failedOnce sync.Once
	callers               []caller
}

// caller is what a goroutine counted. Others read it when it has ended.
type caller struct {
	ops  uint64
	hist *Histogram
	err  error
	_    [64]byte // no cache line is shared
}

func closed(ctx context.Context, p Plan, ops []Op) (*Result, error) {
	l := &loop{
		begun: time.Now(), callers: make([]caller, len(ops)),
		first: make(chan struct{}), failed: make(chan struct{}),
	}
	var all sync.WaitGroup
	for i := range l.callers {
		l.callers[i].hist = NewHistogram()
	}
	for i, op := range ops {
		all.Go(func() { l.call(&l.callers[i], op) })
	}
	err := l.wait(ctx, p.WarmUp)
	result := &Result{}
	if err == nil {
		m := begin(p.Servers)
		l.phase.Store(measuring)
		if err = l.wait(ctx, p.For); err == nil {
			// A cell of no operation would have no figure.
			select {
			case <-l.first:
			case <-l.failed:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		l.phase.Store(over)
		m.end(result)
	}
	l.phase.Store(over)
	all.Wait()
	result.Service = NewHistogram()
	for i := range l.callers {
		err = cmp.Or(l.callers[i].err, err)
		result.Ops += l.callers[i].ops
		result.Service.Merge(l.callers[i].hist)
	}
	if err != nil {
		return nil, err
	}
	result.Latency = result.Service.Corrected(result.Elapsed * time.Duration(len(ops)) / time.Duration(result.Ops))
	return result, nil
}

// wait returns after a time, or before it if the cell is to end.
func (l *loop) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.failed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// call is a caller's loop. An operation counts that ends while measuring, whenever
// it began.
func (l *loop) call(c *caller, op Op) {
	warm, every := uint64(0), uint64(1)
	for n := uint64(0); ; n++ {
		var begun time.Time
		timed := n%every == 0
		if timed {
			begun = time.Now()
		}
		if !l.do(c, op) {
			return
		}
		phase := l.phase.Load()
		if phase == warming {
			warm++
			continue
		}
		if timed {
			c.hist.Record(time.Since(begun))
		}
		if phase == over {
			// Too late for the count, but it may be the longest.
			return
		}
		if c.ops == 0 {
			l.firstOnce.Do(func() { close(l.first) })
			if warm > 0 && time.Since(l.begun)/time.Duration(warm) < slow {
				every = sampled
			}
		}
		c.ops++
	}
}

// do does one operation and says whether it succeeded.
func (l *loop) do(c *caller, op Op) bool {
	if c.err = op(); c.err != nil {
		l.failedOnce.Do(func() { close(l.failed) })
	}
	return c.err == nil
}
