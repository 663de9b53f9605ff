package inmem_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

// figures are what a store says of its runs.
func (s *store) figures() (runs, cold, keys int64) {
	for _, m := range s.Metrics().Shards {
		runs, cold, keys = runs+m.Runs, cold+m.ColdRuns, keys+m.Keys
	}
	return runs, cold, keys
}

// TestDeletedAtRest deletes runs that nobody has loaded while others look for them
// and checkpoints are taken: a run that is gone never comes back, and the figures
// are right whatever was loaded in between.
func TestDeletedAtRest(t *testing.T) {
	s := newStore(t)
	var ids []run.ID
	for range 300 {
		r := s.begin()
		put(t, r, "k", "v")
		ids = append(ids, r.ID())
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	require.NoError(t, s.Close())
	s.open()
	runs, cold, keys := s.figures()
	require.Equal(t, []int64{300, 300, 600}, []int64{runs, cold, keys})

	var deleted sync.Map
	var all sync.WaitGroup
	for w := range 2 {
		all.Go(func() {
			for i := w; i < len(ids); i += 2 {
				if i%10 == 0 {
					assert.NoError(t, s.DB.Checkpoint(ctx))
				}
				assert.NoError(t, s.DeleteRun(ctx, ids[i]))
				deleted.Store(ids[i], true)
			}
		})
		all.Go(func() {
			for n := range 4 * len(ids) {
				id := ids[(n*7+w)%len(ids)]
				_, gone := deleted.Load(id)
				r, err := s.Run(id)
				if gone {
					assert.ErrorIs(t, err, inmem.ErrRunNotFound)
				}
				if err != nil || n%3 > 0 {
					continue
				}
				if _, err := r.KV().Get(ctx, "k"); gone || err != nil && !errors.Is(err, inmem.ErrRunNotFound) {
					assert.ErrorIs(t, err, inmem.ErrRunNotFound)
				}
			}
		})
		all.Go(func() {
			for range 20 {
				for info, err := range s.DB.Runs(ctx, run.Filter{}) {
					assert.NoError(t, err)
					assert.NotNil(t, info)
				}
			}
		})
	}
	all.Wait()
	for range 2 {
		for _, id := range ids {
			_, err := s.Run(id)
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
		}
		for info := range s.DB.Runs(ctx, run.Filter{}) {
			t.Fatal(info)
		}
		runs, cold, keys = s.figures()
		require.Equal(t, []int64{0, 0, 0}, []int64{runs, cold, keys})
		require.NoError(t, s.DB.Checkpoint(ctx))
	}
	s.reopen()
	runs, cold, keys = s.figures()
	require.Equal(t, []int64{0, 0, 0}, []int64{runs, cold, keys})
}
