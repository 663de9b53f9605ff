// Package op is the vocabulary of inmem: keys, values, operations, commits,
// requests, results and their encoding.
//
// It is data only. It knows no clock, no disk and no goroutine, and nothing in
// it changes after it was made. Every other package speaks in these words.
//
// Invariant: what DecodeCommit accepts, AppendCommit writes back byte for byte,
// and the zero Tag and the zero Kind are invalid everywhere.
//
// op carries no compatibility promise of its own; package inmem does.
package op

import (
	"fmt"
	"math"
	"time"
)

// Tag says which face of a run a key belongs to. It is the first byte of every
// key in a run's ordered map, so that one face's keys lie together.
type Tag uint8

// The tags. 0 is invalid everywhere.
const (
	KV           Tag = 1 // key-value pairs
	Event        Tag = 2 // streams of events
	StateMachine Tag = 3 // state cells
	Trace        Tag = 4 // spans of an agent's work
	RunMetadata  Tag = 5 // the run's record, under the empty key
	Vector       Tag = 6 // collections of vectors
)

var tagNames = [...]string{KV: "kv", Event: "event", StateMachine: "state", Trace: "trace", RunMetadata: "meta", Vector: "vector"}

// Tags returns all tags, in order.
func Tags() []Tag { return []Tag{KV, Event, StateMachine, Trace, RunMetadata, Vector} }

// Valid reports whether t is one of the tags above.
func (t Tag) Valid() bool { return t >= KV && t <= Vector }

// Perishable reports whether keys of this tag may carry a deadline. Events,
// traces and run metadata are the record of what happened: they do not expire.
func (t Tag) Perishable() bool { return t != Event && t != Trace && t != RunMetadata }

// String returns the tag's name, or its number where there is no such tag.
func (t Tag) String() string {
	if t.Valid() {
		return tagNames[t]
	}
	return fmt.Sprintf("tag(%d)", uint8(t))
}

// Kind says what an operation does.
type Kind uint8

// The kinds of operation. 0 is invalid everywhere.
const (
	Put    Kind = 1 // set a key to a value
	Delete Kind = 2 // remove a key
	Expire Kind = 3 // remove a key because its deadline passed
	Drop   Kind = 4 // remove the run with all its keys; only ever alone in its commit
)

var kindNames = [...]string{Put: "put", Delete: "delete", Expire: "expire", Drop: "drop"}

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= Put && k <= Drop }

