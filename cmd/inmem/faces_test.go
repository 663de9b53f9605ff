package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/op"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

// seedFacesCmd makes a store with a run that has some of every face: seedfaces
// DIR. Its clock begins at 2025-01-01 10:00:00 UTC, and a second passes before
// each commit.
func seedFacesCmd(ts *testscript.TestScript, _ bool, args []string) {
	var now atomic.Int64
	now.Store(time.Date(2025, 1, 1, 10, 0, 0, 0, time.UTC).UnixMilli())
	db, err := inmem.Open(ts.MkAbs(args[0]), &inmem.Options{
		Shards: 1, Now: func() time.Time { return time.UnixMilli(now.Load()) }, BatchInterval: time.Hour,
	})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	ctx := context.Background()
	id, err := run.ParseID(seedActive)
	ts.Check(err)
	r, err := db.BeginRun(ctx, run.Meta{ID: id, Name: "faces"})
	ts.Check(err)
	commit := func(fn func(tx *inmem.Tx) error) {
		now.Add(1000)
		ts.Check(r.Update(ctx, fn))
	}
	seedFaces(ctx, commit)
	other, err := run.ParseID(seedDone)
	ts.Check(err)
	_, err = db.BeginRun(ctx, run.Meta{ID: other, Name: "empty"})
	ts.Check(err)
}

func seedFaces(ctx context.Context, commit func(func(tx *inmem.Tx) error)) {
	events := func(stream string, list ...event.New) func(tx *inmem.Tx) error {
		return func(tx *inmem.Tx) error {
			_, err := tx.Events().AppendAll(ctx, stream, list)
			return err
		}
	}
	set := func(name, to, data string) func(tx *inmem.Tx) error {
		return func(tx *inmem.Tx) error {
			_, err := tx.State().Transition(ctx, name, func(state.Cell) (state.Value, error) {
				return state.Value{State: to, Data: []byte(data)}, nil
			})
			return err
		}
	}
	commit(events(event.Main, event.New{Type: "user.asked", ID: "q1", Payload: []byte(`{ "text":  "<hi>" }`)}))
	commit(func(tx *inmem.Tx) error {
		machine := state.Machine{Initial: "queued", Transitions: map[string][]string{"queued": {"running"}, "running": {"done", "queued"}}}
		_, err := tx.State().Init(ctx, "job", state.Value{Data: []byte(`{"n":1}`)}, state.Declare(machine))
		if err == nil {
			_, err = tx.State().Init(ctx, "note", state.Value{Data: []byte("\x00\xff")})
		}
		if err == nil {
			_, err = tx.KV().Put(ctx, "key", []byte("one"))
		}
		return err
	})
	commit(func(tx *inmem.Tx) error {
		_, err := tx.Trace().Start(ctx, trace.Start{Kind: trace.ModelCall, Name: "gpt", Input: []byte("what next?\nsay it"),
			Attributes: map[string]string{trace.AttrRequestModel: "gpt-4o"}})
		return err
	})
	commit(func(tx *inmem.Tx) error {
		_, err := tx.Trace().Record(ctx, trace.Start{Kind: trace.ToolCall, Name: "search", Parent: 1, Input: []byte(`{"q":1}`)},
			trace.Finish{Error: "no\x1b network", Usage: trace.Usage{Cost: 0.25}})
		if err == nil {
			_, err = tx.Trace().Start(ctx, trace.Start{Kind: trace.Thought, Parent: 2, Input: []byte("\x00\xff")})
		}
		return err
	})
	commit(func(tx *inmem.Tx) error {
		_, err := tx.Trace().Record(ctx, trace.Start{Kind: trace.ToolCall, Name: "read", Parent: 1},
			trace.Finish{At: time.Date(2025, 1, 1, 10, 0, 7, 0, time.UTC), Output: []byte("text")})
		return err
	})
	commit(func(tx *inmem.Tx) error {
		return tx.Trace().Finish(ctx, 1, trace.Finish{Output: []byte("done"), Usage: trace.Usage{InputTokens: 1200, OutputTokens: 34, Cost: 0.5}})
	})
	commit(set("job", "running", `{"n":2}`))
	commit(events(event.Main, event.New{Type: "agent.answered", Payload: []byte(`{}`)}, event.New{Type: "user.asked", ID: "q\xff", Payload: []byte(`{"text":"again"}`)}))
	commit(events("a b", event.New{Type: "noted"}))
	commit(func(tx *inmem.Tx) error {
		_, err := tx.KV().Put(ctx, "key", []byte("two"))
		if err == nil {
			err = tx.State().Delete(ctx, "note")
		}
		return err
	})
}

