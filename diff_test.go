package inmem_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/diff"
	"inmem/event"
	"inmem/kv"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

// fillForDiff puts some of every face into a run, in one commit each.
func fillForDiff(t testing.TB, r *inmem.Run, word string) {
	t.Helper()
	put(t, r, "same", "x")
	put(t, r, "plan", `{"city":"`+word+`","seats":2}`)
	_, err := r.State().Init(ctx, "job", state.Value{State: "queued", Data: []byte(`{"n":1}`)})
	require.NoError(t, err)
	for _, e := range []event.New{{Type: "asked"}, {Type: "answered", Payload: []byte(`{"text":"` + word + `"}`)}} {
		_, err := r.Events().Append(ctx, event.Main, e)
		require.NoError(t, err)
	}
	_, err = r.Trace().Record(ctx, trace.Start{Kind: trace.ToolCall, Name: "search", Input: []byte(`{"q":"` + word + `"}`)}, trace.Finish{})
	require.NoError(t, err)
}

func diffPaths(w diff.Within) (list []string) {
	for _, d := range w.Differences {
		list = append(list, d.Path)
	}
	return list
}

func TestDiff(t *testing.T) {
	s := newStore(t)
	a, b := s.begin(), s.begin()
	fillForDiff(t, a, "Rome")
	s.wall.move(time.Hour)
	fillForDiff(t, b, "Oslo")
	put(t, b, "new", "y")
	check := func(s *inmem.DB) {
		t.Helper()
		r, err := s.Diff(ctx, inmem.Point{Run: a.ID()}, inmem.Point{Run: b.ID()})
		require.NoError(t, err)
		require.Equal(t, []inmem.Point{{Run: a.ID(), Version: 7}, {Run: b.ID(), Version: 8}}, []inmem.Point{r.A, r.B})
		require.Len(t, r.Keys, 2)
		require.Equal(t, diff.Added, r.Keys[0].Change)
		require.Equal(t, kv.Item{Key: "new", Value: []byte("y"), Version: 8}, *r.Keys[0].B)
		require.Equal(t, []string{"/city"}, diffPaths(r.Keys[1].Within))
		require.Equal(t, uint64(3), r.Keys[1].A.Version)
		require.Empty(t, r.Cells)
		require.Len(t, r.Streams, 1)
		require.Equal(t, 2, r.Streams[0].First.Position)
		require.Equal(t, []string{"/text"}, diffPaths(r.Streams[0].First.Within))
		require.Equal(t, 1, r.Spans.First.Position)
		require.Equal(t, []string{"/input/q"}, diffPaths(r.Spans.First.Within))
		require.Nil(t, r.Steps)

		// One run at two versions.
		r, err = s.Diff(ctx, inmem.Point{Run: a.ID(), Version: 3}, inmem.Point{Run: a.ID(), Version: 5})
		require.NoError(t, err)
		require.Empty(t, r.Keys)
		require.Len(t, r.Cells, 1)
		require.Equal(t, "asked", r.Streams[0].First.B.Type)
		require.Nil(t, r.Spans)

		r, err = s.Diff(ctx, inmem.Point{Run: a.ID()}, inmem.Point{Run: a.ID(), Version: 7})
		require.NoError(t, err)
		require.True(t, r.Equal())

		r, err = s.Diff(ctx, inmem.Point{Run: a.ID()}, inmem.Point{Run: b.ID()}, diff.Only(diff.Trace), diff.Ignore("/input/q"))
		require.NoError(t, err)
		require.True(t, r.Equal())
	}
	check(s.DB)
	s.reopen()
	check(s.DB)
	require.NoError(t, s.DB.Checkpoint(ctx))
	require.NoError(t, s.Flush(ctx))
	reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	check(reader)
}

