package trace_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/run"
	"inmem/trace"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const epoch = 1_700_000_000_000 // some day, Unix milliseconds

func at(ms int64) time.Time { return time.UnixMilli(epoch + ms).UTC() }

func open(t testing.TB, disk *vfs.Mem, change ...func(*inmem.Options)) *inmem.DB {
	t.Helper()
	opts := &inmem.Options{FS: disk, Shards: 1, Now: func() time.Time { return at(0) }}
	for _, c := range change {
		c(opts)
	}
	db, err := inmem.Open("store", opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

func begin(t testing.TB, db *inmem.DB) *inmem.Run {
	t.Helper()
	r, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	return r
}

func newRun(t testing.TB) *inmem.Run { return begin(t, open(t, vfs.NewMem())) }

func TestStartAndFinish(t *testing.T) {
	s := newRun(t).Trace()
	input := []byte(`{"city":"Oslo"}`)
	root, err := s.Start(ctx, trace.Start{Kind: trace.ModelCall, Name: "gpt", Attributes: map[string]string{trace.AttrRequestModel: "m", "tag": "a"}})
	require.NoError(t, err)
	id, err := s.Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "weather", Parent: root, Input: input, At: at(5)})
	require.NoError(t, err)
	assert.Equal(t, []trace.ID{1, 2}, []trace.ID{root, id})
	copy(input, "XXXX")
	span, err := s.Get(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, trace.Span{
		ID: 2, Parent: 1, Kind: trace.ToolCall, Name: "weather", Status: trace.Open, Start: at(5), Input: []byte(`{"city":"Oslo"}`), Version: 3,
	}, span)
	assert.Zero(t, span.Duration())

	require.NoError(t, s.Finish(ctx, id, trace.Finish{Output: []byte("rain"), At: at(25)}))
	require.NoError(t, s.Finish(ctx, root, trace.Finish{
		Error: "too slow", Usage: trace.Usage{InputTokens: 10, OutputTokens: 20, Cost: 0.5}, Attributes: map[string]string{"tag": "b", "more": "c"},
	}))
	span, err = s.Get(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, trace.OK, span.Status)
	assert.Equal(t, "rain", string(span.Output))
	assert.Equal(t, 20*time.Millisecond, span.Duration())
	assert.EqualValues(t, 4, span.Version)
	span, err = s.Get(ctx, root)
	require.NoError(t, err)
	assert.Equal(t, trace.Failed, span.Status)
	assert.Equal(t, "too slow", span.Error)
	assert.Equal(t, map[string]string{trace.AttrRequestModel: "m", "tag": "b", "more": "c"}, span.Attributes)
	assert.Equal(t, trace.Usage{InputTokens: 10, OutputTokens: 20, Cost: 0.5}, span.Usage)

	require.ErrorIs(t, s.Finish(ctx, id, trace.Finish{}), trace.ErrFinished)
	require.ErrorIs(t, s.Finish(ctx, 9, trace.Finish{}), trace.ErrNotFound)
	_, err = s.Start(ctx, trace.Start{Kind: trace.Thought, Parent: 9})
	require.ErrorIs(t, err, trace.ErrNoParent)
	_, err = s.Get(ctx, 9)
	require.ErrorIs(t, err, trace.ErrNotFound)
	n, err := s.Len(ctx)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
}

func TestRecordIsOneCommit(t *testing.T) {
	r := newRun(t)
	id, err := r.Trace().Record(ctx, trace.Start{Kind: trace.Decision, Name: "go"}, trace.Finish{Status: trace.Cancelled}, trace.Durability(inmem.Strict))
	require.NoError(t, err)
	span, err := r.Trace().Get(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, trace.Cancelled, span.Status)
	info, err := r.Info()
	require.NoError(t, err)
	assert.EqualValues(t, 2, info.LastVersion)
}

