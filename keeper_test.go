package inmem_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

// TestEndedRunsGoInTheBackground: also in a store in which nothing else happens,
// and with all that they took.
func TestEndedRunsGoInTheBackground(t *testing.T) {
	s := newStore(t, small, keeps(inmem.Retention{Limits: inmem.RetentionLimits{EndedFor: time.Hour}}), func(o *inmem.Options) {
		o.PruneInterval = 2 * time.Millisecond
	})
	kept := s.begin()
	digests := filled(t, kept, 10)
	for range 10 {
		r := s.begin()
		filled(t, r, 30)
		require.NoError(t, r.End(ctx, run.Completed))
	}
	require.NoError(t, s.Flush(ctx))
	before, _ := s.logBytes()
	require.Greater(t, before, 80_000)
	s.wall.move(2 * time.Hour)
	soon(t, "their history is gone", func() bool {
		now, _ := s.logBytes()
		return now < before/4
	})
	runs := 0
	for info, err := range s.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		require.Equal(t, kept.ID(), info.ID)
		runs++
	}
	require.Equal(t, 1, runs)
	for v, d := range digests {
		past, err := kept.At(ctx, v)
		require.NoError(t, err)
		require.Equal(t, d, past.Digest())
	}
}
