package hnsw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

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
	}
	return b.Graph(rows), rows
}

// encoded returns a graph as bytes.
func encoded(t testing.TB, g *Graph) []byte {
	var b bytes.Buffer
	require.NoError(t, g.Encode(&b))
	return b.Bytes()
}

// decode reads bytes in small pieces, with more behind them.
func decode(data []byte) (*Builder, error) {
	return Decode(iotest.HalfReader(bytes.NewReader(append(bytes.Clone(data), "more"...))), int64(len(data)))
}

// TestEncode: a graph that was written and read finds the same, and goes on in
// the same way.
func TestEncode(t *testing.T) {
	for _, metric := range metrics {
		for _, int8 := range []bool{false, true} {
			for _, n := range []int{0, 1, 3, 63, 64, 200} {
				g, rows := small(t, metric, int8, n)
				data := encoded(t, g)
				b, err := decode(data)
				require.NoError(t, err)
				require.Equal(t, g.params, b.Params())
				read := b.Graph(rows)
				checkGraph(t, read)
				require.Equal(t, data, encoded(t, read))
				require.Equal(t, g.deaths, read.deaths)
				query := rows.Row(uint32(n))
				require.Equal(t, g.Search(rows, query, 5, 9, nil), read.Search(rows, query, 5, 9, nil))

				more := clustered(12, g.Len()+100, 5, 3)
				copy(more.Elements, rows.Elements)
				one, two := g.Extend(), read.Extend()
				require.NoError(t, one.Insert(t.Context(), more, g.Len()+100, 1))
				require.NoError(t, two.Insert(t.Context(), more, g.Len()+100, 1))
				require.Equal(t, encoded(t, one.Graph(more)), encoded(t, two.Graph(more)))
			}
		}
	}
}

// TestDamage: no flipped bit and no cut is taken for a graph.
func TestDamage(t *testing.T) {
	g, _ := small(t, Euclidean, true, 30)
	data := encoded(t, g)
	for i := range len(data) * 8 {
		damaged := bytes.Clone(data)
		damaged[i/8] ^= 1 << (i % 8)
		_, err := decode(damaged)
		if i/64 == 1 && i/8 < 12 { // the version
			require.Error(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrCorrupt, "bit %d", i)
	}
	for n := range data {
		_, err := decode(data[:n])
		require.ErrorIs(t, err, ErrCorrupt, "%d bytes", n)
	}
	_, err := decode(append(bytes.Clone(data), 0))
	require.ErrorIs(t, err, ErrCorrupt)
	newer := bytes.Clone(data)
	newer[8]++
	_, err = decode(newer)
	require.ErrorIs(t, err, ErrVersion)
}

// TestIO: what goes wrong with the disk is no damage, and not lost.
func TestIO(t *testing.T) {
	g, _ := small(t, Cosine, true, 200)
	data := encoded(t, g)
	failed := errors.New("failed")
	for _, n := range []int{0, 20, 1000, len(data) - 4, len(data) - 1} {
		_, err := Decode(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(failed)), int64(len(data)))
		require.ErrorIs(t, err, failed)
		_, err = Decode(bytes.NewReader(data[:n]), int64(len(data)))
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorIs(t, g.Encode(&fullAfter{n, failed}), failed)
	}
}

// fullAfter fails after some bytes.
type fullAfter struct {
	room int
	err  error
}

func (w *fullAfter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, w.err
	}
	return len(b), nil
}

// TestMemory: what a graph is expected to take is about what it takes.
func TestMemory(t *testing.T) {
	for _, metric := range metrics {
		for _, int8 := range []bool{false, true} {
			p := DefaultParams(metric, 20)
			p.Int8, p.EfConstruction = int8, 20
			const n = 3000
			rows := clustered(2, n, 20, 10)
			b, err := New(p)
			require.NoError(t, err)
			require.NoError(t, b.Insert(t.Context(), rows, n, 1))
			require.InEpsilon(t, p.Memory(n), b.Graph(rows).Memory(), 0.05)
		}
	}
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
		data := encoded(t, g)
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
	b, err := decode(data)
	if err != nil {
		return err
	}
	g := b.g
	if g.params.EfConstruction > 100 || g.params.Dimension > 1000 {
		return nil // right, and slow
	}
	require.Equal(t, data, encoded(t, g))
	rows := make(same, g.params.Dimension)
	for i := range rows {
		rows[i] = float32(i) - 1
	}
	g.Search(rows, rows, 3, 10, func(id uint32) bool { return id%2 == 0 })
	require.NoError(t, b.Insert(t.Context(), rows, b.Len()+3, 1))
	b.Graph(rows)
	return nil
}

func FuzzDecode(f *testing.F) {
	for _, metric := range metrics {
		for _, n := range []int{0, 1, 20} {
			g, _ := small(f, metric, metric != Dot, n)
			f.Add(encoded(f, g))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decode(data)
		_ = decodeAndUse(t, sign(data))
	})
}
