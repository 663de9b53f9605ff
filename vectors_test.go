package inmem_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/diff"
	"inmem/event"
	"inmem/run"
	"inmem/vector"
)

// vectorsOf is a collection of n random vectors of 16 elements, in one commit.
func fillVectors(t testing.TB, s vector.Store, collection string, n int, seed uint64) {
	t.Helper()
	_, err := s.Create(ctx, collection, vector.Config{Dimension: 16, Metric: vector.Cosine})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(seed, 1))
	list := make([]vector.New, n)
	for i := range list {
		list[i] = vector.New{Key: key(i), Vector: make([]float32, 16), Metadata: fmt.Appendf(nil, `{"n":%d}`, i)}
		for j := range list[i].Vector {
			list[i].Vector[j] = float32(rng.NormFloat64())
		}
	}
	_, err = s.UpsertBatch(ctx, collection, list)
	require.NoError(t, err)
}

var someDirection = []float32{1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8}

func nearestOf(t testing.TB, s vector.Store, collection string, k int) []vector.Hit {
	t.Helper()
	hits, err := s.Search(ctx, collection, someDirection, k, vector.WithVectors())
	require.NoError(t, err)
	return hits
}

// TestVectorsAreOfTheRun: what holds for everything in a run holds for vectors:
// restarts, exports, replays, forks, the past, diffs, stores open for reading.
func TestVectorsAreOfTheRun(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	fillVectors(t, r.Vectors(), "notes", 300, 1)
	first := nearestOf(t, r.Vectors(), "notes", 20)
	require.Len(t, first, 20)
	info, err := r.Info()
	require.NoError(t, err)
	version := info.LastVersion
	for _, h := range first[:5] {
		require.NoError(t, r.Vectors().Delete(ctx, "notes", h.Key))
	}
	_, err = r.Vectors().Upsert(ctx, "notes", first[5].Key, someDirection, nil)
	require.NoError(t, err)
	fillVectors(t, r.Vectors(), "more", 10, 2)
	now := nearestOf(t, r.Vectors(), "notes", 20)
	require.Equal(t, first[5].Key, now[0].Key)
	require.InDelta(t, 1, now[0].Score, 1e-6)

	check := func(r *inmem.Run) {
		t.Helper()
		require.Equal(t, now, nearestOf(t, r.Vectors(), "notes", 20))
		past, err := r.At(ctx, version)
		require.NoError(t, err)
		require.Equal(t, first, nearestOf(t, past.Vectors(), "notes", 20))
		_, err = past.Vectors().Create(ctx, "x", vector.Config{Dimension: 1, Metric: vector.Dot})
		require.ErrorIs(t, err, inmem.ErrReadOnly)
		_, err = past.Vectors().Search(ctx, "more", []float32{1}, 1)
		require.ErrorIs(t, err, vector.ErrNoCollection)
	}
	check(r)
	s.reopen()
	r = s.run(r.ID())
	check(r)
	_, err = s.Verify(ctx, r.ID(), 1)
	require.NoError(t, err)
	other := newStore(t)
	_, err = other.Import(ctx, bytes.NewReader(exported(t, s.DB, r.ID(), nil)))
	require.NoError(t, err)
	check(other.run(r.ID()))

	fork, err := s.Fork(ctx, r.ID(), version, run.Meta{})
	require.NoError(t, err)
	require.Equal(t, first, nearestOf(t, fork.Vectors(), "notes", 20))
	found, err := s.Diff(ctx, inmem.Point{Run: fork.ID()}, inmem.Point{Run: r.ID()})
	require.NoError(t, err)
	require.Len(t, found.Collections, 1)
	require.Equal(t, diff.Added, found.Collections[0].Change)
	counts := map[diff.Change]int{}
	for _, v := range found.Vectors {
		counts[v.Change]++
	}
	require.Equal(t, map[diff.Change]int{diff.Added: 10, diff.Removed: 5, diff.Changed: 1}, counts)
	found, err = s.Diff(ctx, inmem.Point{Run: fork.ID()}, inmem.Point{Run: r.ID(), Version: version})
	require.NoError(t, err)
	require.True(t, found.Equal())

	reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	same, err := reader.Run(r.ID())
	require.NoError(t, err)
	check(same)
	require.NoError(t, reader.Close())
}

