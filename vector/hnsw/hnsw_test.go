package hnsw

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// clustered returns n vectors around a few centres, as real ones lie.
func clustered(seed uint64, n, dim, centres int) Contiguous {
	rng := rand.New(rand.NewPCG(seed, 1))
	middle := make([]float32, centres*dim)
	for i := range middle {
		middle[i] = float32(rng.NormFloat64())
	}
	elements := make([]float32, n*dim)
	for i := range n {
		centre := rng.IntN(centres) * dim
		for j := range dim {
			elements[i*dim+j] = middle[centre+j] + 0.4*float32(rng.NormFloat64())
		}
	}
	return Contiguous{elements, dim}
}

// build makes a graph of the first n rows.
func build(t require.TestingT, p Params, rows Rows, n, workers int) *Graph {
	b, err := New(p)
	require.NoError(t, err)
	require.NoError(t, b.Insert(context.Background(), rows, n, workers))
	require.Equal(t, n, b.Len())
	return b.Graph(rows)
}

// nearestOf looks at all vectors that accept accepts.
func nearestOf(g *Graph, rows Rows, query []float32, k int, accept func(uint32) bool) []Result {
	var r ruler
	r.aim(g, rows, query)
	var places []place
	for id := range uint32(g.Len()) {
		if !g.IsDead(id) && (accept == nil || accept(id)) {
			places = append(places, placeOf(r.measure([]uint32{id})[0], id))
		}
	}
	slices.Sort(places)
	var list []Result
	for _, p := range places[:min(k, len(places))] {
		list = append(list, Result{p.id(), p.distance()})
	}
	return list
}

// recall returns how many of the k nearest are found, of the vectors given as
// queries.
func recall(g *Graph, rows, queries Rows, n, k, ef int) float64 {
	hits, all := 0, 0
	for i := range uint32(n) {
		query := queries.Row(i)
		found := g.Search(rows, query, k, ef, nil)
		for _, want := range nearestOf(g, rows, query, k, nil) {
			all++
			if slices.ContainsFunc(found, func(r Result) bool { return r.ID == want.ID }) {
				hits++
			}
		}
	}
	return float64(hits) / float64(all)
}

// checkGraph holds a graph to what is always true of one.
func checkGraph(t require.TestingT, g *Graph) {
	n := uint32(g.Len())
	reached := make([]bool, n)
	for id := range n {
		for level := 0; level <= int(g.levels[id]); level++ {
			links := g.links(id, level)
			require.LessOrEqual(t, len(links), g.room(level))
			for i, other := range links {
				require.Less(t, other, n)
				require.NotEqual(t, id, other, "a vector is linked to itself")
				require.GreaterOrEqual(t, int(g.levels[other]), level)
				require.NotContains(t, links[:i], other, "a link is there twice")
			}
		}
	}
	var queue []uint32
	if g.top >= 0 {
		require.Equal(t, g.top, int(g.levels[g.entry]))
		queue, reached[g.entry] = []uint32{g.entry}, true
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, other := range g.links(at, 0) {
			if !reached[other] {
				reached[other] = true
				queue = append(queue, other)
			}
		}
	}
	for id := range n {
		require.True(t, reached[id], "vector %d cannot be reached", id)
	}
}

var metrics = []Metric{Cosine, Dot, Euclidean}

// TestRecall: on clustered vectors each metric finds nearly all of the nearest,
// by vectors and by codes. Everything is seeded, so the figures do not change.
func TestRecall(t *testing.T) {
	n := 4000
	if raceEnabled {
		n = 1000
	}
	all := clustered(1, n+100, 24, 40)
	rows := Contiguous{all.Elements[:n*24], 24}
	queries := Contiguous{all.Elements[n*24:], 24}
	for _, metric := range metrics {
		for _, int8 := range []bool{false, true} {
			p := Params{Metric: metric, Dimension: 24, M: 12, EfConstruction: 100, Seed: 1, Int8: int8}
			g := build(t, p, rows, n, 2)
			checkGraph(t, g)
			low, high := recall(g, rows, queries, 100, 10, 20), recall(g, rows, queries, 100, 10, 200)
			t.Logf("metric %d, codes %v: recall@10 %.3f with ef 20, %.3f with ef 200; %d bytes a vector", metric, int8, low, high, g.Memory()/n)
			require.Greater(t, low, 0.85)
			require.Greater(t, high, 0.98)
		}
	}
}

