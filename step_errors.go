package inmem

import (
	"context"
	"errors"
	"fmt"

	"inmem/run"
	"inmem/step"
	"inmem/trace"
)

// The sentinels of durable steps, for errors.Is.
var (
	// ErrDiverged: the error is a *DivergedError.
	ErrDiverged = errors.New("inmem: the agent does not do what is recorded")
	// ErrStepFailed: the error is a *StepError.
	ErrStepFailed = errors.New("inmem: step failed")
	// ErrNotResumed: the handle is not one by which an agent works on a run. Get
	// one from BeginRun, Resume or Fork.
	ErrNotResumed = errors.New("inmem: steps need a run that was begun or resumed: use DB.Resume")
	// ErrConcurrentSteps: a step was called for while another one was at work, so
	// that their order would be another each time.
	ErrConcurrentSteps = errors.New("inmem: a step is at work already; use a Group, and in a step the context that it was given")
	// ErrInvalidStep: a step's name is not 1 to 1,024 bytes of UTF-8.
	ErrInvalidStep = errors.New("inmem: invalid name of a step")
	// ErrTimeout: a signal did not come in the time that was given for it.
	ErrTimeout = errors.New("inmem: the signal did not come in time")
)

// StepError says that a step failed, this time or when it was recorded. It does
// not wrap what fn returned, which is not there any more when it comes from the
// record: what an agent is to decide on belongs into the result.
type StepError struct {
	Run     run.ID
	Path    string // its place, as in "3.1"
	Step    string // its name
	Message string
}

func (e *StepError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrStepFailed, e.Step, e.Message)
}

func (e *StepError) Unwrap() error { return ErrStepFailed }

// DivergedError says that an agent function called for another step than the
// one that is recorded at its place.
type DivergedError struct {
	Run      run.ID
	Path     string    // the place, as in "3.1"
	Expected *StepCall // what is recorded; nil = nothing is, and nothing may be executed
	Actual   *StepCall // what the agent called for; nil = it ended
}

// StepCall is a step as it was called for.
type StepCall struct {
	Kind  string // "step", "value", "sleep", "await", "child", "join", "group"
	Name  string
	Input string // as JSON, its beginning; "" where it is not recorded
}

func (c *StepCall) String() string {
	if c.Input == "" {
		return fmt.Sprintf("%s %q", c.Kind, c.Name)
	}
	return fmt.Sprintf("%s %q of %s", c.Kind, c.Name, c.Input)
}

func (e *DivergedError) Error() string {
	expected, actual := "nothing more", "the agent ended"
	if e.Expected != nil {
		expected = e.Expected.String()
	}
	if e.Actual != nil {
		actual = e.Actual.String()
	}
	return fmt.Sprintf("%v: run %v, step %s: recorded is %s, but now it is %s", ErrDiverged, e.Run, e.Path, expected, actual)
}

func (e *DivergedError) Unwrap() error { return ErrDiverged }

// maxShownInput bounds what errors show of an input, in bytes.
const maxShownInput = 500

// diverged returns the error for a step that is not the recorded one.
func (s *scope) diverged(ctx context.Context, rec *step.Record) *DivergedError {
	r := s.work.run
	e := &DivergedError{
		Run: r.ID(), Path: s.path.String(),
		Actual: &StepCall{s.kind.String(), s.name, bounded(string(s.input), maxShownInput)},
	}
	if rec != nil {
		e.Expected = r.recordedCall(ctx, rec)
	}
	return s.work.diverge(e)
}

// recordedCall returns a step as it is recorded.
func (r *Run) recordedCall(ctx context.Context, rec *step.Record) *StepCall {
	call := &StepCall{Kind: rec.Kind.String(), Name: rec.Name}
	if span, err := r.Trace().Get(ctx, trace.ID(rec.Span)); err == nil {
		call.Input = bounded(string(span.Input), maxShownInput)
	}
	return call
}