// TestVectorsInTransactions: vectors change together with keys and events, and a
// search is a read like any other.
func TestVectorsInTransactions(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	fillVectors(t, r.Vectors(), "notes", 50, 1)
	best := nearestOf(t, r.Vectors(), "notes", 1)[0]
	failed := errors.New("no")
	change := func(tx *inmem.Tx) error {
		if _, err := tx.KV().Put(ctx, "plan", []byte("x")); err != nil {
			return err
		}
		if _, err := tx.Events().Append(ctx, event.Main, event.New{Type: "noted"}); err != nil {
			return err
		}
		if _, err := tx.Vectors().Upsert(ctx, "notes", "exact", someDirection, nil); err != nil {
			return err
		}
		require.Equal(t, "exact", nearestOf(t, tx.Vectors(), "notes", 1)[0].Key)
		return tx.Vectors().Delete(ctx, "notes", best.Key)
	}
	require.ErrorIs(t, r.Update(ctx, func(tx *inmem.Tx) error { return errors.Join(change(tx), failed) }), failed)
	require.Equal(t, best, nearestOf(t, r.Vectors(), "notes", 1)[0])
	require.NoError(t, r.Update(ctx, change))
	hits := nearestOf(t, r.Vectors(), "notes", 50)
	require.Equal(t, "exact", hits[0].Key)
	require.Len(t, hits, 50)
	info, err := r.Info()
	require.NoError(t, err)
	require.Equal(t, info.LastVersion, hits[0].Version)

	// What was searched must not have changed; what was only written may.
	search, err := r.Begin(ctx)
	require.NoError(t, err)
	nearestOf(t, search.Vectors(), "notes", 1)
	_, err = search.KV().Put(ctx, "found", nil)
	require.NoError(t, err)
	blind, err := r.Begin(ctx)
	require.NoError(t, err)
	_, err = blind.Vectors().Upsert(ctx, "notes", "blind", someDirection, nil)
	require.NoError(t, err)
	_, err = r.Vectors().Upsert(ctx, "notes", "new", someDirection, nil)
	require.NoError(t, err)
	_, err = search.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrConflict)
	_, err = blind.Commit(ctx)
	require.NoError(t, err)

	// The collection was dropped and made anew, with other vectors.
	blind, err = r.Begin(ctx)
	require.NoError(t, err)
	_, err = blind.Vectors().Upsert(ctx, "notes", "late", someDirection, nil)
	require.NoError(t, err)
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		require.NoError(t, tx.Vectors().Drop(ctx, "notes"))
		_, err := tx.Vectors().Create(ctx, "notes", vector.Config{Dimension: 2, Metric: vector.Dot})
		require.NoError(t, err)
		_, err = tx.Vectors().Upsert(ctx, "notes", "a", []float32{1, 2}, nil)
		require.NoError(t, err)
		hits, err := tx.Vectors().Search(ctx, "notes", []float32{1, 1}, 5)
		require.NoError(t, err)
		require.Len(t, hits, 1)
		return err
	}))
	_, err = blind.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrConflict)
	n, err := r.Vectors().Len(ctx, "notes")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// TestDropBesideWriters: whoever upserts while a collection is dropped and made
