package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wordsFile writes n random vectors to a file.
func wordsFile(t *testing.T, n int) string {
	rng := rand.New(rand.NewPCG(1, 1))
	var b []byte
	for range n * wordDim {
		b, _ = binary.Append(b, binary.LittleEndian, float32(rng.NormFloat64()))
	}
	name := filepath.Join(t.TempDir(), "words.f32")
	require.NoError(t, os.WriteFile(name, b, 0o644))
	return name
}

// TestRun: all of it, on few vectors.
func TestRun(t *testing.T) {
	cfg, err := parse([]string{"-words", wordsFile(t, 320), "-dir", t.TempDir(), "-queries", "20", "-rounds", "1", "-m", "8", "-construction", "40", "-coder", "8,12"})
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, run(t.Context(), cfg, &out, io.Discard))
	for _, want := range []string{"## 300 vectors of dimension 100, 20 queries", "| inmem |", "| inmem, through a run |", "| chromem-go |", "int8", "coder/hnsw, M 8", "coder/hnsw, M 12", "| 800 | 1.0000 |", "No -cache"} {
		require.Contains(t, out.String(), want)
	}
}

func TestWithoutData(t *testing.T) {
	cfg, err := parse([]string{"-words", filepath.Join(t.TempDir(), "none")})
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, run(t.Context(), cfg, &out, io.Discard))
	require.Contains(t, out.String(), "is left out")
	_, err = parse([]string{"-rounds", "0"})
	require.Error(t, err)
	_, err = parse([]string{"what"})
	require.Error(t, err)
}

func TestSplit(t *testing.T) {
	m, err := loadWords(wordsFile(t, 30))
	require.NoError(t, err)
	d := m.split(100, 5)
	require.Equal(t, 25, d.n)
	require.Equal(t, 5, d.queries())
	for i := range d.queries() {
		for j := range d.n {
			require.NotEqual(t, d.query(i), d.row(j))
		}
	}
	require.Equal(t, d, m.split(100, 5))
}

// TestUnpack reads a package as the registry has it.
func TestUnpack(t *testing.T) {
	vector := strings.Repeat("0.5,", wordDim) + "7,8"
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{
		"package/package.json": `{}`,
		"package/words.json":   `{"words":["a","b"],"vectors":{"a":[` + vector + `],"b":[` + vector + `]},"more":1}`,
	} {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644}))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	elements, err := unpack(&b)
	require.NoError(t, err)
	require.Len(t, elements, 2*wordDim)
	require.Equal(t, float32(0.5), elements[wordDim])
	_, err = unpack(strings.NewReader("no archive"))
	require.Error(t, err)
}
