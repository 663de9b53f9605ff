package event

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"inmem/op"
	"inmem/retry"
)

// append appends what is new of in, and fills out.
func (s Store) append(ctx context.Context, stream string, in []New, out []Event, opts []WriteOption) error {
	o, err := gather(opts)
	if err != nil {
		return err
	}
	if err := check(s.run.Limits(), stream, in); err != nil {
		return err
	}
	p := plans.Get().(*plan)
	defer p.release()
	p.run, p.stream, p.option = s.run, stream, o
	// Who takes the sequence that was to be used makes this a wrong version.
	return retry.Conflicts(ctx, func() error { return p.try(ctx, in, out) }, op.ErrWrongVersion)
}

// check holds everything against its bounds.
func check(limits op.Limits, stream string, in []New) error {
	if err := checkName(stream, ErrInvalidStream); err != nil {
		return err
	}
	commit := 0
	for i := range in {
		e := &in[i]
		if err := checkName(e.Type, ErrInvalidType); err != nil {
			return err
		}
		if len(e.ID) > MaxID {
			return fmt.Errorf("%w: %d bytes, not 0 to %d", ErrInvalidID, len(e.ID), MaxID)
		}
		key := keySize(stream)
		overhead := maxOverhead + len(e.Type) + len(e.ID)
		commit += op.OpSize(key, overhead+len(e.Payload))
		if e.ID != "" {
			id := idKeySize(stream, e.ID)
			commit += op.OpSize(id, maxIDRecord)
			key = max(key, id)
		}
		switch {
		case key > limits.MaxKey:
			return &op.SizeError{Err: op.ErrKeyTooLarge, Size: key, Max: limits.MaxKey}
		case len(e.Payload) > limits.MaxValue-overhead:
			return &op.SizeError{Err: op.ErrValueTooLarge, Size: len(e.Payload), Max: max(limits.MaxValue-overhead, 0)}
		}
		if len(e.Payload) > 0 && !isObject(e.Payload) {
			return fmt.Errorf("%w: event %d of %d: %.50q", ErrInvalidPayload, i+1, len(in), e.Payload)
		}
	}
	if commit > limits.MaxCommit {
		return &op.SizeError{Err: op.ErrBatchTooLarge, Size: commit, Max: limits.MaxCommit}
	}
	return nil
}

// emptyObject is what no payload at all means.
const emptyObject = "{}"

// plan is one attempt to append, and the memory for it.
type plan struct {
	run    op.Run
	stream string
	option WriteOption

	now    int64
	last   uint64 // sequence of the newest event, planned ones included …
	time   int64  // … and its time
	newest int    // bytes[newest:] is its key and record
	writes []op.Write
	bytes  []byte         // what the writes refer to
	ids    map[string]int // IDs of the same call, by their place; nil = there is one event only
	err    error
	req    op.Request

	// Kept for the next attempt.
	events op.Range                          // where the events of stream lie
	of     string                            // the stream that events is of
	see    func(key string, it op.Item) bool // seeNewest as a value
}

// The run copies what it needs before Commit returns, so plans can come from a
// pool.
var plans = sync.Pool{New: func() any {
	p := new(plan)
	p.see = p.seeNewest
	return p
}}

// maxKeptBytes bounds the memory that a plan in the pool holds on to.
const maxKeptBytes = 64 << 10

func (p *plan) release() {
	clear(p.writes)
	writes, bytes := p.writes[:0], p.bytes[:0]
	if cap(bytes) > maxKeptBytes || cap(writes) > 1024 {
		writes, bytes = nil, nil
	}
	*p = plan{writes: writes, bytes: bytes, events: p.events, of: p.of, see: p.see}
	plans.Put(p)
}

// try appends to the stream as it is now. It is an *op.VersionError where it is
// another by the time of the commit.
func (p *plan) try(ctx context.Context, in []New, out []Event) error {
	view, err := p.run.View()
	if err != nil {
		return err
	}
	if err := p.begin(view, len(in)); err != nil {
		return err
	}
	for i := range in {
		known, err := p.known(view, &in[i], out[:i+1])
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := p.add(&in[i], &out[i]); err != nil {
			return err
		}
	}
	if len(p.writes) == 0 {
		return nil
	}
	p.req = op.Request{Writes: p.writes, Durability: p.option.durability}
	res, err := p.run.Commit(ctx, &p.req)
	if err != nil {
		return err
	}
	if res.Version == 0 {
		res.Version = op.Uncommitted // a transaction's
	}
	for i := range out {
		if out[i].Version == 0 {
			out[i].Version = res.Version
		}
	}
	return nil
}

