package query_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/event"
	"inmem/kv"
	"inmem/query"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
	"inmem/vfs"
)

// closing is a test run that closes the store of the benchmarks behind it.
type closing struct{ *testing.M }

func (c closing) Run() int {
	code := c.M.Run()
	if benchDB != nil {
		_ = benchDB.Close()
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(closing{m}) }

var ctx = context.Background()

// epoch is when the clock of the tests begins.
var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// fixture is a store with some of everything.
type fixture struct {
	t   require.TestingT
	now atomic.Int64
	*inmem.DB
	fs *vfs.Mem
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := newFixtureOf(t)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// newFixtureOf is newFixture for who closes it.
func newFixtureOf(t require.TestingT) *fixture {
	f := &fixture{t: t, fs: vfs.NewMem()}
	f.now.Store(epoch.UnixMilli())
	f.open()
	return f
}

func (f *fixture) open() {
	db, err := inmem.Open("s", &inmem.Options{FS: f.fs, Shards: 3, Now: func() time.Time { return time.UnixMilli(f.now.Load()) }})
	require.NoError(f.t, err)
	f.DB = db
}

func (f *fixture) pass(d time.Duration) { f.now.Add(d.Milliseconds()) }

func (f *fixture) begin(meta run.Meta) *inmem.Run {
	r, err := f.BeginRun(ctx, meta)
	require.NoError(f.t, err)
	return r
}

func (f *fixture) put(r *inmem.Run, key, value string, opts ...kv.WriteOption) {
	_, err := r.KV().Put(ctx, key, []byte(value), opts...)
	require.NoError(f.t, err)
}

func (f *fixture) event(r *inmem.Run, stream, typ, payload string) {
	_, err := r.Events().Append(ctx, stream, event.New{Type: typ, Payload: []byte(payload)})
	require.NoError(f.t, err)
}

func (f *fixture) cell(r *inmem.Run, name, word, data string) {
	_, err := r.State().Init(ctx, name, state.Value{State: word, Data: []byte(data)})
	require.NoError(f.t, err)
}

func (f *fixture) span(r *inmem.Run, start trace.Start, finish trace.Finish) {
	_, err := r.Trace().Record(ctx, start, finish)
	require.NoError(f.t, err)
}

// shown are rows as texts: their values, with | in between.
func shown(t testing.TB, seq func(yield func(query.Row, error) bool)) []string {
	t.Helper()
	out := []string{}
	for row, err := range seq {
		require.NoError(t, err)
		var parts []string
		for _, v := range row.Values() {
			switch v := v.(type) {
			case time.Time:
				parts = append(parts, v.Sub(epoch).String())
			default:
				parts = append(parts, fmt.Sprint(v))
			}
		}
		out = append(out, strings.Join(parts, "|"))
	}
	return out
}

// someOfEverything are two runs and a space:
//
//	first   tags task=1 reward=0; keys, events, cells and spans; it took 10 s and failed
//	second  a child of it, still active
func (f *fixture) someOfEverything() (first, second *inmem.Run) {
	ns := run.Namespace{Tenant: "acme", App: "desk", Agent: "mia"}
	first = f.begin(run.Meta{Name: "first", Namespace: ns, Tags: map[string]string{"task": "1", "reward": "0", "a b": "x"}})
	f.put(first, "user/1", `{"name": "Ann", "age": 31, "tags": ["a", "b"], "ok": true, "none": null, "address": {"city": "Rome"}}`)
	f.put(first, "user/2", `{"name": "Bob", "age": "old", "ok": false}`)
	f.put(first, "user/3", `{"name": "Cyd", "age": 7.5}`)
	f.put(first, "plain", "hello, world")
	f.put(first, "number", "42")
	f.put(first, "empty", "")
	f.put(first, "bytes", "\xff\x00")
	f.put(first, "gone", "1", kv.TTL(time.Second))
	f.put(first, "later", "1", kv.TTL(time.Hour))
	f.event(first, "main", "asked", `{"text": "hi", "n": 1}`)
	f.pass(5 * time.Second)
	f.event(first, "main", "answered", `{"text": "there", "n": 2}`)
	f.event(first, "log", "noted", `{}`)
	f.cell(first, "job", "waiting", `{"tries": 2}`)
	f.cell(first, "jar", "open", ``)
	f.span(first, trace.Start{Kind: trace.ToolCall, Name: "search", Input: []byte(`{"q": "x"}`), At: epoch, Attributes: map[string]string{"gen_ai.tool.name": "search"}},
		trace.Finish{Error: "timeout", At: epoch.Add(2 * time.Second), Usage: trace.Usage{InputTokens: 3, Cost: 0.5}})
	f.span(first, trace.Start{Kind: trace.ModelCall, Name: "gpt", Parent: 1, At: epoch.Add(time.Second)},
		trace.Finish{Output: []byte("Error: no"), At: epoch.Add(1500 * time.Millisecond), Usage: trace.Usage{InputTokens: 10, OutputTokens: 20}})
	_, err := first.Trace().Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "search", At: epoch.Add(time.Minute)})
	require.NoError(f.t, err)
	for name, dimension := range map[string]int{"docs": 2, "words": 1} {
		_, err := first.Vectors().Create(ctx, name, vector.Config{Dimension: dimension, Metric: vector.Dot})
		require.NoError(f.t, err)
	}
	_, err = first.Vectors().UpsertBatch(ctx, "docs", []vector.New{
		{Key: "a/1", Vector: []float32{1, 0}, Metadata: []byte(`{"author": "x", "year": 2019}`)},
		{Key: "a/2", Vector: []float32{2, 0}, Metadata: []byte(`{"author": "x", "year": 2021}`)},
		{Key: "b", Vector: []float32{3, 0}},
	})
	require.NoError(f.t, err)
	_, err = first.Vectors().Upsert(ctx, "words", "w", []float32{1}, nil)
	require.NoError(f.t, err)
	f.pass(5 * time.Second)
	require.NoError(f.t, first.End(ctx, run.Failed))
	f.pass(time.Second)
	second = f.begin(run.Meta{Name: "second", Parent: first.ID(), Tags: map[string]string{"task": "2"}})
	f.put(second, "user/1", `{"name": "Dan", "age": 31}`)
	space, err := f.Space(ctx, ns)
	require.NoError(f.t, err)
	f.put(space, "memory", `"kept"`)
	return first, second
}
