package inmem

import (
	"context"
	"sync"

	"inmem/step"
	"inmem/trace"
)

// work is what an agent does on a run: where it is among its steps.
type work struct {
	run     *Run
	root    scope
	replays bool            // nothing is executed: what is not recorded is a *DivergedError
	idle    func(idle bool) // told when the agent waits for something for long, and goes on; nil = nobody

	mu      sync.Mutex
	visited map[step.Path]struct{}
	first   *DivergedError // the first call that was not the recorded one
}

// diverge keeps the first divergence, which is told also where the agent goes on
// all the same.
func (w *work) diverge(e *DivergedError) *DivergedError {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == nil {
		w.first = e
	}
	return e
}

// visit notes that the agent came to a place.
func (w *work) visit(p step.Path) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.visited == nil {
		w.visited = map[step.Path]struct{}{}
	}
	w.visited[p] = struct{}{}
}

// leftOver returns the first step that is recorded and that the agent, which
// has ended, never came to; "" = none.
func (w *work) leftOver(ctx context.Context) (step.Path, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, err := range step.List(ctx, (*face)(w.run)) {
		if err != nil {
			return "", err
		}
		if !w.cameTo(p) {
			return p, nil
		}
	}
	return "", nil
}

// cameTo reports whether the agent came to a step, or to one around it: what is
// in a step that returned from the record is not called for again. w.mu is held.
func (w *work) cameTo(p step.Path) bool {
	for ; p != ""; p = p.Parent() {
		if _, ok := w.visited[p]; ok {
			return true
		}
	}
	return false
}

// scope is a step at work, and the places of the steps within it. That of the
// work as a whole has no parent and is no step.
type scope struct {
	work        *work
	parent      *scope
	path        step.Path
	kind        step.Kind
	name        string
	input       []byte
	fingerprint [16]byte
	options     stepOptions

	at         int64 // what is recorded of the moment it waits for
	began      int64 // Unix milliseconds
	attempts   int
	overridden bool // its result was given
	recorded   bool // fn has recorded it together with what it wrote

	mu     sync.Mutex
	last   uint32 // place taken last
	busy   bool   // a step within is at work
	report struct {
		usage      trace.Usage
		attributes map[string]string
	}
}

type scopeKey struct{}

// scopeOf returns the step of the run that ctx was handed to, or the work as a
// whole.
func scopeOf(ctx context.Context, r *Run) (*scope, error) {
	if r.work == nil {
		return nil, ErrNotResumed
	}
	if s, ok := ctx.Value(scopeKey{}).(*scope); ok && s.work == r.work {
		return s, nil
	}
	return &r.work.root, nil
}

// enter takes the next place, for a step that leave ends.
func (s *scope) enter() (step.Path, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return "", ErrConcurrentSteps
	}
	s.busy = true
	s.last++
	return s.path.Child(s.last), nil
}

func (s *scope) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
}

// resetPlaces lets the steps within begin anew.
func (s *scope) resetPlaces() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = 0
}

// IdempotencyKey returns the name of the step whose fn got ctx: the same in each
// attempt, also in another process, and no other step's. It is for services that
// do a thing once for each such key. Outside of a step it is "".
func IdempotencyKey(ctx context.Context) string {
	s, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return ""
	}
	return s.work.run.ID().String() + "/" + s.path.String()
}

// Report adds tokens, cost and attributes to the span of the step whose fn got
// ctx, as they are known. Outside of a step it does nothing.
func Report(ctx context.Context, usage trace.Usage, attributes map[string]string) {
	s, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.usage = s.report.usage.Add(usage)
	for k, v := range attributes {
		if s.report.attributes == nil {
			s.report.attributes = map[string]string{}
		}
		s.report.attributes[k] = v
	}
}
