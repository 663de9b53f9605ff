package vector_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/run"
	"inmem/vector"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// tester is a test, or a run of a property's check.
type tester interface {
	require.TestingT
	Helper()
}

// world is a store on a disk in memory, with a clock that stands still, and one
// run in it.
type world struct {
	t    tester
	ms   atomic.Int64
	opts inmem.Options
	db   *inmem.DB
	run  *inmem.Run
}

func makeWorld(t tester, change ...func(*inmem.Options)) *world {
	t.Helper()
	w := &world{t: t}
	w.ms.Store(1_700_000_000_000)
	w.opts = inmem.Options{Shards: 2, FS: vfs.NewMem(), Now: func() time.Time { return time.UnixMilli(w.ms.Load()) }}
	for _, c := range change {
		c(&w.opts)
	}
	w.open()
	var err error
	w.run, err = w.db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	return w
}

func newWorld(t testing.TB, change ...func(*inmem.Options)) *world {
	t.Helper()
	w := makeWorld(t, change...)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.db, err = inmem.Open("store", &w.opts)
	require.NoError(w.t, err)
}

func (w *world) reopen() {
	w.t.Helper()
	require.NoError(w.t, w.db.Close())
	w.open()
	var err error
	w.run, err = w.db.Run(w.run.ID())
	require.NoError(w.t, err)
}

func (w *world) version() uint64 {
	w.t.Helper()
	info, err := w.run.Info()
	require.NoError(w.t, err)
	return info.LastVersion
}

func create(t tester, s vector.Store, name string, dimension int, m vector.Metric) {
	t.Helper()
	_, err := s.Create(ctx, name, vector.Config{Dimension: dimension, Metric: m})
	require.NoError(t, err)
}

func upsert(t tester, s vector.Store, collection, key string, v ...float32) {
	t.Helper()
	_, err := s.Upsert(ctx, collection, key, v, nil)
	require.NoError(t, err)
}

// scored is what a search found, as far as it is compared.
type scored struct {
	Key      string
	Score    float64
	Metadata string
}

func search(t tester, s vector.Store, collection string, query []float32, k int, opts ...vector.SearchOption) []scored {
	t.Helper()
	hits, err := s.Search(ctx, collection, query, k, opts...)
	require.NoError(t, err)
	list := []scored{}
	for _, h := range hits {
		list = append(list, scored{h.Key, h.Score, string(h.Metadata)})
	}
	return list
}

func keysOf(list []scored) []string {
	keys := []string{}
	for _, s := range list {
		keys = append(keys, s.Key)
	}
	return keys
}

// stored is what a model knows of a vector.
type stored struct {
	vector   []float32
	metadata string
}

// score is the definition of the metrics, in float64.
func score(m vector.Metric, q, v []float32) float64 {
	dot, qq, vv, dd := 0.0, 0.0, 0.0, 0.0
	for i := range q {
		a, b := float64(q[i]), float64(v[i])
		dot += a * b
		qq += a * a
		vv += b * b
		dd += float64((a - b) * (a - b))
	}
	switch m {
	case vector.Cosine:
		return dot / (math.Sqrt(qq) * math.Sqrt(vv))
	case vector.Dot:
		return dot
	}
	return -math.Sqrt(dd)
}

// nearest looks at every vector.
func nearest(m vector.Metric, vectors map[string]stored, q []float32, k int, match func(key string) bool) []scored {
	list := []scored{}
	for key, v := range vectors {
		if match == nil || match(key) {
			list = append(list, scored{key, score(m, q, v.vector), v.metadata})
		}
	}
	slices.SortFunc(list, func(a, b scored) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	return list[:min(k, len(list))]
}
