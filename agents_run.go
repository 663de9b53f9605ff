package inmem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"inmem/run"
	"inmem/step"
)

// outcome returns what came of the run, if that is known.
func (r *Run) outcome() (*outcome, error) {
	b, err := step.Outcome((*face)(r))
	if b == nil || err != nil {
		return nil, err
	}
	var out outcome
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("inmem: what came of run %v: %w", r.ID(), err)
	}
	return &out, nil
}

// ErrAgentFailed: the agent of a run returned an error.
var ErrAgentFailed = errors.New("inmem: the agent failed")

// ErrNoResult: a run has ended, and not by an agent that returned.
var ErrNoResult = errors.New("inmem: the run has ended without a result")

// Result waits until the agent of a run has returned and the run has ended, in
// whatever process, and returns the agent's result; an error of the agent is an ErrAgentFailed with its text.
// Where the run was ended by somebody else: ErrNoResult. More errors:
// ctx.Err(), ErrRunDeleted, and those of encoding/json where the result is not
// a T.
func Result[T any](ctx context.Context, r *Run) (v T, err error) {
	b, err := r.result(ctx, func(bell <-chan struct{}) error { return r.db.await(ctx, bell) })
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	return v, err
}

func (r *Run) result(ctx context.Context, await func(bell <-chan struct{}) error) (json.RawMessage, error) {
	bell := make(chan struct{}, 1)
	defer r.handle.Listen(bell)()
	for {
		info, err := r.Info()
		if err != nil {
			return nil, err
		}
		if info.Status.Ended() {
			return r.ended(info.Status)
		}
		if err := await(bell); err != nil {
			return nil, err
		}
	}
}

// ended returns the result of a run that has ended.
func (r *Run) ended(status run.Status) (json.RawMessage, error) {
	out, err := r.outcome()
	switch {
	case err != nil:
		return nil, err
	case out == nil:
		return nil, fmt.Errorf("%w: run %v is %v", ErrNoResult, r.ID(), status)
	case out.Error != "":
		return nil, fmt.Errorf("%w: %s", ErrAgentFailed, out.Error)
	}
	return out.Result, nil
}

// Child begins a run of another agent, whose parent is this run. It is a step
// (see Do), named like the agent: done again it returns the same run, and takes
// it up if nobody is at work on it. The run's ID is derived from this run and
// the step's place, and meta needs neither ID nor parent. The handle is for Join.
// Errors: ErrNoAgent, those of Agents.Start, and those of Do.
func (r *Run) Child(ctx context.Context, agent string, meta run.Meta, input any) (*Run, error) {
	id, err := inStep[run.ID](ctx, r, step.Child, agent, input, nil, func(ctx context.Context, s *scope) ([]byte, error) {
		child := meta
		child.Parent, child.ID = r.ID(), meta.Namespace.DeriveID("child "+r.ID().String()+"/"+s.path.String())
		if _, err := r.db.Agents().Start(ctx, agent, child, input); err != nil && !errors.Is(err, ErrRunExists) {
			return nil, err
		}
		result, err := encoded(child.ID, nil)
		if err != nil {
			return nil, err
		}
		return result, s.settle(ctx, step.Record{Status: step.Done, Result: result})
	})
	if err != nil {
		return nil, err
	}
	child, err := r.db.Run(id)
	if err != nil || r.work.replays {
		return child, err
	}
	info, err := child.Info()
	if err == nil && info.Status == run.Active {
		_, err = r.db.Agents().resume(ctx, id)
	}
	return child, err
}

// Join waits until the agent of a child has returned, over restarts of the
// process, and returns its result. It is a step; see Do. That the child failed is
// a *StepError.
func Join[T any](ctx context.Context, r, child *Run) (T, error) {
	return inStep[T](ctx, r, step.Join, child.ID().String(), nil, nil, func(ctx context.Context, s *scope) ([]byte, error) {
		b, err := child.result(ctx, func(bell <-chan struct{}) error { return s.await(ctx, bell, nil) })
		switch {
		case err == nil:
			return b, s.settle(ctx, step.Record{Status: step.Done, Result: b})
		case errors.Is(err, ErrAgentFailed) || errors.Is(err, ErrNoResult) || errors.Is(err, ErrRunNotFound):
			message := err.Error()
			if err := s.settle(ctx, step.Record{Status: step.Failed, Result: []byte(message)}); err != nil {
				return nil, err
			}
			return nil, &StepError{Run: r.ID(), Path: s.path.String(), Step: s.name, Message: message}
		}
		return nil, err
	})
}

// ReplaySteps returns a handle whose steps are answered from what is recorded of
// them and never executed: one that is not recorded is a *DivergedError. It is
// for holding an agent function against a run (package replaytest does). check
// is called when the agent function has returned: a *DivergedError where it left
// out a step that is recorded.
func (db *DB) ReplaySteps(id run.ID) (r *Run, check func(context.Context) error, err error) {
	r, err = db.Run(id)
	if err != nil {
		return nil, nil, err
	}
	r.work = &work{run: r, replays: true}
	r.work.root.work = r.work
	return r, r.work.ended, nil
}
