package inmem_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

func withBudget(bytes int64) func(*inmem.Options) {
	return func(o *inmem.Options) { o.MemoryBudget, o.Shards = bytes, 2 }
}

// fillBudget begins n runs with some 50 KB each, and ends every second one.
func fillBudget(t testing.TB, s *store, n int) (ids []run.ID) {
	for i := range n {
		r := s.begin(run.Meta{ID: someNamespace.DeriveID(fmt.Sprint(i)), Name: fmt.Sprint(i)})
		for k := range 50 {
			put(t, r, key(k), string(big(1000+i+k)))
		}
		if i%2 == 0 {
			require.NoError(t, r.End(ctx, run.Completed))
		}
		ids = append(ids, r.ID())
	}
	return ids
}

// TestMemoryBudget puts ten times as much into a store as it may keep in memory.
func TestMemoryBudget(t *testing.T) {
	const budget = 2 << 20
	s := newStore(t, withBudget(budget))
	ids := fillBudget(t, s, 400)
	require.LessOrEqual(t, s.Metrics().Memory.Used, int64(budget))
	require.Positive(t, s.Metrics().Memory.Evictions)
	require.Zero(t, s.Metrics().Memory.Refusals)
	rng := rand.New(rand.NewPCG(1, 2))
	reads := 2000
	if raceEnabled {
		reads = 400 // which is slow there
	}
	for range reads {
		i := rng.IntN(len(ids))
		require.Equal(t, string(big(1000+i+7)), get(t, s.run(ids[i]), key(7)))
		if i%2 == 1 && rng.IntN(4) == 0 {
			put(t, s.run(ids[i]), "more", string(big(rng.IntN(2000))))
		}
		require.LessOrEqual(t, s.Metrics().Memory.Used, int64(budget+200<<10), "what is being loaded comes on top")
	}
	s.reopen()
	require.LessOrEqual(t, s.Metrics().Memory.Used, int64(budget+200<<10))
}

// TestMemoryBudgetPrefersTheEnded: ended runs leave before others, and what is
// used again and again stays.
func TestMemoryBudgetPrefersTheEnded(t *testing.T) {
	s := newStore(t, withBudget(4<<20))
	ids := fillBudget(t, s, 60)
	require.NoError(t, s.DB.Checkpoint(ctx))
	hot := ids[0] // it has ended, but it is in use
	more := 0
	for runs := int64(0); runs < 20; runs, _ = s.cold() {
		get(t, s.run(hot), key(1))
		r := s.begin()
		for k := range 50 {
			put(t, r, key(k), string(big(1000)))
		}
		more++
		require.Less(t, more, 200)
	}
	_, before := s.cold()
	get(t, s.run(hot), key(1))
	_, after := s.cold()
	require.Equal(t, before, after, "the hot run is there")
	for i := 1; i < 60; i += 2 { // the active ones
		get(t, s.run(ids[i]), key(1))
	}
	_, after = s.cold()
	require.LessOrEqual(t, after-before, uint64(20), "most of the active ones, too")
}

// TestMemoryLimit: a run that is larger than the budget can be read, and what
// makes it smaller works, but it cannot grow.
func TestMemoryLimit(t *testing.T) {
	const budget = 1 << 20
	s := newStore(t, withBudget(budget))
	other := s.begin()
	put(t, other, "k", "v")
	r := s.begin()
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = r.KV().Put(ctx, key(n), big(50_000))
	}
	var limit *inmem.MemoryLimitError
	require.ErrorAs(t, err, &limit)
	require.ErrorIs(t, err, inmem.ErrMemoryLimit)
	require.EqualValues(t, budget, limit.Budget)
	require.Greater(t, limit.Used+limit.Needed, limit.Budget)
	require.Greater(t, limit.Needed, int64(50_000))
	require.Positive(t, s.Metrics().Memory.Refusals)
	n--
	for k := range n {
		require.Equal(t, string(big(50_000)), get(t, r, key(k)))
	}
	require.Equal(t, "-", get(t, r, key(n)), "nothing of it was done")
	require.Equal(t, "v", get(t, other, "k"))

	err = r.Update(ctx, func(tx *inmem.Tx) error { _, err := tx.KV().Put(ctx, "x", big(200_000)); return err })
	require.ErrorIs(t, err, inmem.ErrMemoryLimit)
	for k := range n {
		_, err := r.KV().Delete(ctx, key(k))
		require.NoError(t, err)
	}
	put(t, r, "again", string(big(50_000)))
	require.NoError(t, r.End(ctx, run.Completed))
	require.NoError(t, s.DeleteRun(ctx, other.ID()))
	s.healthy()
}