// TestExact: with as many candidates as there are vectors, what is found is what
// an exact search finds, in the same order, whatever was deleted,
// filtered, and inserted in whatever portions.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		metric := rapid.SampledFrom(metrics).Draw(t, "metric")
		dim := rapid.IntRange(1, 12).Draw(t, "dimension")
		p := Params{Metric: metric, Dimension: dim, M: rapid.IntRange(2, 6).Draw(t, "m"), Seed: rapid.Uint64().Draw(t, "seed")}
		p.EfConstruction = p.M + rapid.IntRange(0, 20).Draw(t, "ef")
		p.Int8 = rapid.Bool().Draw(t, "int8")
		n := rapid.IntRange(0, 300).Draw(t, "vectors")
		rows := clustered(p.Seed, n+1, dim, 1+n/20)
		if rapid.Bool().Draw(t, "equal ones") {
			for i := range rows.Elements {
				rows.Elements[i] = float32(math.Round(float64(rows.Elements[i]))) + 0.5
			}
		}
		b, err := New(p)
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(p.Seed, 2))
		for b.Len() < n {
			switch rng.IntN(6) {
			case 0, 1:
				if b.Len() > 0 {
					b.Delete(uint32(rng.IntN(b.Len())))
				}
			case 2:
				g := b.Graph(rows)
				checkGraph(t, g)
				b = g.Extend()
			default:
				end := min(n, b.Len()+1+rng.IntN(60))
				require.NoError(t, b.Insert(context.Background(), rows, end, 1+rng.IntN(3)))
			}
		}
		g := b.Graph(rows)
		checkGraph(t, g)
		var accept func(uint32) bool
		if rapid.Bool().Draw(t, "filter") {
			accept = func(id uint32) bool { return id%3 == 1 }
		}
		k := rapid.IntRange(0, 30).Draw(t, "k")
		query := rows.Row(uint32(n))
		require.Equal(t, nearestOf(g, rows, query, k, accept), none(g.Search(rows, query, k, max(1, n), accept)))
	})
}

// none makes no results nil.
func none(list []Result) []Result {
	if len(list) == 0 {
		return nil
	}
	return list
}

// TestDeterministic: neither the number of workers nor the portions in which
// Insert is called for full portions make a difference; a seed does.
func TestDeterministic(t *testing.T) {
	rows := clustered(3, 3000, 16, 30)
	p := Params{Metric: Cosine, Dimension: 16, M: 8, EfConstruction: 60, Seed: 5}
	one := build(t, p, rows, 3000, 1)
	require.Equal(t, one, build(t, p, rows, 3000, 3))
	p.Seed = 6
	require.NotEqual(t, one.levels, build(t, p, rows, 3000, 1).levels)
}

// TestSearchWhileExtending: a graph that is searched does not change while
// another goes on from it.
func TestSearchWhileExtending(t *testing.T) {
	const n, more = 600, 300
	rows := clustered(4, n+more, 16, 10)
	p := Params{Metric: Euclidean, Dimension: 16, M: 8, EfConstruction: 40, Int8: true}
	g := build(t, p, rows, n, 2)
	want := g.Search(rows, rows.Row(5), 10, 50, nil)
	require.Equal(t, Result{ID: 5}, want[0])
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 200 {
				if got := g.Search(rows, rows.Row(5), 10, 50, nil); !slices.Equal(want, got) {
					t.Errorf("found %v, then %v", want, got)
					return
				}
			}
		})
	}
	b := g.Extend()
	b.Delete(5)
	b.Delete(5)
	require.NoError(t, b.Insert(t.Context(), rows, n+more, 2))
	wait.Wait()
	grown := b.Graph(rows)
	checkGraph(t, grown)
	require.Equal(t, 1, grown.deaths)
	require.True(t, grown.IsDead(5))
	require.False(t, g.IsDead(5))
	require.Equal(t, n, g.Len())
	require.NotEqual(t, uint32(5), grown.Search(rows, rows.Row(5), 1, 50, nil)[0].ID)
	require.Equal(t, uint32(n+1), grown.Search(rows, rows.Row(n+1), 1, 50, nil)[0].ID)
}

// TestCancelled: what was inserted before stays, and the rest may follow.
func TestCancelled(t *testing.T) {
	rows := clustered(5, 500, 8, 5)
	b, err := New(Params{Metric: Dot, Dimension: 8, M: 4, EfConstruction: 20})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, b.Insert(ctx, rows, 100, 2))
	cancel()
	require.ErrorIs(t, b.Insert(ctx, rows, 500, 2), context.Canceled)
	require.Equal(t, 100, b.Len())
	require.NoError(t, b.Insert(t.Context(), rows, 500, 2))
	checkGraph(t, b.Graph(rows))
}