// begin finds the newest event.
func (p *plan) begin(view op.View, n int) error {
	p.now, p.last, p.time, p.newest = p.run.Now(), 0, 0, 0
	clear(p.writes)
	p.writes, p.bytes, p.ids, p.err = p.writes[:0], p.bytes[:0], nil, nil
	if n > 1 {
		p.ids = map[string]int{}
	}
	if p.of != p.stream {
		p.events = streamRange(kindEvent, p.stream)
		p.events.Reverse, p.events.Limit = true, 1
		p.of = p.events.From[1 : len(p.events.From)-1] // the caller's may be part of something large
	}
	view.Scan(op.Event, p.events, p.see)
	return p.err
}

func (p *plan) seeNewest(key string, it op.Item) bool {
	if p.last, p.err = sequenceOf(p.stream, key); p.err == nil {
		p.time, p.err = timeOf(it.Value)
	}
	p.bytes = append(append(p.bytes, key...), it.Value...)
	return false
}

// known looks for the event whose ID the last of out is to have, in the stream
// and among the others of the call, and puts it there.
func (p *plan) known(view op.View, e *New, out []Event) (bool, error) {
	if e.ID == "" {
		return false, nil
	}
	place := len(out) - 1
	same, planned := p.ids[e.ID]
	if planned {
		out[place] = out[same]
		out[place].Payload = bytes.Clone(out[same].Payload)
	} else {
		it, ok := view.Get(op.Event, idKey(p.stream, e.ID))
		if !ok {
			if p.ids != nil {
				p.ids[e.ID] = place
			}
			return false, nil
		}
		var err error
		if out[place], err = byID(view, p.stream, e.ID, it); err != nil {
			return false, err
		}
	}
	if old := &out[place]; old.Type != e.Type || !bytes.Equal(old.Payload, payloadOf(e)) {
		return false, &DuplicateIDError{Stream: p.stream, ID: e.ID, Sequence: old.Sequence}
	}
	return true, nil
}

func payloadOf(e *New) []byte {
	if len(e.Payload) == 0 {
		return []byte(emptyObject)
	}
	return e.Payload
}

// add plans the writes for one event.
func (p *plan) add(e *New, out *Event) error {
	first := len(p.writes) == 0
	if o := &p.option; o.expects && first && p.last != o.expected {
		return &SequenceError{Stream: p.stream, Expected: o.expected, Actual: p.last}
	}
	*out = Event{Stream: p.stream, Sequence: p.last + 1, Type: e.Type, ID: e.ID, Payload: payloadOf(e)}
	if p.last > 0 {
		out.Prev = sha256.Sum256(p.bytes[p.newest:])
	}
	p.last, p.time = out.Sequence, max(p.time, p.now)
	out.Time = toTime(p.time)
	if e.ID != "" {
		// No condition: who takes the ID takes the sequence, too.
		start := len(p.bytes)
		p.bytes = appendIDRecord(p.bytes, out.Sequence)
		p.writes = append(p.writes, op.Write{
			Kind: op.Put, Tag: op.Event, Key: idKey(p.stream, e.ID), Value: p.bytes[start:],
		})
	}
	p.newest = len(p.bytes)
	p.bytes = slices.Grow(p.bytes, keySize(p.stream)+maxOverhead+len(e.Type)+len(e.ID)+len(out.Payload))
	p.bytes = appendKey(p.bytes, p.stream, out.Sequence)
	value := len(p.bytes)
	p.bytes = appendRecord(p.bytes, p.time, e.Type, e.ID, out.Payload, &out.Prev)
	w := op.Write{Kind: op.Put, Tag: op.Event, Key: string(p.bytes[p.newest:value]), Value: p.bytes[value:]}
	if first {
		// Where somebody else has taken the sequence, this is tried again. Nobody
		// takes a later one before it.
		w.Expect = op.AtVersion(0)
	}
	p.writes = append(p.writes, w)
	return nil
}