// String returns the kind's name, or its number where there is no such kind.
func (k Kind) String() string {
	if k.Valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Durability says when a commit is acknowledged. The zero value means the
// store's own setting.
type Durability uint8

// The durability modes, weakest promise last.
const (
	// Default is the store's own mode.
	Default Durability = iota
	// Strict acknowledges a commit once it is synced to the device.
	Strict
	// Batched acknowledges a commit once the operating system has it: a killed
	// process loses nothing, a power cut at most the store's batch window.
	Batched
	// Async acknowledges a commit once it is applied in memory; it is written
	// and synced in the background. A killed process may lose the last moments.
	Async
)

// String returns the mode's name, or its number where there is no such mode.
func (d Durability) String() string {
	switch d {
	case Default:
		return "default"
	case Strict:
		return "strict"
	case Batched:
		return "batched"
	case Async:
		return "async"
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// Choose returns the mode that of several options the last one asks for: next, d
// where that is Default, or ErrInvalidOption where there is no such mode.
func (d Durability) Choose(next Durability) (Durability, error) {
	switch {
	case next > Async:
		return d, ErrInvalidOption
	case next == Default:
		return d, nil
	}
	return next, nil
}

// Stronger returns the mode that promises more.
func Stronger(a, b Durability) Durability {
	if a == Default || (b != Default && b < a) {
		return b
	}
	return a
}

// Item is a value as stored.
type Item struct {
	Value    []byte // never changed after it was stored
	Version  uint64 // the version of the commit that wrote it
	Deadline int64  // Unix milliseconds; 0 = none
}

// Expired reports whether the item is past its deadline at now (Unix ms).
func (i Item) Expired(now int64) bool { return i.Deadline != 0 && now >= i.Deadline }

// Deadline returns the deadline of a value that lives for so long from now on,
// Unix milliseconds: rounded up, and never beyond the end of time.
func Deadline(now int64, ttl time.Duration) int64 {
	ms := int64((ttl + time.Millisecond - 1) / time.Millisecond)
	if ttl > math.MaxInt64-time.Millisecond {
		ms = int64(ttl / time.Millisecond)
	}
	if now > math.MaxInt64-ms {
		return math.MaxInt64
	}
	return now + ms
}

// Op is one change of one key, as logged: an effect, not a wish.
type Op struct {
	Kind     Kind
	Tag      Tag
	Key      string // without the tag
	Value    []byte // Put only
	Deadline int64  // Put only; Unix milliseconds, 0 = none
	// Version, of a Put, is what the item has instead of the commit's: where a
	// run begins with what another one had, as it had it. 0 = the commit's.
	Version uint64
}

// Epoch is the key whose version says who may go on with a run: each time
// somebody takes the run up it is written again. See Request.Fence.
var Epoch = Key{Tag: StateMachine, Key: "epoch"}

// MapKey returns the key under which a run's ordered map holds (tag, key).
func MapKey(tag Tag, key string) string {
	return string([]byte{byte(tag)}) + key // one allocation, unlike append
}

// Write is one change that a caller asks for. Unlike an Op it may carry a
// condition and a relative time to live; the shard turns it into an Op.
type Write struct {
	Kind   Kind // Put or Delete
	Tag    Tag
	Key    string
	Value  []byte
	Block  *Block        // where Value lies, if that is the store's own memory already; nil = it is the caller's
	TTL    time.Duration // 0 = the value does not expire
	Expect Expect        // what must be true of the key for the whole request to go on
}

// Expect is a condition on a key's version. The zero value demands nothing.
type Expect struct {
	set     bool
	version uint64
}

// AtVersion demands that the key is at version v; 0 = that it is absent (or
// past its deadline).
func AtVersion(v uint64) Expect { return Expect{set: true, version: v} }

// Get returns the demanded version and whether anything is demanded.
func (e Expect) Get() (version uint64, ok bool) { return e.version, e.set }

// Request is what a face asks of a run: writes that happen together or not at all.
type Request struct {
	Writes     []Write    // in order: later ones of a key win
	Basis      *Basis     // what was read to decide on them; nil = nothing
	Fence      Expect     // on the key Epoch: a *FencedError where it does not hold
	Durability Durability // of this commit; Default = the store's
}

// Basis is what a transaction has read. Its request is carried out only if
// reading it again would give the same, and is a *ConflictError otherwise. It
// must not be changed once a request has it, not even when the call gave up.
type Basis struct {
	View   View // as of which it was read
	Keys   []Key
	Ranges []KeyRange
}

// Key names a key of a run.
type Key struct {
	Tag Tag
	Key string
}

// KeyRange is the keys of a tag with From <= key < To; an empty To has no
// upper bound.
type KeyRange struct {
	Tag      Tag
	From, To string
}

// Uncommitted is the version of what a transaction has written and not
// committed, as it sees it itself.
const Uncommitted = ^uint64(0)

// Result is the answer to a Request.
type Result struct {
	// Version is the run's version after the request. A request that changes
	// nothing makes no commit and leaves it as it was.
	Version uint64
	// Previous is what the key of the first write held, if that write is a
	// delete or has a condition; Existed is false where there was nothing.
	Previous Item
	Existed  bool
}

// Limits bounds what a store accepts, in bytes.
type Limits struct {
	MaxKey    int // of one user key
	MaxValue  int // of one value
	MaxCommit int // of one commit: keys, values and a few bytes for each operation
}
