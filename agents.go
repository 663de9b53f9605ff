package inmem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/semaphore"

	"inmem/op"
	"inmem/run"
	"inmem/step"
)

// ErrNoAgent: no agent function is registered under the name.
var ErrNoAgent = errors.New("inmem: no agent is registered under this name")

// AgentFunc is an agent: it works on a run and returns its result, which is
// stored as JSON. What it does it does in steps (see Do), because it is called
// again from its beginning when its process died. ctx ends when the store is
// closed, or the run was taken up elsewhere; the agent then returns.
type AgentFunc func(ctx context.Context, r *Run, input json.RawMessage) (any, error)

// Agents carries agent functions out on runs of a store, and takes up what an
// earlier process left. There is one for each DB: see DB.Agents.
type Agents struct {
	db   *DB
	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	funcs  map[string]AgentFunc
	atWork map[run.ID]struct{}
	slots  *semaphore.Weighted // nil = no limit
	closed bool
}

// Agents returns what carries agents out on the store's runs.
func (db *DB) Agents() *Agents {
	db.agentsOnce.Do(func() {
		a := &Agents{db: db, funcs: map[string]AgentFunc{}, atWork: map[run.ID]struct{}{}}
		a.ctx, a.stop = context.WithCancel(context.Background())
		a.closed = db.closed.Load()
		db.agents.Store(a)
	})
	return db.agents.Load()
}

// Register gives an agent function a name, under which Start, Resume and
// Run.Child find it: also in later processes, so it stays the same.
func (a *Agents) Register(name string, fn AgentFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.funcs[name] = fn
}

// Limit bounds how many agents are at work at once, those that wait for a signal,
// a moment or another run not counted; n <= 0 means no bound, as at first. It is
// called before any agent is started.
func (a *Agents) Limit(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slots = nil
	if n > 0 {
		a.slots = semaphore.NewWeighted(int64(n))
	}
}

// agentRecord is what is stored of a run's agent.
type agentRecord struct {
	Agent string          `json:"agent"`
	Input json.RawMessage `json:"input"`
}

// Start begins a run that has an agent, with its name and input in the run's
// first commit, and lets the agent work on it, in a goroutine of its own. The
// handle is for looking on, sending signals, and Result. Errors: ErrNoAgent,
// those of BeginRun, and those of encoding/json for the input.
func (a *Agents) Start(ctx context.Context, name string, meta run.Meta, input any) (*Run, error) {
	fn, err := a.find(name)
	if err != nil {
		return nil, err
	}
	in, err := json.Marshal(input)
	if err != nil {
		return nil, fmt.Errorf("inmem: the input of agent %q cannot be stored: %w", name, err)
	}
	rec, err := json.Marshal(agentRecord{name, in})
	if err != nil {
		return nil, err
	}
	if limit := a.db.limits.MaxValue; len(rec) > limit {
		return nil, &SizeError{Err: ErrValueTooLarge, Size: len(rec), Max: limit}
	}
	if meta.ID.IsZero() {
		if meta.ID, err = run.NewID(); err != nil {
			return nil, err
		}
	}
	if !a.reserve(meta.ID) {
		return nil, fmt.Errorf("%w: %v", ErrRunExists, meta.ID)
	}
	r, err := a.db.beginWith(ctx, meta, op.Op{Kind: op.Put, Tag: step.AgentKey.Tag, Key: step.AgentKey.Key, Value: rec})
	if err == nil {
		err = a.launch(r, name, fn, in)
	}
	if err != nil {
		a.leave(meta.ID)
		return nil, err
	}
	return a.db.Run(meta.ID)
}

// reserve notes that an agent is at work on a run, unless one is.
func (a *Agents) reserve(id run.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, busy := a.atWork[id]; busy {
		return false
	}
	a.atWork[id] = struct{}{}
	return true
}

func (a *Agents) leave(id run.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.atWork, id)
}

func (a *Agents) find(name string) (AgentFunc, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn, ok := a.funcs[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoAgent, name)
	}
	return fn, nil
}

// beginWith begins a run, which has an ID, with more in its first commit.
func (db *DB) beginWith(ctx context.Context, meta run.Meta, ops ...op.Op) (*Run, error) {
	if err := db.check(); err != nil {
		return nil, err
	}
	now := db.store.Clock.Now()
	info := &run.Info{Meta: meta, Status: run.Active, Created: now, FirstVersion: 1}
	if err := info.Validate(); err != nil {
		return nil, err
	}
	c := &op.Commit{Run: meta.ID, Version: 1, Time: now, Ops: append([]op.Op{
		{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)},
	}, ops...)}
	s := db.place(meta.ID)
	h, err := s.Adopt(ctx, []*op.Commit{c}, op.Default)
	if err != nil {
		return nil, err
	}
	r := &Run{db: db, shard: s, handle: h}
	r.takenUp(0)
	return r, nil
}