// TestMemoryOfAnOpenTransaction: its run stays.
func TestMemoryOfAnOpenTransaction(t *testing.T) {
	s := newStore(t, withBudget(2<<20))
	ids := fillBudget(t, s, 10)
	tx, err := s.run(ids[0]).BeginView(ctx)
	require.NoError(t, err)
	for i := range 200 {
		r := s.begin()
		put(t, r, "k", string(big(40_000)))
		if i%2 == 0 {
			require.NoError(t, r.End(ctx, run.Completed))
		}
	}
	_, before := s.cold()
	get(t, s.run(ids[0]), key(1))
	_, after := s.cold()
	require.Equal(t, before, after)
	tx.Rollback()
}

// TestMemoryBudgetUnderLoad has everything at once, and a budget for a part of it.
func TestMemoryBudgetUnderLoad(t *testing.T) {
	const budget = 2 << 20
	s := newStore(t, withBudget(budget), func(o *inmem.Options) { o.CheckpointBytes = 1 << 20 })
	ids := fillBudget(t, s, 100)
	var all sync.WaitGroup
	last := make([]int, len(ids)) // what the writer of a run wrote last
	for w := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for n := range 400 {
				i := rng.IntN(len(ids)/4)*4 + w
				r, err := s.Run(ids[i])
				if !assert.NoError(t, err) {
					return
				}
				b, err := r.KV().Get(ctx, key(7))
				assert.NoError(t, err)
				assert.Equal(t, big(1000+i+7), b)
				if i%2 == 0 {
					continue
				}
				switch rng.IntN(3) {
				case 0:
					_, err = r.KV().Put(ctx, "last", fmt.Append(nil, n))
					last[i] = n
				case 1:
					err = r.Update(ctx, func(tx *inmem.Tx) error {
						if _, err := tx.KV().Get(ctx, "last"); err != nil && !errors.Is(err, inmem.ErrNotFound) {
							return err
						}
						_, err := tx.KV().Put(ctx, "last", fmt.Append(nil, n))
						return err
					})
					last[i] = n
				case 2:
					for _, err := range r.KV().List(ctx, "", kv.Limit(5)) {
						assert.NoError(t, err)
					}
				}
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	for i, n := range last {
		if n > 0 {
			require.Equal(t, fmt.Sprint(n), get(t, s.run(ids[i]), "last"))
		}
	}
	require.Positive(t, s.Metrics().Memory.Evictions)
	s.healthy()
}

// TestMemoryAccounting holds what the store says it takes against what it takes.
func TestMemoryAccounting(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	// What others allocate between the collection and the look is none of it: the
	// least of some looks is nearest to what is there.
	heap := func() int64 {
		least := uint64(math.MaxUint64)
		for range 4 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			least = min(least, m.HeapAlloc)
		}
		return int64(least)
	}
	for name, shape := range map[string]struct{ runs, keys, size int }{
		"runs of 100 keys": {1000, 100, 256},
		"small runs":       {20_000, 3, 50},
		"empty runs":       {30_000, 0, 0},
		"large values":     {20, 5, 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := &inmem.Options{Shards: 2}
			db, err := inmem.Open(dir, opts)
			require.NoError(t, err)
			for range shape.runs {
				r, err := db.BeginRun(ctx, run.Meta{Name: "a run", Namespace: run.Namespace{Tenant: "t", Agent: "a"}})
				require.NoError(t, err)
				for k := range shape.keys {
					_, err := r.KV().Put(ctx, key(k), big(shape.size))
					require.NoError(t, err)
				}
				require.NoError(t, r.End(ctx, run.Completed))
			}
			require.NoError(t, db.Checkpoint(ctx))
			require.NoError(t, db.Close())
			db = nil

			before := heap()
			db, err = inmem.Open(dir, opts)
			require.NoError(t, err)
			within := func(what string) {
				said, is := db.Metrics().Memory.Used, heap()-before
				t.Logf("%s: %d bytes said, %d are: %.3f", what, said, is, float64(said)/float64(is))
				require.InDelta(t, is, said, float64(is)/10+100_000, what)
			}
			within("cold")
			for _, err := range db.Runs(ctx, run.Filter{Limit: 1}) {
				require.NoError(t, err)
			}
			within("listed")
			require.NoError(t, db.Warm(ctx, run.Filter{}))
			within("warm")
			require.NoError(t, db.Close())
		})
	}
}