// TestListAndTree: five spans, of which the filters choose.
func TestListAndTree(t *testing.T) {
	r := newRun(t)
	s := r.Trace()
	for i, x := range []struct {
		kind   trace.Kind
		parent trace.ID
		tag    string
	}{{trace.ModelCall, 0, "a"}, {trace.ToolCall, 1, "b"}, {trace.ToolCall, 1, "a"}, {trace.Thought, 3, "a"}, {trace.ModelCall, 0, "b"}} {
		id, err := s.Start(ctx, trace.Start{
			Kind: x.kind, Name: fmt.Sprint("n", i%2), Parent: x.parent, At: at(int64(10 * i)), Attributes: map[string]string{"tag": x.tag},
		})
		require.NoError(t, err)
		if i != 3 {
			require.NoError(t, s.Finish(ctx, id, trace.Finish{At: at(100), Usage: trace.Usage{InputTokens: 1, Cost: 1}}))
		}
	}
	for what, c := range map[string]struct {
		filter trace.Filter
		want   []trace.ID
	}{
		"all":       {trace.Filter{}, []trace.ID{1, 2, 3, 4, 5}},
		"reverse":   {trace.Filter{Reverse: true, Limit: 2}, []trace.ID{5, 4}},
		"kind":      {trace.Filter{Kinds: []trace.Kind{trace.ToolCall, trace.Thought}}, []trace.ID{2, 3, 4}},
		"name":      {trace.Filter{Name: "n1"}, []trace.ID{2, 4}},
		"open":      {trace.Filter{Status: []trace.Status{trace.Open}}, []trace.ID{4}},
		"tag":       {trace.Filter{Attributes: map[string]string{"tag": "b"}}, []trace.ID{2, 5}},
		"no tag":    {trace.Filter{Attributes: map[string]string{"none": ""}}, nil},
		"children":  {trace.Filter{Parent: 1}, []trace.ID{2, 3}},
		"time":      {trace.Filter{Since: at(10), Until: at(30)}, []trace.ID{2, 3}},
		"after":     {trace.Filter{After: 3, Limit: 9}, []trace.ID{4, 5}},
		"before":    {trace.Filter{After: 3, Reverse: true}, []trace.ID{2, 1}},
		"limit":     {trace.Filter{Limit: 1, Kinds: []trace.Kind{trace.Thought}}, []trace.ID{4}},
		"no such":   {trace.Filter{Kinds: []trace.Kind{trace.Custom}}, nil},
		"after all": {trace.Filter{After: 5}, nil},
	} {
		var got []trace.ID
		for span, err := range s.List(ctx, c.filter) {
			require.NoError(t, err)
			got = append(got, span.ID)
		}
		assert.Equal(t, c.want, got, what)
	}
	tree, err := s.Tree(ctx)
	require.NoError(t, err)
	require.Len(t, tree, 2)
	assert.Len(t, tree[0].Children, 2)
	assert.Equal(t, trace.ID(4), tree[0].Children[1].Children[0].ID)
	assert.Equal(t, trace.Usage{InputTokens: 3, Cost: 3}, tree[0].Total())

	past, err := r.At(ctx, 3) // after the first was finished
	require.NoError(t, err)
	tree, err = past.Trace().Tree(ctx)
	require.NoError(t, err)
	require.Len(t, tree, 1)
	assert.Equal(t, trace.OK, tree[0].Status)
	_, err = past.Trace().Start(ctx, trace.Start{Kind: trace.Query})
	require.ErrorIs(t, err, inmem.ErrReadOnly)
}

func TestInvalid(t *testing.T) {
	db := open(t, vfs.NewMem(), func(o *inmem.Options) { o.MaxValueSize, o.MaxCommitSize, o.MaxKeySize = 1000, 1500, 100 })
	s := begin(t, db).Trace()
	long := strings.Repeat("x", math.MaxUint16)
	many := map[string]string{}
	for i := range trace.MaxAttributes + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for what, start := range map[string]trace.Start{
		"Kind": {}, "Kind ": {Kind: trace.Kind(long)}, "Name": {Kind: "k", Name: "\xff"}, "At": {Kind: "k", At: time.UnixMilli(-1)},
		"Attributes": {Kind: "k", Attributes: many}, "Attributes ": {Kind: "k", Attributes: map[string]string{"": ""}},
		"Attributes  ": {Kind: "k", Attributes: map[string]string{"a": long}}, "Attributes   ": {Kind: "k", Attributes: map[string]string{long: ""}},
	} {
		_, err := s.Start(ctx, start)
		var wrong *trace.SpanError
		require.ErrorAs(t, err, &wrong, what)
		require.ErrorIs(t, err, trace.ErrInvalidSpan)
		assert.Equal(t, strings.TrimSpace(what), wrong.Field)
		_, err = s.Record(ctx, start, trace.Finish{})
		require.ErrorAs(t, err, &wrong, what)
	}
	id, err := s.Start(ctx, trace.Start{Kind: "mine", At: at(1000)})
	require.NoError(t, err)
	for what, finish := range map[string]trace.Finish{
		"At": {At: at(999)}, "Status": {Status: trace.Open}, "Status ": {Status: 9}, "Usage": {Usage: trace.Usage{InputTokens: -1}},
		"Usage ": {Usage: trace.Usage{Cost: math.NaN()}}, "Error": {Error: long}, "Attributes": {Attributes: many},
	} {
		var wrong *trace.SpanError
		require.ErrorAs(t, s.Finish(ctx, id, finish), &wrong, what)
		assert.Equal(t, strings.TrimSpace(what), wrong.Field)
		_, err := s.Record(ctx, trace.Start{Kind: "k", At: at(1000)}, finish)
		require.ErrorAs(t, err, &wrong, what)
	}
	_, err = s.Start(ctx, trace.Start{Kind: "k", Input: make([]byte, 1000)})
	require.ErrorIs(t, err, inmem.ErrValueTooLarge)
	_, err = s.Record(ctx, trace.Start{Kind: "k", Input: make([]byte, 900)}, trace.Finish{Output: make([]byte, 900)})
	require.ErrorIs(t, err, inmem.ErrBatchTooLarge)
	require.ErrorIs(t, s.Finish(ctx, id, trace.Finish{Output: make([]byte, 1000)}), inmem.ErrValueTooLarge)
	_, err = s.Start(ctx, trace.Start{Kind: "k"}, trace.Durability(9))
	require.ErrorIs(t, err, inmem.ErrInvalidOption)
	require.ErrorIs(t, s.Finish(ctx, id, trace.Finish{}, trace.Durability(9)), inmem.ErrInvalidOption)
	require.NoError(t, s.Finish(ctx, id, trace.Finish{})) // started ahead of the clock: it took no time
	span, err := s.Get(ctx, id)
	require.NoError(t, err)
	assert.Zero(t, span.Duration())
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Len(ended)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Tree(ended)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Finish(ended, id, trace.Finish{}), context.Canceled)
}

