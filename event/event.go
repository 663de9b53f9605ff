// Package event is the event face of a run: streams of events that are only
// ever appended to, numbered from 1 without gaps, each chained to the one
// before by its hash.
//
// It is stateless: a Store is a way of looking at a run, at a transaction or at
// a run's past, owns nothing and is cheap to copy. It knows no other face, no
// shard and no disk.
//
// A run has any number of streams, by name; Main is there for those who need
// one. A stream begins with its first event and cannot be deleted but with its
// run. Names of streams and types of events are 1 to MaxName bytes of UTF-8
// without NUL; IDs are 0 to MaxID bytes, any bytes. A payload is one JSON
// object, kept byte for byte. An event with all that belongs to it takes no
// more than Options.MaxValueSize. Bytes that go in are copied before the call
// returns; bytes that come out belong to the caller.
//
// Outside of a transaction each call that appends is one commit. The errors of
// this package are its own; those of the store are those of package inmem.
//
// Invariant: the sequences of a stream have no gap, its times never decrease,
// and nothing that was appended ever changes.
package event

import (
	"context"
	"crypto/sha256"
	"time"

	"inmem/op"
)

// Main is the name of the stream for those who need only one.
const Main = "main"

// The bounds of texts, in bytes.
const (
	MaxName = 255 // of a stream's name, and of an event's type
	MaxID   = 255 // of an event's ID
)

// Store is the event streams of one run. Get it from Run.Events, Tx.Events or
// Past.Events.
type Store struct{ run op.Run }

// NewStore returns the event face of r.
func NewStore(r op.Run) Store { return Store{run: r} }

// New is an event to be appended.
type New struct {
	// Type says what happened, as in "tool.called": 1 to MaxName bytes of UTF-8
	// without NUL.
	Type string
	// ID, unless it is empty, is the caller's name of the event, at most MaxID
	// bytes. A stream takes an ID once: appending it again returns the event
	// that is there.
	ID string
	// Payload is one JSON object, in UTF-8; none at all means {}.
	Payload []byte
}

// Event is one event of a stream.
type Event struct {
	Stream   string
	Sequence uint64 // 1, 2, 3 … in its stream, without gaps
	Type     string
	ID       string    // "" where the caller gave none
	Time     time.Time // of the append by the store's clock, to the millisecond, in UTC; never before the predecessor's
	Payload  []byte    // a JSON object as it was given; the caller's
	// Prev is the predecessor's Hash; of the first event it is zero.
	Prev [sha256.Size]byte
	// Version is the run's version that the event came with; op.Uncommitted in
	// the transaction that appended it.
	Version uint64
}

// Hash returns the SHA-256 of the event as it is stored, its stream, sequence
// and Prev included: what its successor has as Prev. So the hash of the last
// event vouches for the whole stream. Version is not in it.
func (e Event) Hash() [sha256.Size]byte {
	b := appendKey(nil, e.Stream, e.Sequence)
	return sha256.Sum256(appendRecord(b, e.Time.UnixMilli(), e.Type, e.ID, e.Payload, &e.Prev))
}

// Append appends one event to a stream and returns it as it is stored, with the
// Payload that was given.
//
// Where the stream already has the event's ID, Append returns the event that
// has it and makes no commit, also with ExpectSequence: an append whose outcome
// is unknown can simply be repeated. The event is then as durable as it was
// appended, whatever the option Durability says. If it has another type or
// payload, byte for byte, the error is a *DuplicateIDError.
//
// Errors: ErrInvalidStream, ErrInvalidType, ErrInvalidID, ErrInvalidPayload;
// *op.SizeError where the event is larger than a value or a commit may be;
// *SequenceError; *op.VersionError (op.ErrWrongVersion) after 64 attempts in
// which others were faster; those of kv.Store.Put. Nothing is appended then, and
// no sequence is used up.
func (s Store) Append(ctx context.Context, stream string, e New, opts ...WriteOption) (Event, error) {
	in, out := [1]New{e}, [1]Event{}
	if err := s.append(ctx, stream, in[:], out[:], opts); err != nil {
		return Event{}, err
	}
	return out[0], nil
}

// AppendAll appends several events in one commit, all or none, and returns
// them in the same order. Each is treated as Append would treat it, one after
// the other, so those whose IDs are there already are not appended again; if
// that leaves nothing, there is no commit. ExpectSequence is about the first
// that is appended.
func (s Store) AppendAll(ctx context.Context, stream string, events []New, opts ...WriteOption) ([]Event, error) {
	out := make([]Event, len(events))
	if err := s.append(ctx, stream, events, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}
