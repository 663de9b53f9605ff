package hnsw

import (
	"encoding/binary"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWords: what is recalled of real word vectors that are asked for by others.
func TestWords(t *testing.T) {
	data, err := os.ReadFile("../../../shared/data/word-vectors-20k.f32")
	if err != nil {
		t.Skipf("no word vectors: %v", err)
	}
	const dim, asked = 100, 100
	elements := make([]float32, len(data)/4)
	for i := range elements {
		elements[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	n := len(elements)/dim - asked
	if testing.Short() || raceEnabled {
		n = 3000
	}
	rows := Contiguous{elements[:n*dim], dim}
	queries := Contiguous{elements[len(elements)-asked*dim:], dim}
	p := DefaultParams(Cosine, dim)
	p.EfConstruction = 100
	g := build(t, p, rows, n, 2)
	checkGraph(t, g)
	low, high := recall(g, rows, queries, asked, 10, 50), recall(g, rows, queries, asked, 10, 200)
	t.Logf("%d words: recall@10 %.3f with ef 50, %.3f with ef 200", n, low, high)
	require.Greater(t, low, 0.85)
	require.Greater(t, high, 0.97)
}
