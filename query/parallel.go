package query

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"inmem/run"
)

// maxTask is how many runs a goroutine takes at most at a time. The first take
// fewer, so that a query that wants little does not look far ahead.
const maxTask = 32

// nextTask is how many runs the task behind one of so many takes. Whoever carries
// tasks out, what they find is put together in the same way: of numbers with
// fractions, each other way of adding them up may give another sum.
func nextTask(size int) int { return min(2*size, maxTask) }

// task is some runs that follow each other, and what was found in them.
type task struct {
	first int // how many runs come before
	runs  []*run.Info
	found chan *batch
}

// parallel is each, with as many goroutines as there are processors. They take
// runs in order and work at once; what they find is handed on in order. Each is
// ahead of what was handed on by a task and two batches at most.
func (x *execution) parallel(fn func(*batch) error) error {
	ctx, cancel := context.WithCancel(x.ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	workers := runtime.GOMAXPROCS(0)
	work, inOrder := make(chan *task), make(chan *task, workers)
	all.Go(func() { x.handOut(ctx, work, inOrder) })
	for range workers {
		all.Go(func() {
			for t := range work {
				x.carryOut(ctx, t)
			}
		})
	}
	for t := range inOrder {
		for more := true; more; {
			var b *batch
			select {
			case b, more = <-t.found:
			case <-ctx.Done():
				return x.ctx.Err()
			}
			switch {
			case !more:
			case b.err != nil:
				return b.err
			default:
				if err := fn(b); err != nil {
					return err
				}
			}
		}
	}
	return x.ctx.Err()
}

// handOut makes tasks of the runs.
func (x *execution) handOut(ctx context.Context, work, inOrder chan<- *task) {
	defer close(work)
	defer close(inOrder)
	size := 1
	next := &task{found: make(chan *batch, 2)}
	send := func() bool {
		for _, to := range []chan<- *task{inOrder, work} {
			select {
			case to <- next:
			case <-ctx.Done():
				return false
			}
		}
		next = &task{first: next.first + len(next.runs), found: make(chan *batch, 2)}
		size = nextTask(size)
		return true
	}
	for info := range x.runs() {
		if next.runs = append(next.runs, info); len(next.runs) == size && !send() {
			return
		}
	}
	if len(next.runs) > 0 {
		send()
	}
}

// carryOut looks through the runs of a task.
func (x *execution) carryOut(ctx context.Context, t *task) {
	defer close(t.found)
	send := func(b *batch) error {
		select {
		case t.found <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c := x.newCollector(ctx, send)
	c.nth = t.first
	var err error
	for _, info := range t.runs {
		if err = ctx.Err(); err != nil {
			break
		}
		if err = c.run(info); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, errEnough) {
		err = c.flush()
	}
	if err != nil {
		_ = send(&batch{err: err})
	}
}
