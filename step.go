package inmem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dgryski/go-metro"

	"inmem/step"
	"inmem/trace"
)

// Do carries out one step of an agent, once: it calls fn and records name,
// input, times and result in one commit, as a span of the run. Where the step is
// recorded already, because an agent function begins anew after its process
// died, Do returns what it returned then, and does not call fn.
//
// Steps are known by their place: the agent function must call for the same
// steps in the same order each time, which it does if what it decides on comes
// from its input, from steps, and from Run.Now, Run.UUID and Run.Rand. A step
// with another name or input than the one recorded at its place is a
// *DivergedError. One step follows another; those that are to run at the same
// time go into a Group. A step may have steps in it, called for with the context
// that fn gets.
//
// For the world outside fn happens at least once: a process may die after fn
// has done something and before that is recorded. IdempotencyKey(ctx) gives fn a
// name for the step that is the same in each attempt. What fn is to write to the
// run itself belongs into the same commit as the record: see Transact.
//
// Input and result are stored as JSON, and what Do returns went through it, the
// first time too. An error of fn is recorded as well, after as many attempts as
// the option Retry allows, and returned as a *StepError, the first time too. Not
// recorded are an error after ctx has ended, and errors of the store.
//
// r is a handle of BeginRun, Resume or Fork: ErrNotResumed otherwise. More
// errors: ErrConcurrentSteps, ErrInvalidStep for a name that is not 1 to 1,024
// bytes of UTF-8, those of encoding/json, *FencedError, and those of a put.
func Do[T any](ctx context.Context, r *Run, name string, input any, fn func(ctx context.Context) (T, error), opts ...StepOption) (T, error) {
	return inStep[T](ctx, r, step.Call, name, input, opts, func(ctx context.Context, s *scope) ([]byte, error) {
		return s.execute(ctx, func(ctx context.Context) ([]byte, error) { return encoded(fn(ctx)) })
	})
}

// Transact is Do for what an agent writes to its own run: what fn does with tx
// and the record of the step are one commit, so for the run it happens exactly
// once. fn is called again after a conflict, like that of Update.
func Transact[T any](ctx context.Context, r *Run, name string, input any, fn func(ctx context.Context, tx *Tx) (T, error), opts ...StepOption) (T, error) {
	return inStep[T](ctx, r, step.Call, name, input, opts, func(ctx context.Context, s *scope) ([]byte, error) {
		return s.execute(ctx, func(ctx context.Context) (result []byte, err error) {
			err = r.Update(ctx, func(tx *Tx) error {
				if result, err = encoded(fn(ctx, tx)); err != nil {
					return err
				}
				return s.record(ctx, tx, result, nil)
			})
			s.recorded = err == nil
			return result, err
		})
	})
}

func encoded[T any](v T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, Permanent(fmt.Errorf("the result cannot be stored: %w", err))
	}
	return b, nil
}

// inStep takes the next place and returns what is recorded there, or carries
// the step out.
func inStep[T any](ctx context.Context, r *Run, kind step.Kind, name string, input any, opts []StepOption, carry func(context.Context, *scope) ([]byte, error)) (v T, err error) {
	parent, err := scopeOf(ctx, r)
	if err != nil {
		return v, err
	}
	path, err := parent.enter()
	if err != nil {
		return v, err
	}
	defer parent.leave()
	return atPlace[T](ctx, parent, path, kind, name, input, opts, carry)
}

