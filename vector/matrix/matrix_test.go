package matrix

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
)

func TestMetrics(t *testing.T) {
	q, v := []float32{3, 4}, []float32{4, 3}
	require.Equal(t, 24.0/25, Cosine.Score(q, v))
	require.Equal(t, 24.0, Dot.Score(q, v))
	require.Equal(t, -math.Sqrt2, Euclidean.Score(q, v))
	require.False(t, math.Signbit(Euclidean.Score(q, q)))
	require.Equal(t, "cosine dot euclidean metric(4)", fmt.Sprint(Cosine, " ", Dot, " ", Euclidean, " ", Metric(4)))
	require.False(t, Metric(0).Valid())
}

// TestRowsAreKeptUpToDate: records are read once, and after that only what was
// changed; every version is searched as it is.
func TestRowsAreKeptUpToDate(t *testing.T) {
	w := newWorld(t, 1<<20, Euclidean, 1)
	q := Query{Vector: []float32{0}, K: 9}
	for i := range 5 {
		w.put(fmt.Sprint("k", i), float32(i+1))
	}
	old := w.now
	require.Equal(t, "k0 k1 k2 k3 k4", w.keys(w.now, q))
	require.Equal(t, 1, w.scans)
	require.Equal(t, w.taken, w.cache.Used())
	require.Equal(t, "k4 k0 k1 k2 k3", w.keys(w.put("k4", 0), q))
	require.Equal(t, "k4 k0 k2 k3", w.keys(w.delete("k1"), q))
	other := w.change(func(map[string]op.Item) {})
	require.Equal(t, "k4 k0 k2 k3", w.keys(other, q), "nothing was changed")
	require.Equal(t, "k0 k1 k2 k3 k4", w.keys(old, q), "an older version")
	require.Equal(t, "k4 k0 k2 k3", w.keys(w.now, q))
	require.Equal(t, 1, w.scans, "the records were read once")

	own := map[string]*op.Item{"v/k0": nil, "v/new": {Value: bytesOf([]float32{0.5}), Version: op.Uncommitted}}
	require.Equal(t, "k4 new k2 k3", w.keys(&overlay{w.now, own}, q))
	require.Equal(t, "new k1 k2 k3 k4", w.keys(&overlay{old, own}, q))
	require.Equal(t, 1, w.scans)
	require.Equal(t, "k4 k0 k2 k3", w.keys(plainView{w.now}, q))
	require.Equal(t, 2, w.scans, "what cannot be compared is read")

	// A collection of the same name that was made later, and what was before.
	w.of.Made = w.now.version + 1
	w.change(func(items map[string]op.Item) { clear(items) })
	require.Equal(t, "a", w.keys(w.put("a", 1), q))
	w.of.Made = 1
	require.Equal(t, "k0 k1 k2 k3 k4", w.keys(old, q))

	// One that a transaction has made is not kept.
	w.of.Made = op.Uncommitted
	scans := w.scans
	require.Equal(t, "a new", w.keys(&overlay{w.now, own}, Query{Vector: []float32{2}, K: 9}))
	require.Equal(t, scans+1, w.scans)
}

// TestPast: a search of the past uses what is there, and keeps nothing.
func TestPast(t *testing.T) {
	w := newWorld(t, 1<<20, Euclidean, 1)
	old := w.put("a", 1)
	w.put("b", 2)
	q := Query{Vector: []float32{0}, K: 9}
	past := w.cache.Past(w.id)
	search := func(v *view, want ...string) {
		t.Helper()
		hits, err := past.Search(ctx, v, &w.of, &q)
		require.NoError(t, err)
		require.Len(t, hits, len(want))
		for i := range want {
			require.Equal(t, want[i], hits[i].Key)
		}
	}
	search(old, "a")
	require.Zero(t, w.cache.Used())
	require.Equal(t, "a b", w.keys(w.now, q))
	scans := w.scans
	search(old, "a")
	search(w.now, "a", "b")
	later := w.put("c", 3)
	search(later, "a", "b", "c")
	require.Equal(t, scans, w.scans)
	w.of.Made = 2
	search(later, "a", "b", "c")
	require.Equal(t, scans+1, w.scans, "what is kept is of another collection")
}