// TestVerifyTellsABrokenChain verifies a stream in which an event was replaced.
func TestVerifyTellsABrokenChain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, err := inmem.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	for _, text := range []string{`{"n":1}`, `{"n":2}`, `{"n":3}`} {
		_, err := r.Events().Append(ctx, event.Main, event.New{Type: "t", Payload: []byte(text)})
		require.NoError(t, err)
	}
	var spoilt bool
	verify := func() (int, string, string) {
		var out, errOut bytes.Buffer
		a := newApp(ctx, strings.NewReader(""), &out, &errOut)
		contents := contentsRun{oneOp: oneOp{&inmem.Commit{}, &inmem.Op{}}, items: map[string]op.Item{}}
		for c, err := range r.Contents(ctx, op.Event) {
			require.NoError(t, err)
			if spoilt {
				c.Value = bytes.ReplaceAll(c.Value, []byte(`{"n":2}`), []byte(`{"n":9}`))
			}
			contents.items[c.Key] = op.Item{Value: c.Value, Version: c.Version}
			contents.keys = append(contents.keys, c.Key)
		}
		code := exitOK
		if err := verifyStreams(a, event.NewStore(&contents), "", false); err != nil {
			code = a.fail(err)
		}
		require.NoError(t, a.out.Flush())
		return code, out.String(), errOut.String()
	}
	code, out, errOut := verify()
	require.Equal(t, exitOK, code, errOut)
	require.Regexp(t, `^main: 3 events as appended, the last hash is [0-9a-f]{64}\n$`, out)
	spoilt = true
	code, out, errOut = verify()
	require.Equal(t, exitDamaged, code)
	require.Empty(t, out)
	require.Contains(t, errOut, `stream`)
}

// contentsRun is a run that has just what it was given.
type contentsRun struct {
	oneOp
	keys  []string // in order
	items map[string]op.Item
}

func (r *contentsRun) View() (op.View, error) { return contentsView{r}, nil }

type contentsView struct{ *contentsRun }

func (contentsView) Version() uint64 { return 1 }

func (r contentsView) Get(_ op.Tag, key string) (op.Item, bool) {
	it, ok := r.items[key]
	return it, ok
}

func (r contentsView) Scan(_ op.Tag, in op.Range, fn func(key string, it op.Item) bool) {
	for i, key := range r.keys {
		if in.Reverse {
			key = r.keys[len(r.keys)-1-i]
		}
		if key >= in.From && (in.To == "" || key < in.To) && !fn(key, r.items[key]) {
			return
		}
	}
}

// TestTreeOfAnyDepth prints a trace that has gone astray: a span in each span.
func TestTreeOfAnyDepth(t *testing.T) {
	t.Parallel()
	root := &trace.Node{Span: trace.Span{ID: 1, Status: trace.OK}}
	last := root
	const depth = 5000
	for i := range depth {
		n := &trace.Node{Span: trace.Span{ID: trace.ID(i + 2), Status: trace.OK, Usage: trace.Usage{InputTokens: 1}}}
		last.Children = []*trace.Node{n}
		last = n
	}
	var out bytes.Buffer
	a := newApp(context.Background(), strings.NewReader(""), &out, &out)
	printTree(a, []*trace.Node{root})
	require.NoError(t, treeJSON(a, []*trace.Node{root}))
	require.NoError(t, a.out.Flush())
	require.Equal(t, depth+2, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "5,000+0 tokens  span 1\n")
	require.Less(t, out.Len(), depth*1000, "the indentation is bounded")
}

// TestOperationsAsTheirFacesSeeThem: what cannot be read is shown as it is
// stored, and never as something else.
func TestOperationsAsTheirFacesSeeThem(t *testing.T) {
	t.Parallel()
	for _, o := range []inmem.Op{
		{Kind: op.Put, Tag: op.Event, Key: "x"}, {Kind: op.Put, Tag: op.Event, Key: "emain\x00"},
		{Kind: op.Put, Tag: op.Event, Key: "emain\x00\x00\x00\x00\x00\x00\x00\x00\x01", Value: []byte("nonsense")},
		{Kind: op.Put, Tag: op.StateMachine, Key: "cjob", Value: []byte("\xffnonsense")}, {Kind: op.Put, Tag: op.StateMachine, Key: "?"},
		{Kind: op.Put, Tag: op.Trace, Key: "f2345678"}, {Kind: op.Put, Tag: op.Trace, Key: "s23456789"},
		{Kind: op.Put, Tag: op.Trace, Key: "f23456789", Value: []byte{1, 2, 3}}, {Kind: op.Put, Tag: op.Vector, Key: "v"},
		{Kind: op.Put, Tag: op.KV, Key: "cjob", Value: []byte("v")},
	} {
		c := &inmem.Commit{Version: 1, Ops: []inmem.Op{o}}
		require.Equal(t, meaning{}, meaningOf(c, &c.Ops[0]), "%q", o.Key)
		require.Contains(t, opText(false, c, &c.Ops[0]), "put ")
		_, err := json.Marshal(jsonOps(c))
		require.NoError(t, err)
	}
}