func atPlace[T any](ctx context.Context, parent *scope, path step.Path, kind step.Kind, name string, input any, opts []StepOption, carry func(context.Context, *scope) ([]byte, error)) (v T, err error) {
	if err := ctx.Err(); err != nil {
		return v, err
	}
	s := &scope{work: parent.work, parent: parent, path: path, kind: kind, name: name, options: gatherSteps(opts)}
	if s.input, err = json.Marshal(input); err != nil {
		return v, fmt.Errorf("inmem: the input of step %q cannot be stored: %w", name, err)
	}
	if limit := s.work.run.db.limits.MaxValue - spanOverhead; len(s.input) > limit {
		return v, &SizeError{Err: ErrValueTooLarge, Size: len(s.input), Max: max(limit, 0)}
	}
	if name == "" || len(name) > trace.MaxName || !utf8.ValidString(name) {
		return v, fmt.Errorf("%w: %.100q", ErrInvalidStep, name)
	}
	s.fingerprint = fingerprint(s.input)
	result, known, err := s.lookUp(ctx)
	if err == nil && !known {
		result, err = carry(context.WithValue(ctx, scopeKey{}, s), s)
	}
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(result, &v); err != nil {
		return v, fmt.Errorf("inmem: the result of step %v %q is not a %T: %w", path, name, v, err)
	}
	return v, nil
}

// spanOverhead is what a span takes beside its input or output, at most.
const spanOverhead = 256 << 10

// fingerprint is what tells one input from another.
func fingerprint(input []byte) (f [16]byte) {
	lo, hi := metro.Hash128(input, 0)
	for i := range 8 {
		f[i], f[8+i] = byte(lo>>(8*i)), byte(hi>>(8*i))
	}
	return f
}

// lookUp returns what is recorded of the step, if it has ended.
func (s *scope) lookUp(ctx context.Context) (result []byte, known bool, err error) {
	r := s.work.run
	rec, err := step.Get((*face)(r), s.path)
	if err != nil {
		return nil, false, err
	}
	if rec.Status != 0 && (rec.Kind != s.kind || rec.Name != s.name || rec.Fingerprint != s.fingerprint) {
		return nil, false, s.diverged(ctx, &rec)
	}
	if rec.Status == 0 {
		if err := s.noGroup(ctx); err != nil {
			return nil, false, err
		}
	}
	s.work.visit(s.path)
	if rec.Status != step.Done && rec.Status != step.Failed {
		if s.work.replays {
			return nil, false, s.diverged(ctx, nil)
		}
		s.at = rec.At
		return nil, false, nil
	}
	s.at = rec.At
	result = rec.Result
	failure := string(rec.Result)
	if rec.Span != 0 {
		if _, result, failure, err = r.Trace().Result(ctx, trace.ID(rec.Span)); err != nil {
			return nil, false, fmt.Errorf("inmem: the span of step %v: %w", s.path, err)
		}
	}
	if s.kind == step.Sleep && !s.work.replays {
		err = s.waitUntil(ctx) // for what is left
	}
	if rec.Status == step.Failed {
		return nil, true, &StepError{Run: r.ID(), Path: s.path.String(), Step: s.name, Message: failure}
	}
	return result, true, err
}

// noGroup makes sure that there is no group recorded at the place of the step:
// groups have no record, but the steps in them do.
func (s *scope) noGroup(ctx context.Context) error {
	first, err := step.Within((*face)(s.work.run), s.path)
	if first == "" || err != nil {
		return err
	}
	diverged := s.diverged(ctx, nil)
	diverged.Expected = &StepCall{Kind: "group"}
	return diverged
}

// execute calls fn, as often as its policy allows, and records what came of it.
func (s *scope) execute(ctx context.Context, fn func(context.Context) ([]byte, error)) ([]byte, error) {
	if given, err := step.Override((*face)(s.work.run), s.name); err != nil || given != nil {
		if err != nil {
			return nil, err
		}
		s.overridden = true
		return given, s.commit(ctx, given, nil)
	}
	s.began = s.work.run.db.store.Clock.Now()
	for {
		s.attempts++
		s.resetPlaces() // what the attempt before has recorded in it is found again
		result, err := fn(ctx)
		if limit := s.work.run.db.limits.MaxValue - spanOverhead; err == nil && !s.recorded && len(result) > limit {
			err = Permanent(&SizeError{Err: ErrValueTooLarge, Size: len(result), Max: limit})
		}
		switch {
		case err == nil && s.recorded:
			return result, nil
		case err == nil:
			return result, s.commit(ctx, result, nil)
		case ctx.Err() != nil || ofTheStore(err):
			return nil, err
		case s.options.retry.again(s.attempts, err):
			if err := wait(ctx, s.options.retry.pause(s.attempts)); err != nil {
				return nil, err
			}
		default:
			message := err.Error()
			if err := s.commit(ctx, nil, &message); err != nil {
				return nil, err
			}
			return nil, &StepError{Run: s.work.run.ID(), Path: s.path.String(), Step: s.name, Message: message}
		}
	}
}

