package inmem

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"inmem/step"
)

// Group is steps that are carried out at the same time. Their places are those
// in which Go is called, so that they are found again in whatever order they
// end. Wait must be called before the agent calls for another step.
type Group struct {
	scope scope // its place, and those within
	outer *scope
	ctx   context.Context
	limit *semaphore.Weighted // nil = no limit
	all   sync.WaitGroup

	mu   sync.Mutex
	errs []error // by place
}

// NewGroup begins a group of steps, at most limit of which are carried out at
// once; 0 = all. The name tells groups apart: it is part of what their steps are
// known by.
func NewGroup(ctx context.Context, r *Run, name string, limit int) (*Group, error) {
	outer, err := scopeOf(ctx, r)
	if err != nil {
		return nil, err
	}
	path, err := outer.enter()
	if err != nil {
		return nil, err
	}
	rec, err := step.Get((*face)(r), path)
	if err == nil && rec.Status != 0 {
		err = outer.work.diverge(&DivergedError{
			Run: r.ID(), Path: path.String(), Expected: r.recordedCall(ctx, &rec), Actual: &StepCall{Kind: "group", Name: name},
		})
	}
	if err != nil {
		outer.leave()
		return nil, err
	}
	g := &Group{outer: outer, ctx: ctx}
	g.scope.work, g.scope.parent, g.scope.path, g.scope.name = outer.work, outer, path, name
	if limit > 0 {
		g.limit = semaphore.NewWeighted(int64(limit))
	}
	return g, nil
}

// Future is the result of a step of a group.
type Future[T any] struct {
	done chan struct{}
	v    T
	err  error
}

// Get waits for the step and returns what it did.
func (f *Future[T]) Get() (T, error) {
	<-f.done
	return f.v, f.err
}

// Go carries a step out in a goroutine of its own, as Do would. It is called
// from one goroutine.
func Go[T any](g *Group, name string, input any, fn func(ctx context.Context) (T, error), opts ...StepOption) *Future[T] {
	f := &Future[T]{done: make(chan struct{})}
	g.scope.mu.Lock()
	g.scope.last++
	path := g.scope.path.Child(g.scope.last)
	g.scope.mu.Unlock()
	g.mu.Lock()
	place := len(g.errs)
	g.errs = append(g.errs, nil)
	g.mu.Unlock()
	g.all.Go(func() {
		defer close(f.done)
		if g.limit != nil {
			if f.err = g.limit.Acquire(g.ctx, 1); f.err != nil {
				g.fail(place, f.err)
				return
			}
			defer g.limit.Release(1)
		}
		in := struct {
			Group string `json:"group"`
			Input any    `json:"input"`
		}{g.scope.name, input}
		f.v, f.err = atPlace[T](g.ctx, &g.scope, path, step.Call, name, in, opts, func(ctx context.Context, s *scope) ([]byte, error) {
			return s.execute(ctx, func(ctx context.Context) ([]byte, error) { return encoded(fn(ctx)) })
		})
		g.fail(place, f.err)
	})
	return f
}

func (g *Group) fail(place int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs[place] = err
}

// Wait waits for all steps of the group and returns their errors, joined, in the
// order in which the steps were begun. Only the first call ends the group.
func (g *Group) Wait() error {
	g.all.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.outer != nil {
		g.outer.leave()
		g.outer = nil
	}
	return errors.Join(g.errs...)
}