func TestDiffErrors(t *testing.T) {
	s := newStore(t)
	a := s.begin()
	point := inmem.Point{Run: a.ID()}
	for _, c := range []struct {
		a, b inmem.Point
		opts []diff.Option
		want error
	}{
		{point, inmem.Point{Run: run.ID{1}}, nil, inmem.ErrRunNotFound},
		{inmem.Point{Run: run.ID{1}}, point, nil, inmem.ErrRunNotFound},
		{point, inmem.Point{Run: a.ID(), Version: 2}, nil, inmem.ErrVersionGone},
		{point, point, []diff.Option{diff.Ignore("x")}, diff.ErrInvalidPath},
	} {
		_, err := s.Diff(ctx, c.a, c.b, c.opts...)
		require.ErrorIs(t, err, c.want)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Diff(ended, point, point)
	require.ErrorIs(t, err, context.Canceled)
	past, err := s.At(ctx, point)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s.ended = true
	_, err = s.Diff(ctx, point, point)
	require.ErrorIs(t, err, inmem.ErrClosed)
	_, err = inmem.DiffPast(ctx, past, past)
	require.ErrorIs(t, err, inmem.ErrClosed)
}

// TestDiffOfTwoStores: runs of different stores compare, and what was read stays
// what it was while the run goes on.
func TestDiffOfTwoStores(t *testing.T) {
	first, second := newStore(t), newStore(t)
	a, b := first.begin(), second.begin()
	fillForDiff(t, a, "Rome")
	fillForDiff(t, b, "Rome")
	past := func(s *store, r *inmem.Run) *inmem.Past {
		p, err := s.At(ctx, inmem.Point{Run: r.ID()})
		require.NoError(t, err)
		return p
	}
	pastA, pastB := past(first, a), past(second, b)
	put(t, b, "same", "other")
	r, err := inmem.DiffPast(ctx, pastA, pastB)
	require.NoError(t, err)
	require.True(t, r.Equal())
	r, err = inmem.DiffPast(ctx, pastA, past(second, b))
	require.NoError(t, err)
	require.Len(t, r.Keys, 1)
	require.Equal(t, "other", string(r.Keys[0].B.Value))
}

// TestDiffJudgesDeadlines: the newest version is compared as it is read now, an
// older one as it was.
func TestDiffJudgesDeadlines(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Shards = 1 })
	r := s.begin()
	put(t, r, "key", "x", kv.TTL(time.Minute))
	p, err := s.At(ctx, inmem.Point{Run: r.ID()})
	require.NoError(t, err)
	_, err = p.KV().Get(ctx, "key")
	require.NoError(t, err)
	s.wall.move(time.Hour)
	d, err := s.Diff(ctx, inmem.Point{Run: r.ID(), Version: 2}, inmem.Point{Run: r.ID()})
	require.NoError(t, err)
	require.Len(t, d.Keys, 1)
	require.Equal(t, diff.Removed, d.Keys[0].Change)
}

// manyKeys begins two runs of n keys of 256 bytes, of which one in ten differs.
func manyKeys(t testing.TB, s *store, n int) (a, b *inmem.Run) {
	a, b = s.begin(), s.begin()
	for i, r := range []*inmem.Run{a, b} {
		var batch kv.Batch
		for k := range n {
			value := []byte(strings.Repeat("x", 250) + fmt.Sprintf("%06d", k))
			if i == 1 && k%10 == 0 {
				value[7] = 'y'
			}
			batch.Put(key(k), value)
		}
		_, err := r.KV().Write(ctx, &batch)
		require.NoError(t, err)
	}
	return a, b
}

func TestDiffOfManyKeys(t *testing.T) {
	s := newStore(t)
	a, b := manyKeys(t, s, 1000)
	r, err := s.Diff(ctx, inmem.Point{Run: a.ID()}, inmem.Point{Run: b.ID()})
	require.NoError(t, err)
	require.Len(t, r.Keys, 100)
	for i, k := range r.Keys {
		assert.Equal(t, key(i*10), k.A.Key)
		assert.Equal(t, diff.Changed, k.Change)
	}
}

func BenchmarkDiff(b *testing.B) {
	s := newStore(b)
	x, y := manyKeys(b, s, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Diff(ctx, inmem.Point{Run: x.ID()}, inmem.Point{Run: y.ID()}); err != nil {
			b.Fatal(err)
		}
	}
}