// TestManyChanges: rows that are gone are not kept for ever, and old versions that
// have little in common with what is kept are read anew.
func TestManyChanges(t *testing.T) {
	for _, m := range []Metric{Cosine, Dot, Euclidean} {
		const dimension, keys = 3, 400
		w := newWorld(t, 64<<20, m, dimension)
		rng := rand.New(rand.NewPCG(uint64(m), 1))
		random := func() []float32 { return []float32{rng.Float32() - 0.5, rng.Float32(), float32(rng.IntN(3))} }
		var old *view
		for round := range 40 {
			w.change(func(items map[string]op.Item) {
				for range 100 {
					key := fmt.Sprintf("v/%03d", rng.IntN(keys))
					if rng.IntN(4) == 0 {
						delete(items, key)
					} else {
						items[key] = w.item(random()...)
					}
				}
			})
			q := Query{Vector: random(), K: 1 + rng.IntN(30), Workers: rng.IntN(4)}
			want := w.keys(plainView{w.now}, q)
			require.Equal(t, want, w.keys(w.now, q))
			if round == 0 {
				old = w.now
			}
		}
		e := w.cache.entry(w.id, "c", false)
		rows := 0
		for i := range e.rows.parts {
			rows += e.rows.parts[i].n
		}
		require.LessOrEqual(t, rows, keys+keys/2+maxRows, "it was compacted")
		q := Query{Vector: random(), K: 10}
		require.Equal(t, w.keys(plainView{old}, q), w.keys(old, q))
	}
}

// TestEqualScores: where all are equally near the keys decide.
func TestEqualScores(t *testing.T) {
	for _, m := range []Metric{Cosine, Dot, Euclidean} {
		w := newWorld(t, 64<<20, m, 2)
		w.change(func(items map[string]op.Item) {
			for i := range 5000 {
				items[fmt.Sprintf("v/%04d", (i*7)%5000)] = w.item(1, 1)
			}
		})
		require.Equal(t, "0000 0001 0002", w.keys(w.now, Query{Vector: []float32{1, 2}, K: 3}))
		require.Equal(t, "0000 0001 0002", w.keys(w.now, Query{Vector: []float32{1, 2}, K: 3, Workers: 2}))
	}
	w := newWorld(t, 1<<20, Dot, 2)
	w.put("b", 1, 1)
	require.Equal(t, "a b", w.keys(w.put("a", -1, 0), Query{Vector: []float32{0, 0}, K: 3}), "zero is as near to everything")
}

// TestExtremes: vectors for which float32 has no scores are compared all the same.
func TestExtremes(t *testing.T) {
	const huge, tiny = 3e38, 1e-45
	for _, m := range []Metric{Cosine, Dot, Euclidean} {
		w := newWorld(t, 1<<20, m, 2)
		vectors := [][]float32{{huge, huge}, {huge, -huge}, {-huge, 1}, {tiny, 0}, {tiny, tiny}, {1, 1}, {1e-20, 1e-20}, {1e20, 1}}
		for i, v := range vectors {
			w.put(fmt.Sprint(i), v...)
		}
		for _, q := range vectors {
			for k := range 9 {
				query := Query{Vector: q, K: k + 1}
				want, err := Set{}.Search(ctx, w.now, &w.of, &query)
				require.NoError(t, err)
				got, err := w.set().Search(ctx, w.now, &w.of, &query)
				require.NoError(t, err)
				require.Equal(t, want, got)
				for _, h := range got {
					require.Equal(t, m.Score(q, vectors[h.Key[0]-'0']), h.Score)
				}
			}
		}
	}
}

