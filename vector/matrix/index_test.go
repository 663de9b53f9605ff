package matrix

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
)

// TestLayout: numbers follow one another through parts of all sizes.
func TestLayout(t *testing.T) {
	for _, dimension := range []int{1, 100, 128, 1000, 5000, 8192, 10_000, 65_536} {
		l := layoutOf(dimension)
		row := 0
		for part := range 40 {
			require.Equal(t, row, l.first(part), "dimension %d, part %d", dimension, part)
			for i := range l.size(part) {
				require.Equal(t, place{int32(part), int32(i)}, l.place(row))
				row++
			}
		}
		require.LessOrEqual(t, l.size(39), maxRows)
	}
}

// ready has the index made.
func (w *world) ready() {
	w.t.Helper()
	require.NoError(w.t, w.set().Prepare(ctx, w.now, &w.of, true))
}

func (w *world) graphOf() (rows int) {
	if e := w.cache.entry(w.id, w.of.Name, false); e != nil && e.current.Load() != nil && e.current.Load().graph != nil {
		return e.current.Load().graph.Len()
	}
	return 0
}

// TestIndex: with as many candidates as there are rows a search by the index finds
// what an exact one finds, whatever was written since, deleted, filtered, or is of
// another version.
func TestIndex(t *testing.T) {
	for _, m := range []Metric{Cosine, Dot, Euclidean} {
		w := newWorld(t, 64<<20, m, 4)
		w.cache.least = 100
		rng := rand.New(rand.NewPCG(uint64(m), 3))
		write := func(n int) {
			w.change(func(items map[string]op.Item) {
				for range n {
					v := make([]float32, 4)
					for i := range v {
						v[i] = float32(rng.NormFloat64())
					}
					items[fmt.Sprintf("v/%04d", rng.IntN(2000))] = w.item(v...)
					delete(items, fmt.Sprintf("v/%04d", rng.IntN(2000)))
				}
			})
		}
		write(500)
		old := w.now
		w.ready()
		require.Positive(t, w.graphOf())
		own := map[string]*op.Item{"v/own": {Value: bytesOf([]float32{1, 1, 1, 1}), Version: op.Uncommitted}, "v/0001": nil, "v/0002": nil}
		for round := range 12 {
			write(50)
			q := Query{Vector: []float32{rng.Float32(), 1, -rng.Float32(), rng.Float32()}, K: 5, Workers: rng.IntN(3)}
			if round%3 == 0 {
				q.Accept = func(key string, it op.Item) (bool, error) { return key[len(key)-1]%2 == 0, nil }
			}
			near := q
			near.Ef = 10_000
			require.Equal(t, w.keys(w.now, q), w.keys(w.now, near))
			require.Equal(t, w.keys(&overlay{w.now, own}, q), w.keys(&overlay{w.now, own}, near))
			require.Equal(t, w.keys(old, q), w.keys(old, near))
			if round%5 == 4 {
				w.ready()
				require.Positive(t, w.graphOf())
			}
		}
		require.Equal(t, w.taken, w.cache.Used())
	}
}