func TestIDs(t *testing.T) {
	assert.Equal(t, "00000000000000ff", trace.ID(255).String())
	id, err := trace.ParseID("ff")
	require.NoError(t, err)
	assert.Equal(t, trace.ID(255), id)
	for _, text := range []string{"", "0", "x", "10000000000000000"} {
		_, err := trace.ParseID(text)
		assert.ErrorIs(t, err, trace.ErrNotFound, text)
	}
	assert.Equal(t, "status(9)", trace.Status(9).String())
	text, err := trace.Failed.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "error", string(text))
}

func TestInATransaction(t *testing.T) {
	r := newRun(t)
	stop := errors.New("stop")
	require.Equal(t, stop, r.Update(ctx, func(tx *inmem.Tx) error {
		id, err := tx.Trace().Start(ctx, trace.Start{Kind: trace.Thought})
		require.NoError(t, err)
		require.EqualValues(t, 1, id)
		return stop
	}))
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		s := tx.Trace()
		root, err := s.Start(ctx, trace.Start{Kind: trace.Thought})
		require.NoError(t, err)
		require.EqualValues(t, 1, root, "what was rolled back took no number")
		_, err = s.Record(ctx, trace.Start{Kind: trace.ToolCall, Parent: root}, trace.Finish{})
		require.NoError(t, err)
		require.NoError(t, s.Finish(ctx, root, trace.Finish{}))
		require.ErrorIs(t, s.Finish(ctx, root, trace.Finish{}), trace.ErrFinished)
		return nil
	}))
	tree, err := r.Trace().Tree(ctx)
	require.NoError(t, err)
	require.Len(t, tree, 1)
	assert.EqualValues(t, 2, tree[0].Version, "one commit")
	assert.Len(t, tree[0].Children, 1)
}

func TestManyAtOnce(t *testing.T) {
	disk := vfs.NewMem()
	db := open(t, disk)
	r := begin(t, db)
	const writers, each = 16, 40
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for range each {
				id, err := r.Trace().Start(ctx, trace.Start{Kind: trace.ToolCall, Name: fmt.Sprint(w)})
				assert.NoError(t, err)
				assert.NoError(t, r.Trace().Finish(ctx, id, trace.Finish{Output: []byte(fmt.Sprint(w))}))
			}
		})
	}
	all.Wait()
	require.NoError(t, db.Close())
	db = open(t, disk)
	r, err := db.Run(r.ID())
	require.NoError(t, err)
	next := trace.ID(1)
	for span, err := range r.Trace().List(ctx, trace.Filter{}) {
		require.NoError(t, err)
		assert.Equal(t, next, span.ID)
		assert.Equal(t, span.Name, string(span.Output))
		next++
	}
	assert.EqualValues(t, writers*each+1, next)
}

// The result of a span can be had without the rest of it.
func TestResult(t *testing.T) {
	s := newRun(t).Trace()
	id, err := s.Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "look"})
	require.NoError(t, err)
	_, _, _, err = s.Result(ctx, id)
	require.ErrorIs(t, err, trace.ErrNotFound, "it is open")
	require.NoError(t, s.Finish(ctx, id, trace.Finish{Output: []byte("out"), Error: "oh"}))
	status, output, failure, err := s.Result(ctx, id)
	require.NoError(t, err)
	require.Equal(t, trace.Failed, status)
	require.Equal(t, "out", string(output))
	require.Equal(t, "oh", failure)
	_, _, _, err = s.Result(ctx, id+1)
	require.ErrorIs(t, err, trace.ErrNotFound)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, _, _, err = s.Result(cancelled, id)
	require.ErrorIs(t, err, context.Canceled)
}
