package run

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStatusLifecycle(t *testing.T) {
	allowed := map[Status][]Status{
		Active:    {Paused, Completed, Failed, Cancelled, Archived},
		Paused:    {Active, Cancelled, Archived},
		Completed: {Archived},
		Failed:    {Archived},
		Cancelled: {Archived},
	}
	for from := range 256 {
		for to := range 256 {
			from, to := Status(from), Status(to)
			err := from.Become(to)
			if slices.Contains(allowed[from], to) {
				assert.NoError(t, err)
				assert.NotEqual(t, from, to)
				continue
			}
			require.Equal(t, &TransitionError{From: from, To: to}, err)
		}
	}
}

func TestEndedIsForGood(t *testing.T) {
	for from := Active; from.Valid(); from++ {
		for to := Active; to.Valid(); to++ {
			if from.Ended() && from.Become(to) == nil {
				assert.True(t, to.Ended(), "%v to %v", from, to)
			}
		}
	}
}

func TestStatusText(t *testing.T) {
	names := map[Status]string{
		Active: "active", Paused: "paused", Completed: "completed",
		Failed: "failed", Cancelled: "cancelled", Archived: "archived",
	}
	for s, name := range names {
		assert.True(t, s.Valid())
		assert.Equal(t, name, s.String())
		b, err := json.Marshal(s)
		require.NoError(t, err)
		var got Status
		require.NoError(t, json.Unmarshal(b, &got))
		assert.Equal(t, s, got)
	}
	for _, s := range []Status{0, 7, 255} {
		assert.False(t, s.Valid())
		assert.False(t, s.Ended())
		_, err := s.MarshalText()
		assert.ErrorIs(t, err, ErrInvalidStatus)
		_, err = ParseStatus(s.String())
		assert.ErrorIs(t, err, ErrInvalidStatus)
	}
	assert.Equal(t, "status(7)", Status(7).String())

	got := Paused
	for _, text := range []string{"", "Active", "active "} {
		assert.ErrorIs(t, got.UnmarshalText([]byte(text)), ErrInvalidStatus)
	}
	assert.Equal(t, Paused, got)
}