// TestFiltersAreAskedLittle: and in any case they get the item that belongs to the
// key.
func TestFiltersAreAskedLittle(t *testing.T) {
	w := newWorld(t, 64<<20, Euclidean, 1)
	const n = 20_000
	rng := rand.New(rand.NewPCG(1, 2))
	order := rng.Perm(n)
	w.change(func(items map[string]op.Item) {
		for i, key := range order {
			items[fmt.Sprintf("v/%05d", key)] = w.item(float32(i))
		}
	})
	asked := 0
	q := Query{Vector: []float32{0}, K: 5, Workers: 2, Accept: func(key string, it op.Item) (bool, error) {
		asked++
		require.Equal(t, w.now.items["v/"+key], it)
		return key[4]%2 == 0, nil
	}}
	got := w.keys(w.now, q)
	require.Less(t, asked, n/10)
	require.Equal(t, w.keys(plainView{w.now}, q), got)
	failed := errors.New("no")
	for _, workers := range []int{1, 2} {
		q := Query{Vector: []float32{0}, K: 5, Workers: workers, Accept: func(string, op.Item) (bool, error) { return false, failed }}
		_, err := w.set().Search(ctx, w.now, &w.of, &q)
		require.ErrorIs(t, err, failed)
		_, err = Set{}.Search(ctx, w.now, &w.of, &q)
		require.ErrorIs(t, err, failed)
	}
}

// TestCacheIsBounded: what was not searched for longest goes first, and what does
// not fit is read each time.
func TestCacheIsBounded(t *testing.T) {
	w := newWorld(t, 20_000, Euclidean, 100)
	w.change(func(items map[string]op.Item) {
		for i := range 20 {
			items[fmt.Sprintf("v/%02d", i)] = w.item(make([]float32, 100)...)
		}
	})
	q := Query{Vector: make([]float32, 100), K: 1}
	search := func(id byte) {
		t.Helper()
		w.id = run.ID{id}
		require.Equal(t, "00", w.keys(w.now, q))
		require.LessOrEqual(t, w.cache.Used(), int64(20_000))
		require.Equal(t, w.taken, w.cache.Used())
	}
	search(1)
	require.Positive(t, w.cache.Used())
	search(2)
	scans := w.scans
	search(2)
	require.Equal(t, scans, w.scans)
	search(1)
	require.Equal(t, scans+1, w.scans, "it had to go")
	w.cache.Forget(run.ID{9})
	w.cache.Forget(run.ID{1})
	w.cache.Forget(run.ID{2})
	require.Zero(t, w.taken)
	search(1)
	w.cache.Clear()
	require.Zero(t, w.taken)

	w.change(func(items map[string]op.Item) {
		for i := range 100 {
			items[fmt.Sprintf("v/%02d", i)] = w.item(make([]float32, 100)...)
		}
	})
	w.id = run.ID{3}
	scans = w.scans
	search(3)
	require.Equal(t, scans+2, w.scans, "read until it was too much, and read")
	search(3)
	require.Equal(t, scans+3, w.scans, "it is known by then")

	none := NewCache(Config{Limit: -1})
	require.Nil(t, none)
	require.Zero(t, none.Used())
	none.Forget(run.ID{1})
	none.Clear()
	hits, err := none.Of(run.ID{1}, &w.owner).Search(ctx, w.now, &w.of, &q)
	require.NoError(t, err)
	require.Len(t, hits, 1)
}

// TestVectorsThatExpire: what may vanish without a commit is not kept.
func TestVectorsThatExpire(t *testing.T) {
	w := newWorld(t, 1<<20, Euclidean, 1)
	q := Query{Vector: []float32{0}, K: 9}
	old := w.put("a", 1)
	require.Equal(t, "a", w.keys(w.now, q))
	w.change(func(items map[string]op.Item) {
		it := w.item(0)
		it.Deadline = 10
		items["v/b"] = it
	})
	require.Equal(t, "b a", w.keys(w.now, q))
	w.now.now = 10
	require.Equal(t, "a", w.keys(w.now, q))
	w.cache.Clear()
	w.now.now = 9
	require.Equal(t, "b a", w.keys(w.now, q))

	// Nor is an older version that had such a one seen through newer rows.
	before := w.now
	w.cache.Clear()
	w.delete("b")
	require.Equal(t, "a", w.keys(w.now, q))
	require.Equal(t, "b a", w.keys(before, q))
	before.now = 10
	require.Equal(t, "a", w.keys(before, q))
	require.Equal(t, "a", w.keys(old, q))
}

