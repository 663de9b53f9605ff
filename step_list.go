package inmem

import (
	"context"
	"iter"

	"inmem/step"
	"inmem/trace"
)

// Step is a durable step as it is recorded.
type Step struct {
	Path     string // its place: "3.1" is the first step within the third
	Kind     string // "step", "value", "sleep", "await", "child", "join"
	Name     string
	Status   trace.Status // trace.Open, trace.OK or trace.Failed
	Span     trace.ID     // that has its input and result; 0 = none
	Attempts int          // it took; 0 where none are counted
	// Version is that of the commit that recorded it: a fork of the version before
	// has everything but this step, and what came after.
	Version uint64
}

// Steps returns the steps that are recorded of the run, in the order in which
// they began, all as of one version. The loop ends after an error.
func (r *Run) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		for p, err := range step.List(ctx, (*face)(r)) {
			var rec step.Record
			if err == nil {
				rec, err = step.Get((*face)(r), p)
			}
			s := Step{
				Path: p.String(), Kind: rec.Kind.String(), Name: rec.Name, Span: trace.ID(rec.Span), Attempts: int(rec.Attempts),
				Version: rec.Version, Status: map[step.Status]trace.Status{step.Open: trace.Open, step.Done: trace.OK, step.Failed: trace.Failed}[rec.Status],
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}
