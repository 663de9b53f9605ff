// Package step is what is stored of an agent's durable steps: which one was
// carried out at which place of the agent's work, with what input, and what came
// of it.
//
// It is stateless, like a face: it reads and writes whatever is an op.Run. It
// executes nothing, knows no agent, no clock and no shard.
//
// Invariant: a record that is done never changes.
//
// step carries no compatibility promise; package inmem does.
package step

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"inmem/field"
	"inmem/op"
)

// Under the tag of spans:
//
//	'd' path  → a step
//	'o' name  → a result that the next step of the name, if it is not there yet, is given
//	'w' name  → how many signals of the name were taken, uvarint
//	'a'       → the agent that carries the run out
//	'r'       → what came of it
const (
	recordPrefix   = "d"
	overridePrefix = "o"
	takenPrefix    = "w"
	agentKey       = "a"
	outcomeKey     = "r"
)

// Path is the place of a step: the third step within the first one is 1, 3. It
// is stored as numbers of 4 bytes, big endian, so that steps lie in the order
// in which they begin.
type Path string

// Child returns the place of the n-th step within the one at p.
func (p Path) Child(n uint32) Path {
	return p + Path(binary.BigEndian.AppendUint32(nil, n))
}

// Parent returns the place of what is around the step; "" where that is the
// agent's work as a whole.
func (p Path) Parent() Path { return p[:max(len(p)-4, 0)] }

// String returns the numbers with dots between them.
func (p Path) String() string {
	var b strings.Builder
	for i := 0; i+4 <= len(p); i += 4 {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(uint64(binary.BigEndian.Uint32([]byte(p[i:i+4]))), 10))
	}
	return b.String()
}

// Kind says what a step does.
type Kind uint8

// The kinds. 0 is invalid everywhere.
const (
	Call  Kind = 1 // executes a function
	Value Kind = 2 // takes a value that is another each time: the time, a random one
	Sleep Kind = 3 // waits for a moment
	Await Kind = 4 // waits for a signal
	Child Kind = 5 // begins a run
	Join  Kind = 6 // waits for a run's end
)

var kindNames = [...]string{Call: "step", Value: "value", Sleep: "sleep", Await: "await", Child: "child", Join: "join"}

