package event_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/op"
)

func sequences(list []event.Event) []uint64 {
	out := []uint64{}
	for _, e := range list {
		out = append(out, e.Sequence)
	}
	return out
}

// at is a moment of a test's time.
func at(ms int64) time.Time { return time.UnixMilli(epoch + ms) }

// ten appends ten events to Main, at 0, 10, 20, 30, 40, 40, 40, 70, 80 and 90
// ms, of types a, b, a, b …, among events of other streams.
func ten(t *testing.T, w *world, s event.Store) {
	for i, ms := range []int64{0, 10, 20, 30, 40, 40, 40, 70, 80, 90} {
		w.ms.Store(epoch + ms)
		for _, stream := range []string{"mai", event.Main, "mainz"} {
			add(t, s, stream, event.New{Type: string(rune('a' + i%2))})
		}
	}
}

// readings are what Read returns of the events of ten.
var readings = []struct {
	opts []event.ReadOption
	want []uint64
}{
	{nil, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	{[]event.ReadOption{event.Reverse()}, []uint64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
	{[]event.ReadOption{event.After(7)}, []uint64{8, 9, 10}},
	{[]event.ReadOption{event.After(0), event.Limit(2)}, []uint64{1, 2}},
	{[]event.ReadOption{event.After(10)}, nil},
	{[]event.ReadOption{event.After(math.MaxUint64)}, nil},
	{[]event.ReadOption{event.After(math.MaxUint64 - 1)}, nil},
	{[]event.ReadOption{event.Before(3)}, []uint64{1, 2}},
	{[]event.ReadOption{event.Before(1)}, nil},
	{[]event.ReadOption{event.Before(0)}, nil},
	{[]event.ReadOption{event.Before(100), event.Reverse(), event.Limit(2)}, []uint64{10, 9}},
	{[]event.ReadOption{event.Before(9), event.Reverse(), event.Limit(2)}, []uint64{8, 7}},
	{[]event.ReadOption{event.After(3), event.Before(6)}, []uint64{4, 5}},
	{[]event.ReadOption{event.After(3), event.Before(4)}, nil},
	{[]event.ReadOption{event.After(6), event.Before(3)}, nil},
	{[]event.ReadOption{event.Limit(-1), event.After(8)}, []uint64{9, 10}},
	{[]event.ReadOption{event.Types("a"), event.Limit(3)}, []uint64{1, 3, 5}},
	{[]event.ReadOption{event.Types("c", "b"), event.After(6), event.Reverse()}, []uint64{10, 8}},
	{[]event.ReadOption{event.Types("c")}, nil},
	{[]event.ReadOption{event.Types()}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	{[]event.ReadOption{event.Since(at(40))}, []uint64{5, 6, 7, 8, 9, 10}},
	{[]event.ReadOption{event.Since(at(40).Add(1))}, []uint64{8, 9, 10}},
	{[]event.ReadOption{event.Since(at(91))}, nil},
	{[]event.ReadOption{event.Since(time.Time{})}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	{[]event.ReadOption{event.Until(at(40))}, []uint64{1, 2, 3, 4}},
	{[]event.ReadOption{event.Until(at(39).Add(1))}, []uint64{1, 2, 3, 4}},
	{[]event.ReadOption{event.Until(at(40).Add(1))}, []uint64{1, 2, 3, 4, 5, 6, 7}},
	{[]event.ReadOption{event.Until(at(0))}, nil},
	{[]event.ReadOption{event.Since(at(20)), event.Until(at(50)), event.Reverse()}, []uint64{7, 6, 5, 4, 3}},
	{[]event.ReadOption{event.Since(at(50)), event.Until(at(20))}, nil},
	{[]event.ReadOption{event.Since(at(30)), event.After(4), event.Before(7), event.Types("b")}, []uint64{6}},
}

// readTen holds all that can be read of the events of ten against what it should be.
func readTen(t *testing.T, s event.Store) {
	for _, c := range readings {
		if c.want == nil {
			c.want = []uint64{}
		}
		seq := s.Read(ctx, event.Main, c.opts...)
		assert.Equal(t, c.want, sequences(collect(t, seq)))
		assert.Equal(t, c.want, sequences(collect(t, seq)), "a second time")
	}
	assert.Empty(t, collect(t, s.Read(ctx, "none")))
	assert.Empty(t, collect(t, s.Read(ctx, "none", event.Since(at(0)), event.Reverse())))
	for range s.Read(ctx, event.Main) {
		break
	}
	assert.Equal(t, []string{"mai", "main", "mainz"}, collect(t, s.Streams(ctx)))
	for range s.Streams(ctx) {
		break
	}

	last, err := s.Last(ctx, event.Main)
	require.NoError(t, err)
	assert.Equal(t, uint64(10), last.Sequence)
	got, err := s.Get(ctx, event.Main, 10)
	require.NoError(t, err)
	assert.Equal(t, last, got)
	n, err := s.Len(ctx, event.Main)
	require.NoError(t, err)
	assert.Equal(t, uint64(10), n)
	require.NoError(t, s.Verify(ctx, event.Main))

	n, err = s.Len(ctx, "none")
	assert.True(t, n == 0 && err == nil)
	assert.NoError(t, s.Verify(ctx, "none"))
	_, err = s.Last(ctx, "none")
	assert.ErrorIs(t, err, inmem.ErrNotFound)
	for _, seq := range []uint64{0, 11, math.MaxUint64} {
		_, err = s.Get(ctx, event.Main, seq)
		assert.ErrorIs(t, err, inmem.ErrNotFound)
	}
}

func TestRead(t *testing.T) {
	w := newWorld(t)
	assert.Empty(t, collect(t, w.run.Events().Streams(ctx)))
	ten(t, w, w.run.Events())
	then := w.version()
	t.Run("run", func(t *testing.T) { readTen(t, w.run.Events()) })
	t.Run("transaction that reads", func(t *testing.T) { readTen(t, w.begin().Events()) })
	add(t, w.run.Events(), event.Main, event.New{Type: "later"})
	add(t, w.run.Events(), "later", event.New{Type: "later"})
	t.Run("past", func(t *testing.T) { readTen(t, w.past(then)) })
	t.Run("transaction that wrote them", func(t *testing.T) {
		w := newWorld(t)
		tx := w.begin()
		ten(t, w, tx.Events())
		readTen(t, tx.Events())
	})
	t.Run("transaction that wrote the second half", func(t *testing.T) {
		w := newWorld(t)
		var tx *inmem.Tx
		for i, ms := range []int64{0, 10, 20, 30, 40, 40, 40, 70, 80, 90} {
			w.ms.Store(epoch + ms)
			s := w.run.Events()
			if i == 5 {
				tx = w.begin()
			}
			if tx != nil {
				s = tx.Events()
			}
			for _, stream := range []string{"mai", event.Main, "mainz"} {
				add(t, s, stream, event.New{Type: string(rune('a' + i%2))})
			}
		}
		readTen(t, tx.Events())
	})
}

func TestStreams(t *testing.T) {
	s := newWorld(t).run.Events()
	want := []string{"\x01", "a", "a\x01", "a b", "aa", "ab", "b", "e", "i", "ä", "😀", strings.Repeat("z", event.MaxName)}
	slices.Sort(want)
	for _, stream := range want {
		for range 3 {
			add(t, s, stream, event.New{Type: "x", ID: fmt.Sprint(len(collect(t, s.Read(ctx, stream))))})
		}
	}
	assert.Equal(t, want, collect(t, s.Streams(ctx)))
	for i, stream := range want {
		assert.Equal(t, want[i:], collect(t, s.StreamsFrom(ctx, stream)))
		assert.Equal(t, want[i+1:], collect(t, s.StreamsFrom(ctx, stream+"\x01")))
		assert.Equal(t, []uint64{1, 2, 3}, sequences(collect(t, s.Read(ctx, stream))), "%q", stream)
		assert.NoError(t, s.Verify(ctx, stream))
	}
}

// meter counts what is read of a run.
type meter struct {
	op.Run
	gets, visited int
}

func (m *meter) View() (op.View, error) {
	v, err := m.Run.View()
	return &meterView{v, m}, err
}

type meterView struct {
	op.View
	m *meter
}

func (v *meterView) Get(tag op.Tag, key string) (op.Item, bool) {
	v.m.gets++
	return v.View.Get(tag, key)
}

func (v *meterView) Scan(tag op.Tag, r op.Range, fn func(string, op.Item) bool) {
	v.View.Scan(tag, r, func(key string, it op.Item) bool {
		v.m.visited++
		return fn(key, it)
	})
}

// TestReadsNoMoreThanItNeeds: what costs little in a short stream costs little
// in a long one.
func TestReadsNoMoreThanItNeeds(t *testing.T) {
	w := newWorld(t)
	many := make([]event.New, 1000)
	for i := range many {
		many[i].Type = "x"
	}
	for range 3 {
		w.ms.Add(1000)
		for _, stream := range []string{"a", "b", "c", "d"} {
			_, err := w.run.Events().AppendAll(ctx, stream, many)
			require.NoError(t, err)
		}
	}
	m := &meter{Run: w.run.Events().Run()}
	s := event.NewStore(m)
	for name, c := range map[string]struct {
		call         func()
		gets, visits int
	}{
		"append":      {func() { add(t, s, "a", event.New{Type: "x"}) }, 0, 1},
		"append, ID":  {func() { add(t, s, "a", event.New{Type: "x", ID: "x"}) }, 1, 1},
		"same ID":     {func() { add(t, s, "b", event.New{Type: "x", ID: "x"}); add(t, s, "b", event.New{Type: "x", ID: "x"}) }, 3, 2},
		"last":        {func() { _, _ = s.Last(ctx, "b") }, 0, 1},
		"length":      {func() { _, _ = s.Len(ctx, "b") }, 0, 1},
		"get":         {func() { _, _ = s.Get(ctx, "b", 500) }, 1, 0},
		"streams":     {func() { assert.Len(t, collect(t, s.Streams(ctx)), 4) }, 0, 4},
		"after":       {func() { assert.Len(t, collect(t, s.Read(ctx, "c", event.After(2990))), 10) }, 0, 10},
		"last five":   {func() { assert.Len(t, collect(t, s.Read(ctx, "c", event.Reverse(), event.Limit(5))), 5) }, 0, 5},
		"since":       {func() { collect(t, s.Read(ctx, "c", event.Since(at(3000)), event.Limit(5))) }, 12, 6},
		"since until": {func() { collect(t, s.Read(ctx, "c", event.Since(at(2000)), event.Until(at(2001)), event.Limit(5))) }, 24, 6},
	} {
		m.gets, m.visited = 0, 0
		c.call()
		assert.LessOrEqual(t, m.gets, c.gets, "gets: %s", name)
		assert.LessOrEqual(t, m.visited, c.visits, "visits: %s", name)
	}
}

func TestContextEndsReads(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	ten(t, w, s)
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	var seqs []uint64
	for e, err := range s.Read(short, event.Main) {
		if err != nil {
			assert.ErrorIs(t, err, context.Canceled)
			seqs = append(seqs, 0)
			continue
		}
		seqs = append(seqs, e.Sequence)
		cancel()
	}
	assert.Equal(t, []uint64{1, 0}, seqs, "the loop ends after an error")
	_, err := s.Get(short, event.Main, 1)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.Last(short, event.Main)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.Len(short, event.Main)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, s.Verify(short, event.Main), context.Canceled)
	assert.ErrorIs(t, failure(t, s.Read(short, event.Main)), context.Canceled)
	assert.ErrorIs(t, failure(t, s.Streams(short)), context.Canceled)

	// A verification that is under way ends, too.
	short, cancel = context.WithCancel(ctx)
	m := &meter{Run: s.Run()}
	ends := &cancelling{Run: m, after: 5, m: m, cancel: cancel}
	assert.ErrorIs(t, event.NewStore(ends).Verify(short, event.Main), context.Canceled)
	assert.Equal(t, 6, m.visited)
}

// cancelling ends a context when so many items were visited.
type cancelling struct {
	op.Run
	m      *meter
	after  int
	cancel func()
}

func (c *cancelling) View() (op.View, error) {
	v, err := c.Run.View()
	return &cancellingView{v, c}, err
}

type cancellingView struct {
	op.View
	c *cancelling
}

func (v *cancellingView) Scan(tag op.Tag, r op.Range, fn func(string, op.Item) bool) {
	v.View.Scan(tag, r, func(key string, it op.Item) bool {
		if v.c.m.visited > v.c.after {
			v.c.cancel()
		}
		return fn(key, it)
	})
}

// TestAppendWhileReading: a loop reads one version, whatever its body does.
func TestAppendWhileReading(t *testing.T) {
	faces(t, func(t *testing.T, w *world, s event.Store) {
		for range 3 {
			add(t, s, event.Main, event.New{Type: "a"})
		}
		for e, err := range s.Read(ctx, event.Main) {
			require.NoError(t, err)
			require.LessOrEqual(t, e.Sequence, uint64(3))
			add(t, s, event.Main, event.New{Type: "b"})
		}
		assert.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, sequences(collect(t, s.Read(ctx, event.Main))))
	})
}

// TestTimesNeverDecrease, not even behind an event of the future.
func TestTimesNeverDecrease(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	e := add(t, s, event.Main, event.New{Type: "a"})
	ahead := e.Time.Add(time.Hour)
	overwrite(t, s, event.Main, 1, func(e *event.Event) { e.Time = ahead })
	w.ms.Add(5)
	got, err := s.AppendAll(ctx, event.Main, []event.New{{Type: "b"}, {Type: "c"}})
	require.NoError(t, err)
	assert.Equal(t, []time.Time{ahead, ahead}, []time.Time{got[0].Time, got[1].Time})
	w.ms.Add(2 * time.Hour.Milliseconds())
	assert.Equal(t, at(5+7_200_000).UTC(), add(t, s, event.Main, event.New{Type: "d"}).Time)
	require.NoError(t, s.Verify(ctx, event.Main))
}