// ofTheStore reports whether an error is not the step's own, so that it says
// nothing about what it would return another time.
func ofTheStore(err error) bool {
	for _, target := range []error{ErrFenced, ErrClosed, ErrPoisoned, ErrDiskFull, ErrConflict, ErrDiverged, ErrConcurrentSteps} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// commit records the end of the step in a transaction of its own.
func (s *scope) commit(ctx context.Context, result []byte, failure *string) error {
	return s.work.run.Update(ctx, func(tx *Tx) error { return s.record(ctx, tx, result, failure) })
}

// record enters the end of the step, as a span and as a record, into tx.
func (s *scope) record(ctx context.Context, tx *Tx, result []byte, failure *string) error {
	run := (*txFace)(tx)
	old, err := step.Get(run, s.path)
	if err != nil {
		return err
	}
	rec := step.Record{
		Status: step.Done, Kind: s.kind, Name: s.name, Fingerprint: s.fingerprint,
		Span: old.Span, Attempts: uint64(s.attempts),
	}
	end := trace.Finish{Status: trace.OK, Output: result, Usage: s.report.usage, Attributes: s.report.attributes}
	if failure != nil {
		rec.Status, end.Status, end.Error = step.Failed, trace.Failed, bounded(*failure, trace.MaxError)
	}
	if old.Span != 0 {
		err = tx.Trace().Finish(ctx, trace.ID(old.Span), end)
	} else {
		var start trace.Start
		if start, err = s.start(ctx, tx); err == nil {
			var id trace.ID
			id, err = tx.Trace().Record(ctx, start, end)
			rec.Span = uint64(id)
		}
	}
	if err == nil && s.overridden {
		err = step.TakeOverride(ctx, run, s.name)
	}
	if err == nil {
		err = step.Put(ctx, run, s.path, rec, old)
	}
	return err
}

// start is the beginning of the step's span, within that of the step around it.
func (s *scope) start(ctx context.Context, tx *Tx) (trace.Start, error) {
	parent, err := s.parent.spanIn(ctx, tx)
	start := trace.Start{
		Parent: parent, Kind: s.options.kind, Name: bounded(s.name, trace.MaxName), Input: s.input,
		Attributes: map[string]string{
			trace.AttrStepPath: s.path.String(), trace.AttrStepFingerprint: fmt.Sprintf("%x", s.fingerprint),
		},
	}
	if s.began != 0 {
		start.At = time.UnixMilli(s.began)
	}
	return start, err
}

// spanIn returns the step's span, which is begun where something in the step is
// recorded before its end; 0 = there is none around.
func (s *scope) spanIn(ctx context.Context, tx *Tx) (trace.ID, error) {
	switch {
	case s.parent == nil:
		return 0, nil
	case s.kind == 0: // a group
		return s.parent.spanIn(ctx, tx)
	}
	run := (*txFace)(tx)
	rec, err := step.Get(run, s.path)
	if err != nil || rec.Span != 0 {
		return trace.ID(rec.Span), err
	}
	start, err := s.start(ctx, tx)
	if err != nil {
		return 0, err
	}
	id, err := tx.Trace().Start(ctx, start)
	if err != nil {
		return 0, err
	}
	open := step.Record{Status: step.Open, Kind: s.kind, Name: s.name, Fingerprint: s.fingerprint, Span: uint64(id)}
	return id, step.Put(ctx, run, s.path, open, rec)
}

// bounded cuts a text where it would be too long to store.
func bounded(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && text[limit]&0xc0 == 0x80 { // not within a rune
		limit--
	}
	return text[:limit]
}