// TestIndexGrows: when there is much behind it, and it is made anew where rows got
// other numbers.
func TestIndexGrows(t *testing.T) {
	w := newWorld(t, 64<<20, Euclidean, 1)
	w.cache.least = 100
	write := func(from, to int) {
		w.change(func(items map[string]op.Item) {
			for i := from; i < to; i++ {
				items[fmt.Sprintf("v/%05d", i)] = w.item(float32(i))
			}
		})
	}
	write(0, 99)
	w.ready()
	require.Zero(t, w.graphOf(), "it is not worth it")
	write(99, 200)
	w.ready()
	require.Equal(t, 200, w.graphOf())
	write(200, 300)
	w.ready()
	require.Equal(t, 200, w.graphOf(), "little is behind it")
	write(300, 3000)
	w.ready()
	require.Equal(t, 3000, w.graphOf())
	require.Equal(t, "01000 00999", w.keys(w.now, Query{Vector: []float32{999.6}, K: 2, Ef: 50}))
	before := w.taken

	// A filter that lets next to nothing through has all looked at.
	asked := 0
	q := Query{Vector: []float32{0}, K: 1, Ef: 50, Accept: func(key string, _ op.Item) (bool, error) { asked++; return key == "02999", nil }}
	require.Equal(t, "02999", w.keys(w.now, q))
	require.Less(t, asked, 3000+2*leastRefused)
	failed := errors.New("no")
	q.Accept = func(string, op.Item) (bool, error) { return false, failed }
	_, err := w.set().Search(ctx, w.now, &w.of, &q)
	require.ErrorIs(t, err, failed)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	q.Accept = nil
	_, err = w.set().Search(ended, w.now, &w.of, &q)
	require.ErrorIs(t, err, context.Canceled)

	for range 3 { // until the rows are compacted
		write(0, 3000)
		w.keys(w.now, Query{Vector: []float32{0}, K: 1})
	}
	require.Zero(t, w.graphOf())
	w.ready()
	require.Positive(t, w.graphOf())
	require.Equal(t, w.taken, w.cache.Used())
	require.Less(t, w.taken, 4*before)
	w.cache.Forget(w.id)
	require.Zero(t, w.taken)
}

// TestNoIndex: where float32 says nothing, there is no room, or nobody is left to
// make one.
func TestNoIndex(t *testing.T) {
	fill := func(w *world, last float32) {
		w.cache.least = 100
		w.change(func(items map[string]op.Item) {
			for i := range 300 {
				items[fmt.Sprintf("v/%04d", i)] = w.item(float32(i))
			}
			items["v/last"] = w.item(last)
		})
	}
	w := newWorld(t, 1<<20, Euclidean, 1)
	fill(w, 3e38)
	w.ready()
	require.Zero(t, w.graphOf())
	require.Equal(t, "last", w.keys(w.now, Query{Vector: []float32{math.MaxFloat32}, K: 1, Ef: 10}))

	w = newWorld(t, 1<<20, Euclidean, 1)
	fill(w, 1)
	w.ready()
	require.Positive(t, w.graphOf())
	require.Equal(t, "0000 0001", w.keys(w.now, Query{Vector: []float32{math.MaxFloat32}, K: 2, Ef: 10}), "so far away all are equally near")

	w = newWorld(t, 45_000, Euclidean, 1)
	fill(w, 1)
	w.ready()
	require.Zero(t, w.graphOf(), "there is no room")
	require.Positive(t, w.cache.Used())

	w = newWorld(t, 1<<20, Euclidean, 1)
	fill(w, 1)
	w.cache.Close()
	w.ready()
	require.Zero(t, w.graphOf())
	require.Len(t, w.keys(w.now, Query{Vector: []float32{0}, K: 1, Ef: 10}), 4)

	w.of.Vector = func([]byte) ([]byte, error) { return nil, errBad }
	w.id = run.ID{7}
	require.ErrorIs(t, w.set().Prepare(ctx, w.now, &w.of, true), errBad)
	require.NoError(t, Set{}.Prepare(ctx, w.now, &w.of, true))
	(*Cache)(nil).Close()
}

// TestIndexIsLetGo: what is being made for rows that are dropped ends, and so does
// waiting for it.
func TestIndexIsLetGo(t *testing.T) {
	w := newWorld(t, 64<<20, Euclidean, 1)
	w.cache.least = 100
	w.change(func(items map[string]op.Item) {
		for i := range 5000 {
			items[fmt.Sprintf("v/%04d", i)] = w.item(float32(i))
		}
	})
	w.cache.worker <- struct{}{} // somebody else's index is being made
	w.keys(w.now, Query{Vector: []float32{0}, K: 1, Ef: 10})
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, w.set().Prepare(ended, w.now, &w.of, true), context.Canceled)
	e := w.cache.entry(w.id, "c", false)
	making := e.indexing.Load()
	require.NotNil(t, making)
	w.cache.Forget(w.id)
	<-making.done
	require.Zero(t, w.graphOf())
	<-w.cache.worker
	w.ready()
	require.Equal(t, 5000, w.graphOf())
}
