package event

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"inmem/op"
)

// Verify walks a stream from its first event to its last, in O(n), and holds
// each against the one before: its sequence, its time and its hash; that what
// it holds is an event with a JSON object; and that its ID leads to it. The
// first event that is not as it was appended is a *ChainError. A stream without
// events is in order.
//
// Where an event does not follow from the one before it, the one after it tells
// which of the two was changed; where there is none, the error names the first.
//
// What a chain cannot tell is that events are missing at its end, or that the
// last one was changed: keep the Hash of the last event elsewhere for that.
func (s Store) Verify(ctx context.Context, stream string) error {
	view, err := s.view(ctx, stream)
	if err != nil {
		return err
	}
	c := chain{view: view, stream: stream}
	view.Scan(op.Event, streamRange(kindEvent, stream), func(key string, it op.Item) bool {
		if err = ctx.Err(); err == nil {
			err = c.next(key, it)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	view.Scan(op.Event, streamRange(kindID, stream), func(key string, it op.Item) bool {
		if err = ctx.Err(); err == nil {
			err = c.id(key[idKeySize(stream, ""):], it)
		}
		return err == nil
	})
	return err
}

// chain is a stream on its way through Verify.
type chain struct {
	view   op.View
	stream string
	last   uint64
	time   int64
	hash   [sha256.Size]byte
	buf    []byte
}

func (c *chain) broken(seq uint64, format string, args ...any) error {
	return &ChainError{Stream: c.stream, Sequence: seq, Reason: fmt.Sprintf(format, args...)}
}

// next looks at the event after the last.
func (c *chain) next(key string, it op.Item) error {
	want := c.last + 1
	if seq, err := sequenceOf(c.stream, key); err != nil || seq != want {
		return c.broken(want, "it is missing; the next key is %.300q", key)
	}
	r, err := decode(c.stream, want, it)
	switch {
	case errors.Is(err, ErrUnsupportedRecord):
		return err
	case err != nil:
		return c.broken(want, "%v", err)
	case r.prev != c.hash:
		return c.mismatch(want, r.prev, c.hashOf(key, it))
	case r.time < c.time:
		return c.broken(want, "its time is before that of the event before it")
	case !isObject(r.payload):
		return c.broken(want, "its payload is not a JSON object")
	}
	if id := string(r.id); id != "" {
		found, ok := c.view.Get(op.Event, idKey(c.stream, id))
		if seq, err := decodeIDRecord(found.Value); !ok || err != nil || seq != want {
			return c.broken(want, "its ID does not lead to it")
		}
	}
	c.last, c.time, c.hash = want, r.time, c.hashOf(key, it)
	return nil
}

func (c *chain) hashOf(key string, it op.Item) [sha256.Size]byte {
	c.buf = append(append(c.buf[:0], key...), it.Value...)
	return sha256.Sum256(c.buf)
}

// mismatch names the event that was changed, where one does not have the hash
// of its predecessor as its prev.
func (c *chain) mismatch(seq uint64, prev, hash [sha256.Size]byte) error {
	if seq > 1 {
		it, ok := c.view.Get(op.Event, eventKey(c.stream, seq+1))
		if r, err := decodeRecord(it.Value); !ok || err == nil && r.prev == hash {
			return c.broken(seq-1, "its hash is %x, but the event after it follows one with the hash %x", c.hash, prev)
		}
	}
	return c.broken(seq, "it follows an event with the hash %x, but the one before it has %x", prev, c.hash)
}

// id looks at an ID that leads to an event.
func (c *chain) id(id string, it op.Item) error {
	seq, err := decodeIDRecord(it.Value)
	if err != nil {
		return c.broken(0, "where ID %.100q leads to cannot be read: %v", id, err)
	}
	if e, err := get(c.view, c.stream, seq); err != nil || e.ID != id {
		return c.broken(seq, "ID %.100q leads to it and is not its own", id)
	}
	return nil
}
