package distance

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// both runs a test with the vector instructions and without.
func both(t *testing.T, fn func(t *testing.T)) {
	detected := accelerated
	t.Cleanup(func() { accelerated = detected })
	if detected {
		t.Run("kernel", fn)
	}
	accelerated = false
	t.Run("plain", fn)
}

// exact returns the dot product and the squared distance without any rounding,
// then as float64.
func exact(a, b []float32) (dot, squared float64) {
	d, s := new(big.Float).SetPrec(700), new(big.Float).SetPrec(700)
	for i := range a {
		x := new(big.Float).SetPrec(700).SetFloat64(float64(a[i]))
		y := new(big.Float).SetPrec(700).SetFloat64(float64(b[i]))
		d.Add(d, new(big.Float).SetPrec(700).Mul(x, y))
		x.Sub(x, y)
		s.Add(s, new(big.Float).SetPrec(700).Mul(x, x))
	}
	dot, _ = d.Float64()
	squared, _ = s.Float64()
	return dot, squared
}

// near holds one result of each kind against the exact one and its bound.
func near(t require.TestingT, a, b []float32, dot, squared float32) {
	wantDot, wantSquared := exact(a, b)
	bound := DotError(len(a), Norm(a), Norm(b))
	if !math.IsInf(bound, 1) {
		require.LessOrEqual(t, math.Abs(float64(dot)-wantDot), bound, "dot of %v and %v", a, b)
	}
	bound = SquaredEuclideanError(len(a), squared)
	if !math.IsInf(bound, 1) {
		require.LessOrEqual(t, math.Abs(float64(squared)-wantSquared), bound, "distance of %v and %v", a, b)
	}
}

// TestEveryLengthAndAlignment: the tail of a vector, and where it begins in
// memory, make no difference, and what lies beside it is not read into it.
func TestEveryLengthAndAlignment(t *testing.T) {
	both(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		memory, other := random(rng, 200), random(rng, 200)
		for dim := 0; dim <= 70; dim++ {
			for shift := range 9 {
				a, b := memory[shift:][:dim], other[8-shift:][:dim]
				near(t, a, b, Dot(a, b), SquaredEuclidean(a, b))
			}
		}
	})
}

// TestNothingBesideIsRead: numbers around a vector that would spoil any sum do
// not.
func TestNothingBesideIsRead(t *testing.T) {
	both(t, func(t *testing.T) {
		for dim := 1; dim <= 70; dim++ {
			a, b := make([]float32, dim+64), make([]float32, dim+64)
			for i := range a {
				a[i], b[i] = float32(math.NaN()), float32(math.Inf(1))
			}
			a, b = a[32:][:dim], b[32:][:dim]
			for i := range a {
				a[i], b[i] = 1, 3
			}
			require.Equal(t, float32(3*dim), Dot(a, b))
			require.Equal(t, float32(4*dim), SquaredEuclidean(a, b))
		}
	})
}

// TestMany: many rows at a time are each of them alone, bit by bit.
func TestMany(t *testing.T) {
	both(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 2))
		for _, dim := range []int{0, 1, 7, 8, 31, 32, 33, 70, 100, 384, 1536} {
			for _, n := range []int{0, 1, 2, 3, 4, 5, 6, 2*most/max(dim, 300) + 1} { // the last takes several calls
				query, rows := random(rng, dim), random(rng, n*dim)
				list := make([][]float32, n)
				for i := range list {
					list[i] = rows[i*dim : (i+1)*dim]
				}
				dot, squared, of := make([]float32, n), make([]float32, n), make([]float32, n)
				Dots(dot, query, rows)
				SquaredEuclideans(squared, query, rows)
				for i, row := range list {
					require.Equal(t, Dot(query, row), dot[i])
					require.Equal(t, SquaredEuclidean(query, row), squared[i])
				}
				DotsOf(of, query, list)
				require.Equal(t, dot, of)
				SquaredEuclideansOf(of, query, list)
				require.Equal(t, squared, of)
			}
		}
	})
}

// TestWithinTheBound: also for numbers of very different size, for those too
// small for full precision, and for sums that cancel.
func TestWithinTheBound(t *testing.T) {
	element := rapid.OneOf(
		rapid.Float32Range(-1, 1),
		rapid.SampledFrom([]float32{0, 1, -1, 1 + 0x1p-23, 0x1p-149, -0x1p-126, 0x1p-75, 0x1p20, -0x1p60}),
		rapid.Float32Range(-0x1p-70, 0x1p-70),
		rapid.Float32Range(-0x1p62, 0x1p62),
	)
	both(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a := rapid.SliceOfN(element, 0, 80).Draw(t, "a")
			b := rapid.SliceOfN(element, len(a), len(a)).Draw(t, "b")
			near(t, a, b, Dot(a, b), SquaredEuclidean(a, b))
		})
	})
}

