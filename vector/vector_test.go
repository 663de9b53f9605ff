package vector_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/vector"
	"inmem/vector/matrix"
)

func TestCollections(t *testing.T) {
	w := newWorld(t)
	s := w.run.Vectors()
	made, err := s.Create(ctx, "b", vector.Config{Dimension: 3, Metric: vector.Dot})
	require.NoError(t, err)
	require.Equal(t, vector.Collection{Name: "b", Config: vector.Config{Dimension: 3, Metric: vector.Dot}, Version: 2}, made)
	again, err := s.Create(ctx, "b", vector.Config{Dimension: 3, Metric: vector.Dot})
	require.NoError(t, err)
	require.Equal(t, made, again)
	require.EqualValues(t, 2, w.version())
	create(t, s, "a\xc3\xa4", 1, vector.Euclidean)
	got, err := s.Collection(ctx, "b")
	require.NoError(t, err)
	require.Equal(t, made, got)
	names := []string{}
	for c, err := range s.Collections(ctx) {
		require.NoError(t, err)
		names = append(names, c.Name)
	}
	require.Equal(t, []string{"aä", "b"}, names)

	_, err = s.Create(ctx, "b", vector.Config{Dimension: 4, Metric: vector.Dot})
	var exists *vector.ExistsError
	require.ErrorAs(t, err, &exists)
	require.ErrorIs(t, err, vector.ErrExists)
	require.Equal(t, `inmem: the collection exists with another configuration: "b" is 3 × dot, not 4 × dot; drop it first, or use another name`, err.Error())
	for _, name := range []string{"", strings.Repeat("x", 256), "a\x00b", "\xff"} {
		_, err := s.Create(ctx, name, vector.Config{Dimension: 1, Metric: vector.Dot})
		require.ErrorIs(t, err, vector.ErrInvalidName, "%q", name)
	}
	for _, c := range []vector.Config{{}, {Dimension: 1}, {Dimension: 1, Metric: 4}, {Metric: vector.Dot}, {Dimension: vector.MaxDimension + 1, Metric: vector.Dot}} {
		_, err := s.Create(ctx, "c", c)
		require.ErrorIs(t, err, vector.ErrInvalidConfig, "%v", c)
	}
	_, err = s.Create(ctx, "c", vector.Config{Dimension: 1, Metric: vector.Dot}, vector.Durability(9))
	require.ErrorIs(t, err, inmem.ErrInvalidOption)
	for _, m := range []vector.Metric{vector.Cosine, vector.Dot, vector.Euclidean} {
		same, err := vector.ParseMetric(m.String())
		require.NoError(t, err)
		require.Equal(t, m, same)
	}
	_, err = vector.ParseMetric("hamming")
	require.ErrorIs(t, err, vector.ErrInvalidConfig)

	_, err = s.Collection(ctx, "none")
	require.EqualError(t, err, `inmem: no such collection: "none"; create it first`)
	require.ErrorIs(t, s.Drop(ctx, "none"), vector.ErrNoCollection)
	require.ErrorIs(t, s.Drop(ctx, "none", vector.Durability(9)), inmem.ErrInvalidOption)
	upsert(t, s, "b", "k", 1, 2, 3)
	require.NoError(t, s.Drop(ctx, "b", vector.Durability(inmem.Strict)))
	create(t, s, "b", 2, vector.Cosine)
	n, err := s.Len(ctx, "b")
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestVectors(t *testing.T) {
	w := newWorld(t)
	s := w.run.Vectors()
	create(t, s, "c", 2, vector.Cosine)
	version, err := s.Upsert(ctx, "c", "k\x00\xff", []float32{1, -2}, []byte(` {"a":1}`), vector.Durability(inmem.Strict))
	require.NoError(t, err)
	require.Equal(t, w.version(), version)
	got, err := s.Get(ctx, "c", "k\x00\xff")
	require.NoError(t, err)
	require.Equal(t, vector.Item{Key: "k\x00\xff", Vector: []float32{1, -2}, Metadata: []byte(` {"a":1}`), Version: version}, got)
	version, err = s.UpsertBatch(ctx, "c", []vector.New{
		{Key: "a", Vector: []float32{1, 0}}, {Key: "b", Vector: []float32{0, 1}}, {Key: "a", Vector: []float32{2, 0}, Metadata: []byte(`{}`)},
	})
	require.NoError(t, err)
	listed := func(prefix string, opts ...vector.ListOption) (list []vector.Item) {
		for it, err := range s.List(ctx, "c", prefix, opts...) {
			require.NoError(t, err)
			list = append(list, it)
		}
		return list
	}
	want := []vector.Item{{Key: "a", Vector: []float32{2, 0}, Metadata: []byte(`{}`), Version: version}, {Key: "b", Vector: []float32{0, 1}, Version: version}, got}
	require.Equal(t, want, listed(""))
	require.Equal(t, want[2:], listed("k"))
	require.Equal(t, want[:1], listed("", vector.Limit(1)))
	want[0].Vector = nil
	require.Equal(t, want[:1], listed("a", vector.WithoutVectors()))
	none, err := s.UpsertBatch(ctx, "c", nil)
	require.NoError(t, err)
	require.Zero(t, none)
	require.Equal(t, version, w.version())

	require.NoError(t, s.Delete(ctx, "c", "a"))
	require.ErrorIs(t, s.Delete(ctx, "c", "a"), inmem.ErrNotFound)
	_, err = s.Get(ctx, "c", "a")
	require.ErrorIs(t, err, inmem.ErrNotFound)
	require.ErrorIs(t, s.Delete(ctx, "none", "a"), vector.ErrNoCollection)
	require.ErrorIs(t, s.Delete(ctx, "c", "b", vector.Durability(9)), inmem.ErrInvalidOption)
	_, err = s.Get(ctx, "none", "a")
	require.ErrorIs(t, err, vector.ErrNoCollection)
	_, err = s.Len(ctx, "none")
	require.ErrorIs(t, err, vector.ErrNoCollection)
}

// TestWhatIsRefused: what is wrong with a vector is said, and nothing happens.
func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t, func(o *inmem.Options) { o.MaxKeySize, o.MaxValueSize, o.MaxCommitSize = 20, 100, 300 })
	s := w.run.Vectors()
	create(t, s, "c", 2, vector.Cosine)
	create(t, s, "d", 2, vector.Dot)
	before := w.version()
	ok := []float32{1, 2}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for name, x := range map[string]struct {
		collection, key string
		vector          []float32
		metadata        string
		want            error
	}{
		"no collection":      {"none", "k", ok, "", vector.ErrNoCollection},
		"no key":             {"c", "", ok, "", inmem.ErrKeyEmpty},
		"a long key":         {"c", strings.Repeat("k", 18), ok, "", inmem.ErrKeyTooLarge},
		"a long value":       {"c", "k", ok, `{"a":"` + strings.Repeat("x", 90) + `"}`, inmem.ErrValueTooLarge},
		"too few":            {"c", "k", []float32{1}, "", vector.ErrDimension},
		"too many":           {"c", "k", []float32{1, 2, 3}, "", vector.ErrDimension},
		"NaN":                {"c", "k", []float32{1, nan}, "", vector.ErrNotFinite},
		"infinity":           {"d", "k", []float32{inf, 1}, "", vector.ErrNotFinite},
		"zero":               {"c", "k", []float32{0, 0}, "", vector.ErrZeroVector},
		"an array":           {"c", "k", ok, "[]", vector.ErrInvalidMetadata},
		"no JSON":            {"c", "k", ok, " {", vector.ErrInvalidMetadata},
		"no JSON at all":     {"c", "k", ok, "  ", vector.ErrInvalidMetadata},
		"not in UTF-8":       {"c", "k", ok, "{\"a\":\"\xff\"}", vector.ErrInvalidMetadata},
		"two objects":        {"c", "k", ok, "{}{}", vector.ErrInvalidMetadata},
		"something after it": {"c", "k", ok, "{} x", vector.ErrInvalidMetadata},
	} {
		_, err := s.Upsert(ctx, x.collection, x.key, x.vector, []byte(x.metadata))
		require.ErrorIs(t, err, x.want, name)
		_, err = s.UpsertBatch(ctx, x.collection, []vector.New{{Key: "fine", Vector: ok}, {Key: x.key, Vector: x.vector, Metadata: []byte(x.metadata)}})
		require.ErrorIs(t, err, x.want, name)
		var which *vector.ItemError
		if errors.As(err, &which); x.collection != "none" {
			require.NotNil(t, which, name)
			require.Equal(t, 1, which.Index, name)
			require.Contains(t, err.Error(), "vector 1 of the batch", name)
		}
	}
	var many []vector.New
	for i := range 20 {
		many = append(many, vector.New{Key: fmt.Sprint(i), Vector: ok})
	}
	_, err := s.UpsertBatch(ctx, "c", many)
	require.ErrorIs(t, err, inmem.ErrBatchTooLarge)
	_, err = s.Upsert(ctx, "c", "k", ok, nil, vector.Durability(9))
	require.ErrorIs(t, err, inmem.ErrInvalidOption)
	_, err = s.Create(ctx, strings.Repeat("n", 18), vector.Config{Dimension: 1, Metric: vector.Dot})
	require.ErrorIs(t, err, inmem.ErrKeyTooLarge)

	for name, x := range map[string]struct {
		collection string
		query      []float32
		k          int
		want       error
	}{
		"no collection": {"none", ok, 1, vector.ErrNoCollection},
		"none wanted":   {"c", ok, 0, inmem.ErrInvalidOption},
		"too few":       {"c", ok[:1], 1, vector.ErrDimension},
		"NaN":           {"d", []float32{nan, 1}, 1, vector.ErrNotFinite},
		"zero":          {"c", []float32{0, 0}, 1, vector.ErrZeroVector},
	} {
		_, err := s.Search(ctx, x.collection, x.query, x.k)
		require.ErrorIs(t, err, x.want, name)
	}
	require.Equal(t, before, w.version())
	require.EqualError(t, (&vector.ElementError{Index: 3, Value: nan}), "inmem: an element of a vector is not a finite number: element 3 is NaN")
	require.EqualError(t, (&vector.DimensionError{Has: 1, Want: 2}), "inmem: wrong dimension of a vector: it has 1 elements, the collection's have 2")
}

