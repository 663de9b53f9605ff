package hnsw

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// small returns a graph with all that one can have.
func small(t testing.TB, metric Metric, int8 bool, n int) (*Graph, Contiguous) {
	rows := clustered(11, n+1, 5, 3)
	b, err := New(Params{Metric: metric, Dimension: 5, M: 3, EfConstruction: 9, Seed: 4, Int8: int8})
	require.NoError(t, err)
	require.NoError(t, b.Insert(t.Context(), rows, n, 1))
	if n > 2 {
		b.Delete(2)
		b.Skip()
	}
	return b.Graph(rows), rows
}

// TestEncode: a graph that was written and read finds the same, and goes on in
// the same way.
func TestEncode(t *testing.T) {
	for _, metric := range metrics {
		for _, int8 := range []bool{false, true} {
			for _, n := range []int{0, 1, 3, 63, 64, 200} {
				g, rows := small(t, metric, int8, n)
				data := g.Append([]byte("before"))
				require.True(t, bytes.HasPrefix(data, []byte("before")))
				read, err := Decode(data[6:])
				require.NoError(t, err)
				checkGraph(t, read)
				require.Equal(t, data[6:], read.Append(nil))
				require.Equal(t, g.Dead(), read.Dead())
				query := rows.Row(uint32(n))
				require.Equal(t, g.Search(rows, query, 5, 9, nil), read.Search(rows, query, 5, 9, nil))

				more := clustered(12, g.Len()+100, 5, 3)
				copy(more.Elements, rows.Elements)
				one, two := g.Extend(), read.Extend()
				require.NoError(t, one.Insert(t.Context(), more, g.Len()+100, 1))
				require.NoError(t, two.Insert(t.Context(), more, g.Len()+100, 1))
				require.Equal(t, one.Graph(more).Append(nil), two.Graph(more).Append(nil))
			}
		}
	}
}

// TestDamage: no flipped bit and no cut is taken for a graph.
func TestDamage(t *testing.T) {
	g, _ := small(t, Euclidean, true, 30)
	data := g.Append(nil)
	for i := range len(data) * 8 {
		damaged := bytes.Clone(data)
		damaged[i/8] ^= 1 << (i % 8)
		_, err := Decode(damaged)
		if i/64 == 1 && i/8 < 12 { // the version
			require.Error(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
	}
	for n := range data {
		_, err := Decode(data[:n])
		require.ErrorIs(t, err, ErrCorrupt, "%d bytes", n)
	}
	_, err := Decode(append(bytes.Clone(data), 0))
	require.ErrorIs(t, err, ErrCorrupt)
	newer := bytes.Clone(data)
	newer[8]++
	_, err = Decode(newer)
	require.ErrorIs(t, err, ErrVersion)
}

// sign puts the right checksum at the end of data.
func sign(data []byte) []byte {
	if len(data) < trailerSize {
		return data
	}
	body := data[:len(data)-trailerSize]
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

// TestSignedNonsense: what has a right checksum and is no graph all the same is
// refused, or is a graph that can be searched and extended.
func TestSignedNonsense(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	refused := map[string]int{}
	for _, metric := range metrics {
		g, _ := small(t, metric, metric == Euclidean, 40)
		data := g.Append(nil)
		for range 8000 {
			damaged := bytes.Clone(data)
			for range 1 + rng.IntN(3) {
				damaged[rng.IntN(len(damaged))] = byte(rng.Uint32())
			}
			switch rng.IntN(8) {
			case 0:
				damaged = damaged[:rng.IntN(len(damaged))]
			case 1:
				damaged = append(bytes.Clone(data), 0)
			}
			if err := decodeAndUse(t, sign(damaged)); err != nil {
				refused[err.Error()]++
			}
		}
	}
	for _, what := range []string{"no graph", "header", "it ends too early", "bytes are left over", "entry",
		"it has not so many vectors", "more are dead than there are", "a level is too high",
		"a vector has too many links", "a link leads to where nothing is"} {
		require.Contains(t, refused, ErrCorrupt.Error()+": "+what)
	}
}

// same is Rows in which all vectors are one.
type same []float32

func (s same) Row(uint32) []float32 { return s }

// decodeAndUse searches and extends what can be decoded.
func decodeAndUse(t testing.TB, data []byte) error {
	g, err := Decode(data)
	if err != nil {
		return err
	}
	if g.params.EfConstruction > 100 || g.params.Dimension > 1000 {
		return nil // right, and slow
	}
	require.Equal(t, data, g.Append(nil))
	rows := make(same, g.params.Dimension)
	for i := range rows {
		rows[i] = float32(i) - 1
	}
	g.Search(rows, rows, 3, 10, func(id uint32) bool { return id%2 == 0 })
	b := g.Extend()
	b.Skip()
	require.NoError(t, b.Insert(t.Context(), rows, b.Len()+3, 1))
	b.Graph(rows)
	return nil
}

func FuzzDecode(f *testing.F) {
	for _, metric := range metrics {
		for _, n := range []int{0, 1, 20} {
			g, _ := small(f, metric, metric != Dot, n)
			f.Add(g.Append(nil))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Decode(data)
		_ = decodeAndUse(t, sign(data))
	})
}