// TestBadRecords: a record that cannot be read is an error, and harms nothing that
// is kept.
func TestBadRecords(t *testing.T) {
	w := newWorld(t, 1<<20, Euclidean, 1)
	q := Query{Vector: []float32{0}, K: 9}
	bad := func() {
		w.change(func(items map[string]op.Item) {
			items["v/bad"] = op.Item{Value: []byte("?"), Version: w.now.version + 1}
		})
	}
	fails := func(s Set, v op.View) {
		t.Helper()
		_, err := s.Search(ctx, v, &w.of, &q)
		require.ErrorIs(t, err, errBad)
	}
	w.put("a", 1)
	bad()
	fails(w.set(), w.now)
	fails(Set{}, w.now)
	worse := w.now
	w.delete("bad")
	require.Equal(t, "a", w.keys(w.now, q))
	fails(w.set(), worse)
	require.Equal(t, "a", w.keys(w.now, q))
	bad()
	fails(w.set(), w.now)
	w.delete("bad")
	require.Equal(t, "a", w.keys(w.now, q))
	fails(w.set(), &overlay{w.now, map[string]*op.Item{"v/x": {Value: []byte("?"), Version: op.Uncommitted}}})
	fails(Set{}, &overlay{w.now, map[string]*op.Item{"v/x": {Value: []byte("?"), Version: op.Uncommitted}}})
}

// TestContextsEndSearches: those that build, wait or scan.
func TestContextsEndSearches(t *testing.T) {
	w := newWorld(t, 64<<20, Euclidean, 1)
	w.change(func(items map[string]op.Item) {
		for i := range 5000 {
			items[fmt.Sprintf("v/%04d", i)] = w.item(float32(i))
		}
	})
	q := Query{Vector: []float32{0}, K: 9}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	fails := func(s Set) {
		t.Helper()
		_, err := s.Search(ended, w.now, &w.of, &q)
		require.ErrorIs(t, err, context.Canceled)
	}
	fails(Set{})
	e := w.cache.entry(w.id, "c", true)
	e.turn <- struct{}{}
	fails(w.set())
	<-e.turn
	fails(w.set())
	require.Len(t, w.keys(w.now, q), 9*5-1)
	fails(w.set())
	q.Workers = 2
	fails(w.set())
}

// TestBuiltOnce: however many come at the same time.
func TestBuiltOnce(t *testing.T) {
	w := newWorld(t, 64<<20, Euclidean, 1)
	w.change(func(items map[string]op.Item) {
		for i := range 2000 {
			items[fmt.Sprintf("v/%04d", i)] = w.item(float32(i))
		}
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			hits, err := w.set().Search(ctx, w.now, &w.of, &Query{Vector: []float32{0}, K: 3})
			if err != nil || len(hits) != 3 {
				t.Error(hits, err)
			}
		})
	}
	all.Wait()
	require.Equal(t, 1, w.scans)
}

// TestRunsThatAreGone: a search that began before its run left keeps nothing of it.
func TestRunsThatAreGone(t *testing.T) {
	w := newWorld(t, 1<<20, Euclidean, 1)
	w.put("a", 1)
	w.owner.gone = true
	w.cache.Forget(w.id)
	require.Equal(t, "a", w.keys(w.now, Query{Vector: []float32{0}, K: 1}))
	require.Zero(t, w.taken)
	w.owner.gone = false
	require.Equal(t, "a", w.keys(w.now, Query{Vector: []float32{0}, K: 1}))
	require.Positive(t, w.taken)
}
