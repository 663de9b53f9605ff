package measure

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// Task is work with an end; it records how long each operation took.
type Task func(record func(time.Duration)) error

// Pass is work to be done at once, each task by a goroutine of its own, and what
// is wrong afterwards, which is not timed.
type Pass struct {
	Tasks []Task
	Check func() error
}

// Passes does whole passes until they took the time that the plan says. To
// prepare one is not timed. The plan's warm-up and rate mean nothing here.
func Passes(ctx context.Context, p Plan, prepare func() (*Pass, error)) (*Result, error) {
	result := &Result{Service: NewHistogram()}
	for result.Elapsed == 0 || result.Elapsed < p.For {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		pass, err := prepare()
		if err != nil {
			return nil, err
		}
		if err := pass.run(p, result); err != nil {
			return nil, err
		}
		if err := pass.Check(); err != nil {
			return nil, err
		}
	}
	result.Ops = uint64(result.Service.Count())
	// The next turn of an agent is due when the one before has ended, and not
	// before: there is nothing to correct.
	result.Latency = result.Service
	return result, nil
}

// stripe is a histogram of several tasks: one for each would be much memory.
type stripe struct {
	mu   sync.Mutex
	hist *Histogram
	_    [64]byte
}

func (s *stripe) record(d time.Duration) {
	s.mu.Lock()
	s.hist.Record(d)
	s.mu.Unlock()
}

func (p *Pass) run(plan Plan, result *Result) error {
	stripes := make([]stripe, 64)
	for i := range stripes {
		stripes[i].hist = NewHistogram()
	}
	errs := make([]error, len(p.Tasks))
	var all sync.WaitGroup
	m := begin(plan.Servers)
	for i, task := range p.Tasks {
		all.Go(func() { errs[i] = task(stripes[i%len(stripes)].record) })
	}
	all.Wait()
	m.end(result)
	for i := range stripes {
		result.Service.Merge(stripes[i].hist)
	}
	return cmp.Or(errs...)
}