// TestOverflow: where a sum may not fit into a float32, the bound says so.
func TestOverflow(t *testing.T) {
	huge := []float32{math.MaxFloat32, math.MaxFloat32}
	require.True(t, math.IsInf(DotError(2, Norm(huge), Norm(huge)), 1))
	require.True(t, math.IsInf(DotError(2, math.NaN(), 1), 1))
	require.True(t, math.IsInf(DotError(1<<22, 1, 1), 1))
	require.True(t, math.IsInf(SquaredEuclideanError(1<<22, 1), 1))
	both(t, func(t *testing.T) {
		squared := SquaredEuclidean(huge, []float32{0, 0})
		require.True(t, math.IsInf(float64(squared), 1))
		require.True(t, math.IsInf(SquaredEuclideanError(2, squared), 1))
	})
	require.True(t, math.IsInf(SquaredEuclideanError(2, float32(math.NaN())), 1))
	require.Zero(t, DotError(0, 0, 0))
	require.InEpsilon(t, 100*0x1p-24, DotError(100, 1, 1), 0.001, "six digits at dimension 100")
}

// TestFloat64 pins the order of the additions: from the first to the last.
func TestFloat64(t *testing.T) {
	require.Equal(t, 1.0, DotFloat64([]float32{0x1p60, -0x1p60, 1}, []float32{1, 1, 1}))
	require.Equal(t, 0.0, DotFloat64([]float32{0x1p60, 1, -0x1p60}, []float32{1, 1, 1}))
	require.Equal(t, 0x1p120, SquaredEuclideanFloat64([]float32{0x1p60, 1}, []float32{0, 0}))
	require.Equal(t, 25.0, SquaredEuclideanFloat64([]float32{1, 2}, []float32{4, -2}))
	require.Equal(t, 5.0, Norm([]float32{3, -4}))
	require.Zero(t, DotFloat64(nil, nil))
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Float32Range(-10, 10), 1, 70).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Float32Range(-10, 10), len(a), len(a)).Draw(t, "b")
		dot, squared := exact(a, b)
		n := float64(len(a))
		require.InDelta(t, dot, DotFloat64(a, b), n*0x1p-52*Norm(a)*Norm(b))
		require.InDelta(t, squared, SquaredEuclideanFloat64(a, b), (n+2)*0x1p-52*squared)
	})
}

// TestShort: a row that is not there is a fault of the caller, found before
// anything is read.
func TestShort(t *testing.T) {
	both(t, func(t *testing.T) {
		three := make([]float32, 3)
		two := three[:2] // with room for more, which does not count
		require.Panics(t, func() { Dot(three, two) })
		require.Panics(t, func() { SquaredEuclidean(three, two) })
		require.Panics(t, func() { Dots(two, two, three) })
		require.Panics(t, func() { SquaredEuclideans(two, two, three) })
		require.Panics(t, func() { DotsOf(two, three, [][]float32{three, two}) })
		require.Panics(t, func() { SquaredEuclideansOf(two, three, [][]float32{three, two}) })
		require.Panics(t, func() { DotsOf(two[:1], two, [][]float32{two, two}) })
		require.Panics(t, func() { DotFloat64(three, two) })
		require.Equal(t, float32(0), Dot(two, three), "what is longer is cut")
	})
}

// TestSameEverywhere pins the bits of what must not differ between machines.
func TestSameEverywhere(t *testing.T) {
	a, b := make([]float32, 100), make([]float32, 100)
	x := uint32(1)
	for i := range a {
		for _, v := range []*float32{&a[i], &b[i]} {
			x = x*1664525 + 1013904223
			*v = float32(int32(x)) * 0x1p-31 * float32(int(1)<<(i%20))
		}
	}
	require.Equal(t, "-0x1.d44424f1d1e37p+37", strconv.FormatFloat(DotFloat64(a, b), 'x', -1, 64))
	require.Equal(t, "0x1.9dce42a71c2a5p+40", strconv.FormatFloat(SquaredEuclideanFloat64(a, b), 'x', -1, 64))
	require.Equal(t, "0x1.868d40b749496p+19", strconv.FormatFloat(Norm(a), 'x', -1, 64))
}
