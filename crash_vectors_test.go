package inmem_test

import (
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/vector"
)

// vector makes the collection, or puts some vectors or deletes one where it is
// there, and looks for the nearest.
func (l *life) vector(r *inmem.Run, mode inmem.Durability, key string) {
	t, s := l.t, r.Vectors()
	const name = "notes"
	durability := vector.Durability(mode)
	info, err := r.Info()
	require.NoError(t, err)
	var ops []op.Op
	had := l.vectors(r)
	if _, made := had["c"+name]; !made {
		_, err = s.Create(bg, name, vector.Config{Dimension: 3, Metric: vector.Euclidean}, durability)
	} else if l.rng.IntN(4) == 0 {
		err = s.Delete(bg, name, key, durability)
	} else {
		list := make([]vector.New, 1+l.rng.IntN(4))
		for i := range list {
			list[i] = vector.New{Key: key + string(rune('a'+i)), Vector: []float32{l.rng.Float32(), l.rng.Float32(), float32(info.LastVersion)}}
		}
		list[0].Key = key
		_, err = s.UpsertBatch(bg, name, list, durability)
	}
	if err != nil {
		l.refused(r, info, err)
		return
	}
	now := l.vectors(r)
	for _, key := range slices.Sorted(maps.Keys(now)) { // the order of the batch
		if it := now[key]; it.Version == info.LastVersion+1 {
			ops = append(ops, op.Op{Kind: op.Put, Tag: op.Vector, Key: key, Value: it.Value})
		}
	}
	for key := range had {
		if _, still := now[key]; !still {
			ops = append(ops, op.Op{Kind: op.Delete, Tag: op.Vector, Key: key})
		}
	}
	l.ledger.acked(r.ID(), info.LastVersion+1, l.mode(mode), ops...)
	hits, err := s.Search(bg, name, []float32{0, 0, 0}, math.MaxInt)
	require.NoError(t, err)
	require.Len(t, hits, len(now)-1)
	searchBothWays(t, r)
}

// searchBothWays wants searches by the index of every collection of a run, where
// there is one, to find what exact ones find: they look at all that it has.
func searchBothWays(t testing.TB, r *inmem.Run) {
	t.Helper()
	s := r.Vectors()
	for c, err := range s.Collections(bg) {
		require.NoError(t, err)
		require.NoError(t, s.Prepare(bg, c.Name, vector.Approximate(0)))
		for i := range 3 {
			q := make([]float32, c.Dimension)
			q[i%len(q)] = 0.5
			exact, err := s.Search(bg, c.Name, q, 2, vector.WithVectors())
			require.NoError(t, err)
			near, err := s.Search(bg, c.Name, q, 2, vector.WithVectors(), vector.Approximate(1<<20))
			require.NoError(t, err)
			require.Equal(t, exact, near)
		}
	}
}

// vectors is what a run has of vectors, as it is stored.
func (l *life) vectors(r *inmem.Run) map[string]inmem.Content {
	all := map[string]inmem.Content{}
	for c, err := range r.Contents(bg, inmem.TagVector) {
		require.NoError(l.t, err)
		all[c.Key] = c
	}
	return all
}