// Resume takes up all active runs that have an agent which is registered and is
// not at work on them here, and returns how many: after Open, those that an
// earlier process left. Each is fenced (see DB.Resume). Errors: those of
// DB.Runs; a run that cannot be taken up is left out, and its error is joined.
func (a *Agents) Resume(ctx context.Context) (n int, err error) {
	for info, listErr := range a.db.Runs(ctx, run.Filter{Status: []run.Status{run.Active}}) {
		if listErr != nil {
			return n, errors.Join(err, listErr)
		}
		taken, e := a.resume(ctx, info.ID)
		if taken {
			n++
		}
		err = errors.Join(err, e)
	}
	return n, err
}

// resume takes one run up, unless it has no agent here, or is at work.
func (a *Agents) resume(ctx context.Context, id run.ID) (bool, error) {
	looked, err := a.db.Run(id)
	if err != nil {
		return false, err
	}
	b, err := step.Agent((*face)(looked))
	if b == nil || err != nil {
		return false, err
	}
	var rec agentRecord
	if err := json.Unmarshal(b, &rec); err != nil {
		return false, fmt.Errorf("inmem: the agent of run %v: %w", id, err)
	}
	fn, err := a.find(rec.Agent)
	if err != nil || !a.reserve(id) {
		return false, nil
	}
	r, err := a.db.Resume(ctx, id)
	if err == nil {
		err = a.launch(r, rec.Agent, fn, rec.Input)
	}
	if err != nil {
		a.leave(id)
	}
	if errors.Is(err, ErrRunNotActive) {
		return false, nil // it ended meanwhile
	}
	return err == nil, err
}

// launch lets an agent work on its run, which is reserved.
func (a *Agents) launch(r *Run, name string, fn AgentFunc, input json.RawMessage) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	slot := &slot{slots: a.slots, ctx: a.ctx}
	r.work.idle = slot.idle
	a.all.Go(func() {
		defer slot.release()
		err := slot.take()
		if err == nil {
			err = a.carry(r, fn, input)
		}
		a.leave(r.ID())
		a.db.events.tell(AgentDone{Run: r.ID(), Agent: name, Err: err})
	})
	return nil
}

// outcome is what is stored of what came of a run.
type outcome struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// carry calls the agent function, stores what came of it, and ends the run. An
// error means that the run stays active, to be taken up again.
func (a *Agents) carry(r *Run, fn AgentFunc, input json.RawMessage) error {
	out, err := r.outcome()
	if err != nil {
		return err
	}
	if out == nil { // else the process died before the run was ended
		v, err := called(a.ctx, r, fn, input)
		if err == nil {
			err = r.work.ended(a.ctx)
		}
		if a.ctx.Err() != nil || err != nil && ofTheStore(err) {
			return errors.Join(err, a.ctx.Err())
		}
		out = &outcome{}
		if err == nil {
			out.Result, err = json.Marshal(v)
		}
		if err != nil {
			out.Error = bounded(err.Error(), maxOutcomeError)
		}
		b, err := json.Marshal(out)
		if err == nil {
			err = step.PutOutcome(a.ctx, (*face)(r), b)
		}
		if err != nil {
			return err
		}
	}
	if out.Error != "" {
		return r.End(a.ctx, run.Failed)
	}
	return r.End(a.ctx, run.Completed)
}

// maxOutcomeError bounds what is stored of an agent's error, in bytes.
const maxOutcomeError = 16 << 10

// called calls an agent function. A panic in it is its run's failure, and not
// that of all others in the process.
func called(ctx context.Context, r *Run, fn AgentFunc, input json.RawMessage) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(ctx, r, input)
}

// ended is a *DivergedError where the agent, which has ended, called for a step
// that is not the recorded one, whatever it made of the error, or left one out.
func (w *work) ended(ctx context.Context) error {
	w.mu.Lock()
	first := w.first
	w.mu.Unlock()
	if first != nil {
		return first
	}
	left, err := w.leftOver(ctx)
	if left == "" || err != nil {
		return err
	}
	rec, err := step.Get((*face)(w.run), left)
	if err != nil {
		return err
	}
	return &DivergedError{Run: w.run.ID(), Path: left.String(), Expected: w.run.recordedCall(ctx, &rec)}
}

// Wait waits until no agent is at work, or ctx ends.
func (a *Agents) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { a.all.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the agents' context and waits for them.
func (a *Agents) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stop()
	a.all.Wait()
}

// slot is an agent's place among those that may be at work at once.
type slot struct {
	slots *semaphore.Weighted
	ctx   context.Context

	mu    sync.Mutex
	held  bool
	waits int // steps of the agent that wait for something: several in a group
}

func (s *slot) take() error {
	if s.slots == nil {
		return s.ctx.Err()
	}
	if err := s.slots.Acquire(s.ctx, 1); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
	return nil
}

func (s *slot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		s.slots.Release(1)
		s.held = false
	}
}

// idle gives the place to another agent as long as this one waits.
func (s *slot) idle(idle bool) {
	if s.slots == nil {
		return
	}
	s.mu.Lock()
	if idle {
		s.waits++
	} else {
		s.waits--
	}
	first, last := idle && s.waits == 1, !idle && s.waits == 0
	s.mu.Unlock()
	switch {
	case first:
		s.release()
	case last:
		_ = s.take() // where the context has ended the agent finds out by itself
	}
}
