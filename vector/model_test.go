package vector_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/run"
	"inmem/vector"
)

// modelCollection is a collection of the model; it never changes once a version
// has it.
type modelCollection struct {
	vector.Config
	vectors map[string]stored
}

type model map[string]modelCollection

func (m model) clone() model {
	out := model{}
	for name, c := range m {
		out[name] = modelCollection{c.Config, maps.Clone(c.vectors)}
	}
	return out
}

// machine is a run beside a model of each of its versions.
type machine struct {
	*world
	now      model
	versions map[uint64]model
}

// elements are few, so that vectors are equally near, and some so large or small
// that float32 has no scores for them.
var elements = []float32{0, 0, 1, 1, -1, 2, 0.5, 3, 1e-3, 1e-30, 3e-39, 1e30, -3e38}

func drawVector(t *rapid.T, dimension int, tame bool) []float32 {
	from := elements
	if tame {
		from = elements[:9]
	}
	return rapid.SliceOfN(rapid.SampledFrom(from), dimension, dimension).Draw(t, "vector")
}

func isZero(v []float32) bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}

var modelNames = []string{"a", "b"}

// change does one random thing through a face, and to a model.
func (m *machine) change(t *rapid.T, s vector.Store, to model) {
	name := rapid.SampledFrom(modelNames).Draw(t, "collection")
	c, exists := to[name]
	key := func() string { return fmt.Sprintf("k%02d", rapid.IntRange(0, 40).Draw(t, "key")) }
	tame := rapid.IntRange(0, 3).Draw(t, "tame") > 0
	switch kind := rapid.IntRange(0, 11).Draw(t, "change"); {
	case kind == 0:
		cfg := vector.Config{Dimension: rapid.SampledFrom([]int{1, 2, 5, 17}).Draw(t, "dimension"), Metric: vector.Metric(rapid.IntRange(1, 3).Draw(t, "metric"))}
		_, err := s.Create(ctx, name, cfg)
		switch {
		case exists && c.Config != cfg:
			require.ErrorIs(t, err, vector.ErrExists)
		default:
			require.NoError(t, err)
			if !exists {
				to[name] = modelCollection{cfg, map[string]stored{}}
			}
		}
	case kind == 1 && rapid.IntRange(0, 2).Draw(t, "really") == 0:
		err := s.Drop(ctx, name)
		if !exists {
			require.ErrorIs(t, err, vector.ErrNoCollection)
			return
		}
		require.NoError(t, err)
		delete(to, name)
	case kind < 4:
		k := key()
		err := s.Delete(ctx, name, k)
		if _, ok := c.vectors[k]; exists && ok {
			require.NoError(t, err)
			delete(c.vectors, k)
		} else {
			require.True(t, errors.Is(err, inmem.ErrNotFound) || !exists && errors.Is(err, vector.ErrNoCollection), "%v", err)
		}
	default:
		m.batch(t, s, name, c, exists, tame, key)
	}
}

// batch upserts some vectors.
func (m *machine) batch(t *rapid.T, s vector.Store, name string, c modelCollection, exists, tame bool, key func() string) {
	dimension := c.Dimension
	if !exists {
		dimension = 2
	}
	var list []vector.New
	zero := false
	for range rapid.IntRange(1, 30).Draw(t, "vectors") {
		n := vector.New{Key: key(), Vector: drawVector(t, dimension, tame)}
		if rapid.Bool().Draw(t, "metadata") {
			n.Metadata = fmt.Appendf(nil, `{"n":%d}`, rapid.IntRange(0, 3).Draw(t, "n"))
		}
		zero = zero || isZero(n.Vector)
		list = append(list, n)
	}
	_, err := s.UpsertBatch(ctx, name, list)
	switch {
	case !exists:
		require.ErrorIs(t, err, vector.ErrNoCollection)
		return
	case zero && c.Metric == vector.Cosine:
		require.ErrorIs(t, err, vector.ErrZeroVector)
		return
	}
	require.NoError(t, err)
	for _, n := range list {
		c.vectors[n.Key] = stored{n.Vector, string(n.Metadata)}
	}
}