// again, no vector is left without its collection or with another dimension.
func TestDropBesideWriters(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	var done atomic.Bool
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := 0; !done.Load(); n++ {
				dimension := 1 + n%2
				_, err := r.Vectors().Upsert(ctx, "notes", fmt.Sprint(i, n%10), make([]float32, dimension), nil)
				if !isAny(err, vector.ErrNoCollection, vector.ErrDimension, inmem.ErrConflict) && !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	for i := range 200 {
		_, err := r.Vectors().Create(ctx, "notes", vector.Config{Dimension: 1 + i%2, Metric: vector.Dot})
		require.NoError(t, err)
		for it, err := range r.Vectors().List(ctx, "notes", "") {
			require.NoError(t, err)
			require.Len(t, it.Vector, 1+i%2)
		}
		if err := r.Vectors().Drop(ctx, "notes"); err != nil {
			require.ErrorIs(t, err, inmem.ErrConflict)
			done.Store(true) // the writers were too fast: without them it can be dropped
			all.Wait()
			require.NoError(t, r.Vectors().Drop(ctx, "notes"))
			break
		}
		for c, err := range r.Contents(ctx, inmem.TagVector) {
			require.NoError(t, err)
			require.Fail(t, "it is left", "%q", c.Key)
		}
	}
	done.Store(true)
	all.Wait()
}

// TestSearchesBesideAWriter: each search sees one version, whole, while others
// write and search.
func TestSearchesBesideAWriter(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	_, err := r.Vectors().Create(ctx, "notes", vector.Config{Dimension: 2, Metric: vector.Euclidean})
	require.NoError(t, err)
	var done atomic.Bool
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for !done.Load() {
				hits, err := r.Vectors().Search(ctx, "notes", []float32{0, 0}, 100, vector.WithVectors())
				if !assert.NoError(t, err) {
					return
				}
				for _, h := range hits {
					if !assert.Equal(t, hits[0].Version, h.Version) || !assert.Equal(t, hits[0].Vector[0], h.Vector[0]) {
						return
					}
				}
			}
		})
	}
	for round := range 300 {
		list := make([]vector.New, 40)
		for i := range list {
			list[i] = vector.New{Key: key(i), Vector: []float32{float32(round), float32(i)}}
		}
		_, err := r.Vectors().UpsertBatch(ctx, "notes", list)
		require.NoError(t, err)
	}
	done.Store(true)
	all.Wait()
}

// TestVectorMemory: copies of vectors count, are bounded, and go with their run.
func TestVectorMemory(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.VectorMemory = 100 << 10 })
	var runs []*inmem.Run
	for range 10 {
		r := s.begin()
		fillVectors(t, r.Vectors(), "notes", 300, 1)
		nearestOf(t, r.Vectors(), "notes", 1)
		runs = append(runs, r)
		used := s.Metrics().Memory.Vectors
		require.Positive(t, used)
		require.LessOrEqual(t, used, int64(100<<10))
	}
	fillVectors(t, runs[0].Vectors(), "too many", 3000, 2)
	require.Len(t, nearestOf(t, runs[0].Vectors(), "too many", 7), 7, "what does not fit is searched all the same")
	require.LessOrEqual(t, s.Metrics().Memory.Vectors, int64(100<<10))
	for _, r := range runs {
		require.NoError(t, s.DeleteRun(ctx, r.ID()))
	}
	require.Zero(t, s.Metrics().Memory.Vectors)
}

// TestVectorMemoryWithinTheBudget: copies are part of the budget, leave with their
// runs, and make room for what is written.
func TestVectorMemoryWithinTheBudget(t *testing.T) {
	const budget = 2 << 20
	s := newStore(t, withBudget(budget))
	r := s.begin()
	fillVectors(t, r.Vectors(), "notes", 1000, 1)
	want := nearestOf(t, r.Vectors(), "notes", 10)
	before := s.Metrics().Memory
	require.Positive(t, before.Vectors)
	require.Greater(t, before.Used, before.Vectors)
	require.NoError(t, s.DB.Checkpoint(ctx))
	fillBudget(t, s, 100)
	require.LessOrEqual(t, s.Metrics().Memory.Used, int64(budget))
	require.Zero(t, s.Metrics().Memory.Vectors, "the run has left")
	require.Equal(t, want, nearestOf(t, r.Vectors(), "notes", 10))

	// A run that cannot leave takes what there is: the copies go.
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback()
	for i := 0; s.Metrics().Memory.Vectors > 0; i++ {
		_, err := r.KV().Put(ctx, key(i), big(10_000))
		require.NoError(t, err, "there is room where the copies are")
	}
}

// TestCloseWhileAnIndexIsMade: nobody waits for an index, Close neither.
func TestCloseWhileAnIndexIsMade(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	fillVectors(t, r.Vectors(), "notes", 20_000, 1)
	exact := nearestOf(t, r.Vectors(), "notes", 5)
	hits, err := r.Vectors().Search(ctx, "notes", someDirection, 5, vector.Approximate(0), vector.WithVectors())
	require.NoError(t, err)
	require.Equal(t, exact, hits, "there is no index yet")
	s.reopen()
	prepared := make(chan error, 1)
	r = s.run(r.ID())
	go func() { prepared <- r.Vectors().Prepare(ctx, "notes", vector.Approximate(0)) }()
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	if err := <-prepared; err != nil {
		require.ErrorIs(t, err, inmem.ErrRunDeleted)
	}
	require.Zero(t, s.Metrics().Memory.Vectors)
}
