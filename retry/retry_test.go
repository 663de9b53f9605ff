package retry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"inmem/op"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConflictsAreTriedAgain(t *testing.T) {
	for _, lost := range []error{op.ErrConflict, &op.ConflictError{}, fmt.Errorf("so: %w", &op.VersionError{})} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			err := Conflicts(t.Context(), func() error {
				if calls++; calls < 10 {
					return lost
				}
				return nil
			}, op.ErrWrongVersion)
			assert.NoError(t, err)
			assert.Equal(t, 10, calls)
		})
	}
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, begun := 0, time.Now()
		err := Conflicts(t.Context(), func() error { calls++; return &op.ConflictError{Key: fmt.Sprint(calls)} })
		assert.ErrorContains(t, err, fmt.Sprintf("%q", fmt.Sprint(Attempts)), "the last error")
		assert.Equal(t, Attempts, calls)
		assert.Less(t, time.Since(begun), Attempts*maxBackoff)
		assert.Positive(t, time.Since(begun))
	})
}

func TestOtherErrorsAreFinal(t *testing.T) {
	calls := 0
	other := errors.New("other")
	assert.Equal(t, other, Conflicts(t.Context(), func() error { calls++; return other }))
	assert.Equal(t, 1, calls)
	assert.ErrorIs(t, Conflicts(t.Context(), func() error { calls++; return op.ErrWrongVersion }), op.ErrWrongVersion)
	assert.Equal(t, 2, calls)
}

func TestAContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := Conflicts(ctx, func() error {
		if calls++; calls == 5 {
			cancel()
		}
		return op.ErrConflict
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 5, calls)
	assert.ErrorIs(t, Conflicts(ctx, func() error { calls++; return nil }), context.Canceled)
	assert.Equal(t, 5, calls)
}