// look searches in all that a face shows, and compares.
func (m *machine) look(t *rapid.T, s vector.Store, want model) {
	for _, name := range modelNames {
		c, exists := want[name]
		if !exists {
			_, err := s.Search(ctx, name, []float32{1}, 1)
			require.ErrorIs(t, err, vector.ErrNoCollection)
			continue
		}
		query := drawVector(t, c.Dimension, rapid.IntRange(0, 3).Draw(t, "tame query") > 0)
		if isZero(query) && c.Metric == vector.Cosine {
			query[0] = 1
		}
		k := rapid.SampledFrom([]int{1, 3, 10, 100}).Draw(t, "k")
		var opts []vector.SearchOption
		var match func(string) bool
		if rapid.IntRange(0, 2).Draw(t, "filter") == 0 {
			match = func(key string) bool { return strings.Contains(c.vectors[key].metadata, "1") }
			opts = append(opts, vector.Where(vector.FilterFunc(func(it vector.Item) (bool, error) {
				require.Equal(t, c.vectors[it.Key].metadata, string(it.Metadata), "key %q", it.Key)
				return strings.Contains(string(it.Metadata), "1"), nil
			})))
		}
		if rapid.IntRange(0, 3).Draw(t, "workers") == 0 {
			opts = append(opts, vector.Workers(3))
		}
		require.Equal(t, nearest(c.Metric, c.vectors, query, k, match), search(t, s, name, query, k, opts...), "%s %v, query %v", name, c.Config, query)
	}
}

// remember notes what the run is at its version.
func (m *machine) remember() { m.versions[m.version()] = m.now.clone() }

func (m *machine) step(t *rapid.T) {
	switch rapid.IntRange(0, 15).Draw(t, "step") {
	case 0:
		m.reopen()
	case 1: // a fork goes on instead
		f, err := m.db.Fork(ctx, m.run.ID(), 0, run.Meta{})
		require.NoError(t, err)
		m.run, m.versions = f, map[uint64]model{}
	case 2, 3:
		tx, err := m.run.Begin(ctx)
		require.NoError(t, err)
		inside := m.now.clone()
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			m.change(t, tx.Vectors(), inside)
			m.look(t, tx.Vectors(), inside)
		}
		if rapid.Bool().Draw(t, "commit") {
			_, err := tx.Commit(ctx)
			require.NoError(t, err)
			m.now = inside
		}
		tx.Rollback()
	case 4: // a transaction that sees less than the run has by now
		before := m.now.clone()
		tx, err := m.run.BeginView(ctx)
		require.NoError(t, err)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			m.change(t, m.run.Vectors(), m.now)
		}
		m.look(t, m.run.Vectors(), m.now)
		m.look(t, tx.Vectors(), before)
		tx.Rollback()
	case 5, 6:
		if len(m.versions) == 0 {
			break
		}
		version := rapid.SampledFrom(slices.Sorted(maps.Keys(m.versions))).Draw(t, "version")
		p, err := m.run.At(ctx, version)
		require.NoError(t, err)
		m.look(t, p.Vectors(), m.versions[version])
	default:
		m.change(t, m.run.Vectors(), m.now)
	}
	m.look(t, m.run.Vectors(), m.now)
	m.remember()
}

// TestSearchAgainstAModel: whatever is written, forked, dropped or looked back at,
// and whatever is kept in memory, a search finds what a look at every vector does,
// to the last bit.
func TestSearchAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memory := rapid.SampledFrom([]int64{0, 0, -1, 20 << 10}).Draw(t, "memory")
		m := &machine{now: model{}, versions: map[uint64]model{}}
		m.world = makeWorld(t, func(o *inmem.Options) { o.VectorMemory = memory })
		defer func() { require.NoError(t, m.db.Close()) }()
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			m.step(t)
		}
		if memory != 0 {
			require.LessOrEqual(t, m.db.Metrics().Memory.Vectors, max(memory, 0))
		}
		require.NoError(t, m.run.End(ctx, run.Completed))
		for info, err := range m.db.Runs(ctx, run.Filter{}) {
			require.NoError(t, err)
			require.NoError(t, m.db.DeleteRun(ctx, info.ID))
		}
		require.Zero(t, m.db.Metrics().Memory.Vectors, "nothing is kept of runs that are gone")
	})
}