// TestDropOfManyVectors: a collection that is larger than a commit may be goes in
// several.
func TestDropOfManyVectors(t *testing.T) {
	w := newWorld(t, func(o *inmem.Options) { o.MaxKeySize, o.MaxValueSize, o.MaxCommitSize = 20, 100, 500 })
	s := w.run.Vectors()
	create(t, s, "c", 1, vector.Dot)
	create(t, s, "d", 1, vector.Dot)
	upsert(t, s, "d", "k", 1)
	for i := range 50 {
		upsert(t, s, "c", fmt.Sprint("k", i), float32(i))
	}
	tx, err := w.run.Begin(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, tx.Vectors().Drop(ctx, "c"), inmem.ErrBatchTooLarge)
	tx.Rollback()
	before := w.version()
	require.NoError(t, s.Drop(ctx, "c"))
	require.Greater(t, w.version(), before+3)
	for c, err := range w.run.Contents(ctx, inmem.TagVector) {
		require.NoError(t, err)
		require.Contains(t, c.Key, "d")
	}
}

func TestSearchOptions(t *testing.T) {
	w := newWorld(t)
	s := w.run.Vectors()
	create(t, s, "c", 1, vector.Euclidean)
	var list []vector.New
	for i := range 100 {
		list = append(list, vector.New{Key: fmt.Sprintf("%02d", i), Vector: []float32{float32(i)}, Metadata: fmt.Appendf(nil, `{"odd":%v}`, i%2 == 1)})
	}
	_, err := s.UpsertBatch(ctx, "c", list)
	require.NoError(t, err)
	odd := vector.FilterFunc(func(it vector.Item) (bool, error) { return strings.Contains(string(it.Metadata), "true"), nil })
	low := vector.FilterFunc(func(it vector.Item) (bool, error) { require.Nil(t, it.Vector); return it.Key < "5", nil })
	query := []float32{90}
	require.Equal(t, []string{"89", "91", "87"}, keysOf(search(t, s, "c", query, 3, vector.Where(odd))))
	require.Equal(t, []string{"49", "47"}, keysOf(search(t, s, "c", query, 2, vector.Where(odd), vector.Where(low))))
	hits, err := s.Search(ctx, "c", query, 1, vector.WithVectors(), vector.Workers(4))
	require.NoError(t, err)
	require.Equal(t, []vector.Hit{{Item: vector.Item{Key: "90", Vector: query, Metadata: []byte(`{"odd":false}`), Version: w.version()}}}, hits)
	require.Len(t, search(t, s, "c", query, math.MaxInt), 100)
	failed := errors.New("no")
	_, err = s.Search(ctx, "c", query, 1, vector.Where(vector.FilterFunc(func(vector.Item) (bool, error) { return false, failed })))
	require.ErrorIs(t, err, failed)
}

