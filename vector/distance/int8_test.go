package distance

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQuantize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float32Range(-1e30, 1e30), 0, 70).Draw(t, "v")
		code := make([]int8, len(v))
		scale := Quantize(code, v)
		for i, x := range v {
			require.InDelta(t, x, float64(code[i])*float64(scale), float64(scale)*0.5001)
			require.GreaterOrEqual(t, code[i], int8(-127))
		}
	})
	code := []int8{5, 5}
	require.Zero(t, Quantize(code, []float32{0, 0}))
	require.Equal(t, []int8{0, 0}, code)
	require.Zero(t, Quantize(code, []float32{0x1p-149, 0}), "a scale that is no number any more")
	require.Equal(t, float32(math.MaxFloat32)/127, Quantize(code, []float32{-math.MaxFloat32, 1}))
	require.Equal(t, []int8{-127, 0}, code)
}

// TestDotsInt8: each length, one behind the other and by number, the extremes
// among them.
func TestDotsInt8(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	codes := make([]int8, 3000)
	for i := range codes {
		codes[i] = int8(rng.IntN(256) - 128)
	}
	both(t, func(t *testing.T) {
		for dim := 0; dim <= 70; dim++ {
			for n := range 6 {
				query, rows := codes[n:][:dim], codes[100:][:n*dim]
				want, ids := make([]int32, n), make([]uint32, n)
				for i := range want {
					ids[i] = uint32(n - 1 - i)
					for j, x := range query {
						want[i] += int32(x) * int32(rows[i*dim+j])
					}
				}
				got := make([]int32, n)
				DotsInt8(got, query, rows, nil)
				require.Equal(t, want, got, "dimension %d", dim)
				DotsInt8(got, query, rows, ids)
				for i := range want {
					require.Equal(t, want[ids[i]], got[i], "dimension %d", dim)
				}
			}
		}
		many, numbered := make([]int32, 5000), make([]int32, 5000)
		wide, list := make([]int8, 5000*40), make([]uint32, 5000)
		for i := range wide {
			wide[i] = int8(rng.IntN(255) - 127)
		}
		for i := range list {
			list[i] = uint32(i)
		}
		DotsInt8(many, wide[40:80], wide, nil)
		DotsInt8(numbered, wide[40:80], wide, list)
		require.Equal(t, many, numbered)
		require.Equal(t, dotInt8(wide[40:80], wide[4999*40:]), many[4999])
		top := make([]int8, 1<<17)
		for i := range top {
			top[i] = -127
		}
		got := make([]int32, 1)
		DotsInt8(got, top, top, nil)
		require.Equal(t, int32(127*127<<17), got[0])
		require.Panics(t, func() { DotsInt8(got, top, top[1:], nil) })
		require.Panics(t, func() { DotsInt8(got, top[:16], top[:32], []uint32{2}) })
		require.Panics(t, func() { DotsInt8(got, top[:16], top[:32], []uint32{}) })
	})
}
