package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strings"

	"inmem"
	"inmem/event"
	"inmem/op"
	"inmem/state"
	"inmem/trace"
)

// meaning is what an operation is to the face that its key belongs to. The
// faces alone know how they store things: they are asked, about a run in which
// there is nothing but this operation.
type meaning struct {
	verb    string // "" = nothing that a face would know
	subject string
	detail  string // of one line
	data    []byte // payload, input, output or the like
	hidden  bool   // part of another operation of the same commit

	// For programs.
	stream      string
	sequence    uint64
	eventType   string
	cell, state string
	span        trace.ID
	status      string
}

func meaningOf(c *inmem.Commit, o *inmem.Op) (m meaning) {
	if o.Key == "" || o.Kind != op.Put && o.Tag != op.StateMachine && o.Tag != op.Vector {
		return m // events and spans are never removed
	}
	ctx := context.Background() // nothing is waited for
	switch o.Tag {
	case op.Event:
		m.event(ctx, c, o)
	case op.StateMachine:
		m.cellChange(ctx, c, o)
	case op.Trace:
		m.spanChange(ctx, c, o)
	case op.Vector:
		m.vectorChange(ctx, c, o)
	}
	return m
}

func (m *meaning) event(ctx context.Context, c *inmem.Commit, o *inmem.Op) {
	events := event.NewStore(&oneOp{c, o})
	for stream, err := range events.Streams(ctx) {
		if err != nil {
			return
		}
		for e, err := range events.Read(ctx, stream) {
			if err != nil {
				return
			}
			m.verb, m.subject, m.detail, m.data = "append", fmt.Sprintf("event %s %d", plain(stream), e.Sequence), plain(e.Type), e.Payload
			m.stream, m.sequence, m.eventType = stream, e.Sequence, e.Type
		}
	}
	if stream, id, ok := strings.Cut(o.Key, "\x00"); ok && m.verb == "" && stream[0] == 'i' {
		m.verb, m.subject, m.hidden = "index", fmt.Sprintf("event %s by its ID %s", plain(stream[1:]), plain(id)), true
		m.stream = stream[1:]
	}
}

func (m *meaning) cellChange(ctx context.Context, c *inmem.Commit, o *inmem.Op) {
	kind, name := o.Key[0], o.Key[1:]
	switch {
	case kind == 'm' && o.Kind == op.Put:
		m.verb, m.subject, m.cell = "declare", "the machine of state "+plain(name), name
	case kind == 'm':
		m.verb, m.subject, m.cell, m.hidden = o.Kind.String(), "the machine of state "+plain(name), name, true
	case kind == 'c' && o.Kind != op.Put:
		m.verb, m.subject, m.cell = o.Kind.String(), "state "+plain(name), name
	}
	for cell, err := range state.NewStore(&oneOp{c, o}).List(ctx, "") {
		if err != nil {
			return
		}
		m.verb, m.subject, m.data = "set", "state "+plain(cell.Name), cell.Data
		if m.cell, m.state = cell.Name, cell.State; cell.State != "" {
			m.detail = plain(cell.State)
		}
	}
}

func (m *meaning) spanChange(ctx context.Context, c *inmem.Commit, o *inmem.Op) {
	if len(o.Key) != 9 {
		return
	}
	id := trace.ID(binary.BigEndian.Uint64([]byte(o.Key[1:])))
	one := &oneOp{c, o}
	s, err := trace.NewStore(one).Get(ctx, id)
	if o.Key[0] == 'f' {
		s, err = trace.NewStore(endOfSpan{one}).Get(ctx, id)
	}
	if err != nil {
		return
	}
	m.subject, m.span, m.status = "span "+spanID(id), id, s.Status.String()
	if s.Status == trace.Open {
		m.verb, m.detail, m.data = "begin", plain(string(s.Kind))+" "+plainOr(s.Name, "-"), s.Input
		return
	}
	m.verb, m.detail, m.data = "end", s.Status.String(), s.Output
	if used := usedText(s.Usage); used != "" {
		m.detail += ", " + used
	}
}

// oneOp is a run in which there is nothing but one operation.
type oneOp struct {
	commit *inmem.Commit
	op     *inmem.Op
}

func (r *oneOp) Get(tag op.Tag, key string) (op.Item, error) {
	if r.op.Kind == op.Put && r.op.Tag == tag && r.op.Key == key {
		return op.Item{Value: r.op.Value, Version: r.commit.Version}, nil
	}
	return op.Item{}, op.ErrNotFound
}

func (r *oneOp) View() (op.View, error) { return oneOpView{r}, nil }

func (r *oneOp) Commit(context.Context, *op.Request) (op.Result, error) {
	return op.Result{}, op.ErrReadOnly
}

func (r *oneOp) Limits() op.Limits {
	return op.Limits{MaxKey: math.MaxInt32, MaxValue: math.MaxInt32, MaxCommit: math.MaxInt32}
}

func (r *oneOp) Now() int64 { return r.commit.Time }

func (r *oneOp) History(context.Context, uint64) iter.Seq2[*op.Commit, error] {
	return func(func(*op.Commit, error) bool) {}
}

// oneOpView is a oneOp to read from.
type oneOpView struct{ run op.Run }

func (v oneOpView) Version() uint64 { return 0 }

func (v oneOpView) Get(tag op.Tag, key string) (op.Item, bool) {
	it, err := v.run.Get(tag, key)
	return it, err == nil
}

func (v oneOpView) Scan(tag op.Tag, r op.Range, fn func(key string, it op.Item) bool) {
	one, ok := v.run.(*oneOp)
	if !ok || one.op.Key < r.From || r.To != "" && one.op.Key >= r.To {
		return
	}
	if it, ok := v.Get(tag, one.op.Key); ok {
		fn(one.op.Key, it)
	}
}

// endOfSpan is a run in which there is nothing but the end of a span, and a
// beginning of no account, without which there is no span.
type endOfSpan struct{ *oneOp }

func (r endOfSpan) View() (op.View, error) { return oneOpView{r}, nil }

func (r endOfSpan) Get(tag op.Tag, key string) (op.Item, error) {
	if key == "s"+r.op.Key[1:] {
		return op.Item{Value: anyStart}, nil
	}
	return r.oneOp.Get(tag, key)
}

// anyStart is how the trace face stores the beginning of a span.
var anyStart = func() []byte {
	r := &startTaker{oneOp: oneOp{&inmem.Commit{}, &inmem.Op{}}}
	if _, err := trace.NewStore(r).Start(context.Background(), trace.Start{Kind: trace.Custom}); err != nil {
		panic(err)
	}
	return r.value
}()

// startTaker is an empty run that keeps what is to be committed to it.
type startTaker struct {
	oneOp
	value []byte
}

func (r *startTaker) Commit(_ context.Context, req *op.Request) (op.Result, error) {
	r.value = bytes.Clone(req.Writes[0].Value)
	return op.Result{}, nil
}
