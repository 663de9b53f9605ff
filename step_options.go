package inmem

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"inmem/trace"
)

// StepOption changes how a step is carried out.
type StepOption func(*stepOptions)

type stepOptions struct {
	retry   RetryPolicy
	kind    trace.Kind
	timeout time.Duration // of an Await; 0 = none
}

func gatherSteps(opts []StepOption) stepOptions {
	o := stepOptions{kind: trace.Custom}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// As says what kind of span the step is: trace.ToolCall, trace.ModelCall and so
// on; trace.Custom where it is not said.
func As(kind trace.Kind) StepOption { return func(o *stepOptions) { o.kind = kind } }

// Retry lets a step whose fn fails be tried again, by a policy. Without it an
// error is final.
func Retry(p RetryPolicy) StepOption { return func(o *stepOptions) { o.retry = p } }

// RetryPolicy says how often a step is tried, and after what pauses. The pauses
// grow by Factor and vary by a fifth. They are not recorded: a process that dies
// in one begins with the first attempt.
type RetryPolicy struct {
	Attempts int           // at most; 0 and 1 = one
	First    time.Duration // pause after the first attempt; 0 = 100 ms
	Max      time.Duration // longest pause; 0 = one minute
	Factor   float64       // below 1 = 2
	// Final reports whether an error is not worth another attempt; nil = none is,
	// but for what Permanent made.
	Final func(error) bool
}

// again reports whether a step that failed is to be tried once more.
func (p *RetryPolicy) again(attempts int, err error) bool {
	var permanent *permanentError
	return attempts < p.Attempts && !errors.As(err, &permanent) && (p.Final == nil || !p.Final(err))
}

// pause returns how long to wait after so many attempts.
func (p *RetryPolicy) pause(attempts int) time.Duration {
	first, longest, factor := p.First, p.Max, p.Factor
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if longest <= 0 {
		longest = time.Minute
	}
	if factor < 1 {
		factor = 2
	}
	d := min(float64(first)*math.Pow(factor, float64(attempts-1)), float64(longest))
	return time.Duration(d * (0.9 + 0.2*rand.Float64()))
}

// Permanent makes an error of a step final, whatever its policy says.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// wait waits for so long, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
