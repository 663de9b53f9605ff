// Package retry tries what lost against somebody else again: a conflict means
// that another was first, so with patience everybody gets their turn.
//
// It knows no run and no shard, only which errors mean that somebody was first.
//
// Invariant: what fails for another reason is not tried again.
//
// retry carries no compatibility promise; package inmem does.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"inmem/op"
)

// The bounds of the patience.
const (
	Attempts     = 64
	firstBackoff = 25 * time.Microsecond
	maxBackoff   = 20 * time.Millisecond
)

// Conflicts calls fn until it does not fail with op.ErrConflict, or one of the
// others given, up to Attempts times, with growing pauses of random length from
// the third call on, and returns its last error. Once ctx has ended fn is not
// called again, and the error is ctx.Err().
func Conflicts(ctx context.Context, fn func() error, others ...error) error {
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := fn()
		if !lost(err, others) || attempt == Attempts {
			return err
		}
		if attempt > 1 { // whoever was first the first time is done by now
			pause(ctx, rand.N(min(firstBackoff<<min(attempt, 16), maxBackoff))+1)
		}
	}
}

func lost(err error, others []error) bool {
	is := func(target error) bool { return errors.Is(err, target) }
	return is(op.ErrConflict) || slices.ContainsFunc(others, is)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
