package inmem_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
)

func TestHistory(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 4 << 10; o.Shards = 1 })
	r, noise := s.begin(), s.begin()
	want := []string{""}
	check := func(from int) {
		t.Helper()
		commits := history(t, s.run(r.ID()), uint64(from))
		require.Len(t, commits, len(want)-max(from-1, 0))
		for i, c := range commits {
			require.Equal(t, uint64(max(from, 1)+i), c.Version)
			require.Equal(t, r.ID(), c.Run)
			if c.Version > 1 {
				require.Equal(t, []inmem.Op{{Kind: op.Put, Tag: op.KV, Key: "k", Value: []byte(want[c.Version-1])}}, c.Ops)
			}
		}
	}
	for round := range 4 {
		r, noise = s.run(r.ID()), s.run(noise.ID())
		for i := range 100 {
			v := fmt.Sprint(round, "/", i)
			require.Equal(t, uint64(len(want)+1), put(t, r, "k", v))
			want = append(want, v)
			put(t, noise, key(i), "noise")
		}
		check(0)
		check(1)
		check(50)
		check(len(want))
		if round%2 == 0 {
			require.NoError(t, s.DB.Checkpoint(ctx))
			check(0)
		}
		s.reopen()
		check(0)
		check(77)
	}
	assert.Greater(t, len(s.mem.Files()), 10, "several segments")
	assert.Empty(t, history(t, s.run(r.ID()), uint64(len(want)+1)))
	n := 0
	for c, err := range s.run(r.ID()).History(ctx, 3) {
		require.NoError(t, err)
		if n++; c.Version == 5 {
			break
		}
	}
	assert.Equal(t, 3, n)
}

// History shows what was there when its loop began, while the log grows,
// rotates and is checkpointed.
func TestHistoryWhileWritersRun(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 8 << 10; o.Shards = 1 })
	r := s.begin()
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := r.KV().Put(ctx, key(i%10), fmt.Append(nil, i))
			assert.NoError(t, err)
			if i%200 == 0 {
				assert.NoError(t, s.DB.Checkpoint(ctx))
			}
		}
	})
	for range 30 {
		_, version, err := r.Digest()
		require.NoError(t, err)
		commits := history(t, r, 0)
		require.GreaterOrEqual(t, uint64(len(commits)), version, "all that was acknowledged before")
		for i, c := range commits {
			require.Equal(t, uint64(i+1), c.Version)
		}
	}
	close(stop)
	background.Wait()
}

func TestHistoryOfADeletedRun(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	for i := range 10 {
		put(t, r, key(i), "v")
	}
	var seen []uint64
	for c, err := range r.History(ctx, 0) {
		require.NoError(t, err)
		seen = append(seen, c.Version)
		if c.Version == 5 {
			require.NoError(t, s.DeleteRun(ctx, r.ID()))
		}
	}
	assert.True(t, slices.IsSorted(seen) && len(seen) == 11, "a loop that has begun goes on")
	for _, err := range r.History(ctx, 0) {
		assert.ErrorIs(t, err, inmem.ErrRunDeleted)
	}
}