// TestEndedContexts, and stores that were closed.
func TestEndedContexts(t *testing.T) {
	w := makeWorld(t)
	s := w.run.Vectors()
	create(t, s, "c", 1, vector.Dot)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	calls := func(ctx context.Context) (errs []error) {
		note := func(err error) { errs = append(errs, err) }
		_, err := s.Create(ctx, "d", vector.Config{Dimension: 1, Metric: vector.Dot})
		note(err)
		_, err = s.Collection(ctx, "c")
		note(err)
		for _, err := range s.Collections(ctx) {
			note(err)
		}
		_, err = s.Upsert(ctx, "c", "k", []float32{1}, nil)
		note(err)
		_, err = s.Get(ctx, "c", "k")
		note(err)
		_, err = s.Search(ctx, "c", []float32{1}, 1)
		note(err)
		note(s.Delete(ctx, "c", "k"))
		note(s.Drop(ctx, "c"))
		return errs
	}
	for i, err := range calls(ended) {
		require.ErrorIs(t, err, context.Canceled, "call %d", i)
	}
	upsert(t, s, "c", "k", 1)
	for _, err := range s.List(ended, "c", "") {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, w.run.End(ctx, run.Completed))
	_, err := s.Upsert(ctx, "c", "k", []float32{1}, nil)
	require.ErrorIs(t, err, inmem.ErrRunEnded)
	require.Len(t, search(t, s, "c", []float32{1}, 1), 1)
	require.NoError(t, w.db.Close())
	for i, err := range calls(ctx) {
		require.ErrorIs(t, err, inmem.ErrClosed, "call %d", i)
	}
}