// String returns the kind's name, or its number where there is no such kind.
func (k Kind) String() string {
	if k >= Call && k <= Join {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Status says how far a step has come.
type Status uint8

// The statuses. 0 is invalid everywhere.
const (
	Open   Status = 1 // it has begun: something in it was recorded, or what it waits for
	Done   Status = 2
	Failed Status = 3
)

// Record is what is stored of a step.
type Record struct {
	Status      Status
	Kind        Kind
	Name        string
	Fingerprint [16]byte // of the input
	Span        uint64   // whose output or error is the result; 0 = Result is
	Attempts    uint64   // it took
	At          int64    // of a sleep its end, of an await its deadline; Unix milliseconds, 0 = none
	Result      []byte   // where there is no span: JSON, or the text of the error
	Version     uint64   // of the run, with the record; not stored in it
}

// ErrInvalidRecord: what is stored is no step.
var ErrInvalidRecord = errors.New("inmem: malformed record of a step")

// ErrUnsupportedRecord: a step has a format that this program does not know.
var ErrUnsupportedRecord = errors.New("inmem: record of a step has an unknown format")

// recordFormat leads every record, so that a later layout can be told apart.
const recordFormat = 1

// encode returns the stored form:
//
//	format 1 = 1 | status 1 | kind 1 | fingerprint 16 | span uvarint | attempts uvarint
//	at uvarint | name | result
//
// A text is its length (uvarint) and its bytes.
func (r *Record) encode() []byte {
	b := make([]byte, 0, 48+len(r.Name)+len(r.Result))
	b = append(b, recordFormat, byte(r.Status), byte(r.Kind))
	b = append(b, r.Fingerprint[:]...)
	b = binary.AppendUvarint(b, r.Span)
	b = binary.AppendUvarint(b, r.Attempts)
	b = binary.AppendUvarint(b, uint64(r.At))
	b = append(binary.AppendUvarint(b, uint64(len(r.Name))), r.Name...)
	return append(binary.AppendUvarint(b, uint64(len(r.Result))), r.Result...)
}

func decode(b []byte) (r Record, err error) {
	d := field.NewReader(b, ErrInvalidRecord)
	if format := d.Byte(); d.Err() == nil && format != recordFormat {
		return r, ErrUnsupportedRecord
	}
	r.Status, r.Kind = Status(d.Byte()), Kind(d.Byte())
	copy(r.Fingerprint[:], d.Take(16))
	r.Span, r.Attempts, r.At = d.Uvarint(), d.Uvarint(), d.Int()
	r.Name = string(d.Bytes())
	r.Result = append([]byte(nil), d.Bytes()...)
	if d.Len() > 0 {
		d.Fail("bytes after the result")
	}
	if d.Err() == nil && (r.Status < Open || r.Status > Failed || r.Kind < Call || r.Kind > Join) {
		d.Fail("status or kind")
	}
	return r, d.Err()
}

// Get returns the step at a place. Where there is none its Status is 0.
func Get(run op.Run, p Path) (Record, error) {
	it, err := run.Get(op.Trace, recordPrefix+string(p))
	if errors.Is(err, op.ErrNotFound) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, err
	}
	r, err := decode(it.Value)
	if err != nil {
		return r, fmt.Errorf("step %v: %w", p, err)
	}
	r.Version = it.Version
	return r, nil
}

// Within returns the first step within the one at a place, or "".
func Within(run op.Run, p Path) (first Path, err error) {
	view, err := run.View()
	if err != nil {
		return "", err
	}
	r := op.Prefix(recordPrefix + string(p))
	r.Limit = 2 // the step itself may be the first
	view.Scan(op.Trace, r, func(key string, _ op.Item) bool {
		if len(key) > len(recordPrefix)+len(p) {
			first = Path(strings.Clone(key[len(recordPrefix):]))
		}
		return first == ""
	})
	return first, nil
}

// Put stores the step at a place, where old is what was there before.
func Put(ctx context.Context, run op.Run, p Path, r, old Record) error {
	return put(ctx, run, op.Write{Key: recordPrefix + string(p), Value: r.encode(), Expect: op.AtVersion(old.Version)})
}

func put(ctx context.Context, run op.Run, w op.Write) error {
	w.Kind, w.Tag = op.Put, op.Trace
	if limit := run.Limits().MaxValue; len(w.Value) > limit {
		return &op.SizeError{Err: op.ErrValueTooLarge, Size: len(w.Value), Max: limit}
	}
	_, err := run.Commit(ctx, &op.Request{Writes: []op.Write{w}})
	return err
}

// List returns the steps in the order in which they began, all as of one
// version. The loop ends after an error.
func List(ctx context.Context, run op.Run) iter.Seq2[Path, error] {
	return func(yield func(Path, error) bool) {
		view, err := run.View()
		if err != nil {
			yield("", err)
			return
		}
		view.Scan(op.Trace, op.Prefix(recordPrefix), func(key string, _ op.Item) bool {
			err := ctx.Err()
			return yield(Path(strings.Clone(key[len(recordPrefix):])), err) && err == nil
		})
	}
}

// Override returns the result that the next step of the name is to be given;
// nil = none.
func Override(run op.Run, name string) ([]byte, error) {
	return value(run, overridePrefix+name)
}

// OverrideKey is where the result is stored, as JSON, that the next step of the
// name is to be given.
func OverrideKey(name string) op.Key { return op.Key{Tag: op.Trace, Key: overridePrefix + name} }

// TakeOverride removes the override of a name: it was used.
func TakeOverride(ctx context.Context, run op.Run, name string) error {
	_, err := run.Commit(ctx, &op.Request{Writes: []op.Write{{Kind: op.Delete, Tag: op.Trace, Key: overridePrefix + name}}})
	return err
}

// Taken returns how many signals of a name were taken.
func Taken(run op.Run, name string) (uint64, error) {
	b, err := value(run, takenPrefix+name)
	if b == nil || err != nil {
		return 0, err
	}
	d := field.NewReader(b, ErrInvalidRecord)
	n := d.Uvarint()
	return n, d.Err()
}

// Take stores that n signals of a name were taken.
func Take(ctx context.Context, run op.Run, name string, n uint64) error {
	return put(ctx, run, op.Write{Key: takenPrefix + name, Value: binary.AppendUvarint(nil, n)})
}

// AgentKey is where the agent of a run is stored, as JSON.
var AgentKey = op.Key{Tag: op.Trace, Key: agentKey}

// Agent returns what is stored of a run's agent; nil = it has none.
func Agent(run op.Run) ([]byte, error) { return value(run, agentKey) }

// OutcomeKey is where that is stored which came of a run.
var OutcomeKey = op.Key{Tag: op.Trace, Key: outcomeKey}

// Outcome returns what is stored of what came of a run; nil = nothing yet.
func Outcome(run op.Run) ([]byte, error) { return value(run, outcomeKey) }

// PutOutcome stores what came of a run.
func PutOutcome(ctx context.Context, run op.Run, b []byte) error {
	return put(ctx, run, op.Write{Key: outcomeKey, Value: b})
}

func value(run op.Run, key string) ([]byte, error) {
	it, err := run.Get(op.Trace, key)
	if errors.Is(err, op.ErrNotFound) {
		return nil, nil
	}
	return append([]byte{}, it.Value...), err
}