func TestParams(t *testing.T) {
	good := DefaultParams(Cosine, 100)
	_, err := New(good)
	require.NoError(t, err)
	for _, spoil := range []func(*Params){
		func(p *Params) { p.Metric = 0 },
		func(p *Params) { p.Metric = 4 },
		func(p *Params) { p.Dimension = 0 },
		func(p *Params) { p.Dimension = MaxDimension + 1 },
		func(p *Params) { p.M = 1 },
		func(p *Params) { p.M = MaxM + 1 },
		func(p *Params) { p.EfConstruction = p.M - 1 },
		func(p *Params) { p.EfConstruction = 1 << 20 },
	} {
		p := good
		spoil(&p)
		_, err := New(p)
		require.ErrorIs(t, err, ErrParams)
	}
	b, err := New(good)
	require.NoError(t, err)
	require.ErrorIs(t, b.Insert(t.Context(), nil, MaxLen+1, 1), ErrParams)
	require.Panics(t, func() { _ = b.Insert(t.Context(), Contiguous{make([]float32, 3), 3}, 1, 1) })
}

// TestOdd: nothing, little, vectors that are all the same, zero or huge.
func TestOdd(t *testing.T) {
	for _, metric := range metrics {
		p := Params{Metric: metric, Dimension: 2, M: 2, EfConstruction: 4}
		empty := build(t, p, Contiguous{nil, 2}, 0, 1)
		require.Equal(t, p, empty.params)
		require.Empty(t, empty.Search(nil, []float32{1, 1}, 3, 3, nil))
		require.Panics(t, func() { empty.Search(nil, []float32{1}, 3, 3, nil) })

		same := Contiguous{slices.Repeat([]float32{1, 2}, 200), 2}
		g := build(t, p, same, 200, 2)
		checkGraph(t, g)
		found := g.Search(same, []float32{1, 2}, 200, 200, nil)
		for i, r := range found {
			require.Equal(t, uint32(i), r.ID, "those as near come by their number")
		}

		odd := Contiguous{[]float32{0, 0, math.MaxFloat32, math.MaxFloat32, -math.MaxFloat32, math.MaxFloat32, 0x1p-149, 0, 1, 1}, 2}
		g = build(t, p, odd, 5, 1)
		checkGraph(t, g)
		require.Len(t, g.Search(odd, []float32{math.MaxFloat32, -math.MaxFloat32}, 10, 10, nil), 5)
		require.Empty(t, g.Search(odd, []float32{1, 1}, 0, 10, nil))
	}
}

// TestPlace: places are in order of their distances, then numbers, and keep
// both.
func TestPlace(t *testing.T) {
	inf := float32(math.Inf(1))
	order := []float32{-inf, -2, -1, -0x1p-149, 0, 0x1p-149, 1, 2, inf}
	var places []place
	for _, d := range order {
		for id := range uint32(3) {
			p := placeOf(d, id<<30)
			require.Equal(t, d, p.distance())
			require.Equal(t, id<<30, p.id())
			places = append(places, p)
		}
	}
	nan := placeOf(float32(math.NaN()), 0)
	require.True(t, math.IsNaN(float64(nan.distance())))
	places = append(places, nan)
	require.True(t, slices.IsSorted(places))
}

func TestHeaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Uint64()).Draw(t, "places")
		keep := rapid.IntRange(1, 10).Draw(t, "keep")
		var near nearest
		var far farthest
		for _, x := range list {
			near.push(place(x))
			switch {
			case len(far) < keep:
				far.push(place(x))
			case place(x) < far[0]:
				far.replace(place(x))
			}
		}
		slices.Sort(list)
		for i, x := range list {
			require.Equal(t, place(x), near.pop(), "the %d-th", i)
		}
		slices.Sort(far)
		for i, x := range far {
			require.Equal(t, place(list[i]), x)
		}
	})
}

// TestLevels: the share of vectors on the next level is one in M.
func TestLevels(t *testing.T) {
	p := Params{M: 4, Seed: 9}
	var count [maxLevel + 1]int
	for id := range uint32(1 << 16) {
		count[p.level(id)]++
	}
	above := 1 << 16
	for level := range 4 {
		above -= count[level]
		require.InEpsilon(t, (1<<16)>>(2*(level+1)), above, 0.15)
	}
}