// forged is a run in which there is what no face has written.
type forged struct {
	op.Run
	items map[string][]byte
}

func (f *forged) View() (op.View, error) { return forgedView{f}, nil }

type forgedView struct{ *forged }

func (v forgedView) Version() uint64 { return 1 }

func (v forgedView) Get(_ op.Tag, key string) (op.Item, bool) {
	b, ok := v.items[key]
	return op.Item{Value: b, Version: 1}, ok
}

func (v forgedView) Scan(_ op.Tag, r op.Range, fn func(key string, it op.Item) bool) {
	for key, b := range v.items {
		if key >= r.From && (r.To == "" || key < r.To) && !fn(key, op.Item{Value: b, Version: 1}) {
			return
		}
	}
}

// TestForgedRecords: what no face has written is said, not trusted.
func TestForgedRecords(t *testing.T) {
	collection := []byte{1, byte(vector.Cosine), 1}
	for name, b := range map[string][]byte{
		"nothing": {}, "another format": {2}, "another dimension": {1, 2, 0, 0, 0x80, 0x3F, 0, 0, 0x80, 0x3F},
		"infinite": {1, 1, 0, 0, 0x80, 0x7F}, "zero": {1, 1, 0, 0, 0, 0x80}, "cut short": {1, 1, 0},
	} {
		s := vector.NewStore(&forged{items: map[string][]byte{"cx": collection, "vx\x00k": b}}, matrix.Set{})
		_, err := s.Search(ctx, "x", []float32{1}, 1)
		require.True(t, errors.Is(err, vector.ErrInvalidRecord) || errors.Is(err, vector.ErrUnsupportedRecord), "%s: %v", name, err)
	}
	s := vector.NewStore(&forged{items: map[string][]byte{"cx": collection, "vx\x00k": {1}, "cy": {1, 9}}}, matrix.Set{})
	_, err := s.Get(ctx, "x", "k")
	require.ErrorIs(t, err, vector.ErrInvalidRecord)
	for _, err := range s.List(ctx, "x", "") {
		require.ErrorIs(t, err, vector.ErrInvalidRecord)
	}
	_, err = s.Search(ctx, "x", []float32{1}, 1, vector.Where(vector.FilterFunc(func(vector.Item) (bool, error) { return true, nil })))
	require.ErrorIs(t, err, vector.ErrInvalidRecord)
	_, err = s.Collection(ctx, "y")
	require.ErrorIs(t, err, vector.ErrInvalidRecord)
	failed := 0
	for _, err := range s.Collections(ctx) {
		if err != nil {
			failed++
		}
	}
	require.Equal(t, 1, failed)
}
