package run

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSentinelsThatRefineOthers(t *testing.T) {
	assert.ErrorIs(t, fmt.Errorf("get: %w", ErrDeleted), ErrNotFound)
	assert.NotErrorIs(t, ErrNotFound, ErrDeleted)
	assert.ErrorIs(t, ErrEnded, ErrNotActive)
	assert.NotErrorIs(t, ErrNotActive, ErrEnded)
	assert.EqualError(t, ErrDeleted, "inmem: run not found: it was deleted")
}

func TestStatusError(t *testing.T) {
	err := fmt.Errorf("put: %w", &StatusError{ID: ID{15: 7}, Status: Paused})
	assert.ErrorIs(t, err, ErrNotActive)
	assert.NotErrorIs(t, err, ErrEnded)
	assert.EqualError(t, err, "put: inmem: run is not active: 00000000-0000-0000-0000-000000000007: it is paused")

	for _, s := range []Status{Completed, Failed, Cancelled, Archived} {
		err = &StatusError{Status: s}
		assert.ErrorIs(t, err, ErrNotActive)
		assert.ErrorIs(t, err, ErrEnded)
		assert.EqualError(t, err, "inmem: run is not active: it is "+s.String())
	}
}

func TestTransitionError(t *testing.T) {
	err := fmt.Errorf("end: %w", &TransitionError{ID: ID{15: 7}, From: Paused, To: Failed})
	assert.ErrorIs(t, err, ErrTransition)
	assert.NotErrorIs(t, err, ErrEnded)
	assert.EqualError(t, err, "end: inmem: run cannot change its status so: "+
		"00000000-0000-0000-0000-000000000007: from paused to failed")

	err = Completed.Become(Active)
	assert.ErrorIs(t, err, ErrTransition)
	assert.ErrorIs(t, err, ErrEnded)
	var te *TransitionError
	require.True(t, errors.As(err, &te))
	assert.Equal(t, TransitionError{From: Completed, To: Active}, *te)
}
