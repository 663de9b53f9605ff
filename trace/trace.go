// Package trace is the face of a run for the spans of an agent's work: tool
// calls, model calls, decisions, thoughts, each with what went in and what came
// out, when, at what cost, and within which other span.
//
// It is stateless: a Store is a way of looking at a run or at a transaction,
// owns nothing and is cheap to copy. It knows no other face, no shard and no
// disk.
//
// A span is started and finished, in two commits or, by Record, in one. What
// was stored of it does not change any more. Spans are numbered from 1 in the
// order they were started. Names and attributes follow the conventions of
// OpenTelemetry for generative AI, where these have a word.
package trace

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"inmem/op"
	"inmem/retry"
)

// The bounds of a span, in bytes of UTF-8 where it is text. Input and output
// are bounded by the store's limit of a value, less a few bytes and the rest of
// the span.
const (
	MaxName           = 1 << 10
	MaxKind           = 64
	MaxError          = 16 << 10
	MaxAttributes     = 128
	MaxAttributeKey   = 255
	MaxAttributeValue = 16 << 10
)

// ID numbers the spans of a run: 1, 2, 3 … without gaps. 0 is none.
type ID uint64

// String returns the ID as OpenTelemetry writes one: 16 hexadecimal digits.
func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseID reads what String writes, and shorter forms without the zeros.
func ParseID(text string) (ID, error) {
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: %.40q", ErrNotFound, text)
	}
	return ID(n), nil
}

// Kind says what kind of work a span is. Other words than these may be used.
type Kind string

// The kinds.
const (
	ToolCall  Kind = "tool_call"
	ModelCall Kind = "model_call"
	Decision  Kind = "decision"
	Query     Kind = "query"
	Thought   Kind = "thought"
	Error     Kind = "error"
	Custom    Kind = "custom"
)

// Status says how a span went.
type Status uint8

// The statuses. 0 is invalid everywhere.
const (
	Open      Status = 1 // not finished
	OK        Status = 2
	Failed    Status = 3
	Cancelled Status = 4
)

var statusNames = [...]string{Open: "open", OK: "ok", Failed: "error", Cancelled: "cancelled"}

// Valid reports whether s is one of the statuses above.
func (s Status) Valid() bool { return s >= Open && s <= Cancelled }

// String returns the status's name, or its number where there is no such status.
func (s Status) String() string {
	if s.Valid() {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// MarshalText returns what String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Start is what is known of a span when it begins.
type Start struct {
	Kind   Kind
	Name   string // such as the tool's or the model's
	Parent ID     // the span it is part of, which must exist; 0 = none
	Input  []byte // any bytes; JSON where the tools are to show it well
	// At is when it began; the zero Time = now, by the store's clock. It is kept
	// to the millisecond.
	At         time.Time
	Attributes map[string]string // see the Attr constants; tags are attributes too
}

// Finish is what is known of a span when it ends.
type Finish struct {
	Status Status // OK, Failed or Cancelled; 0 = OK, or Failed where Error is not empty
	Output []byte
	Error  string    // what went wrong, for people
	At     time.Time // the zero Time = now; not before the start
	Usage  Usage
	// Attributes are added to those of the start, and win.
	Attributes map[string]string
}

// Usage is what a span has cost by itself, without its children.
type Usage struct {
	InputTokens, OutputTokens int64
	Cost                      float64 // in the currency the program keeps to
}

// Add returns the sum.
func (u Usage) Add(v Usage) Usage {
	return Usage{u.InputTokens + v.InputTokens, u.OutputTokens + v.OutputTokens, u.Cost + v.Cost}
}

// Span is a span as it is stored. It belongs to the caller.
type Span struct {
	ID         ID
	Parent     ID
	Kind       Kind
	Name       string
	Status     Status
	Start      time.Time // UTC
	End        time.Time // the zero Time while it is open
	Input      []byte
	Output     []byte
	Error      string
	Usage      Usage
	Attributes map[string]string // nil = none
	Version    uint64            // of the run, with the last commit to the span
}

// Duration returns how long the span took; 0 while it is open.
func (s *Span) Duration() time.Duration {
	if s.End.IsZero() {
		return 0
	}
	return s.End.Sub(s.Start)
}

// Store is the spans of one run. Get it from Run.Trace.
type Store struct{ run op.Run }

// NewStore returns the trace face of r.
func NewStore(r op.Run) Store { return Store{run: r} }

// A span has two keys, each with the ID behind it, big endian: how it started
// and how it finished.
const (
	startPrefix  = "s"
	finishPrefix = "f"
)

func spanKey(prefix string, id ID) string {
	var b [9]byte
	b[0] = prefix[0]
	for i := range 8 {
		b[1+i] = byte(id >> (56 - 8*i))
	}
	return string(b[:])
}

func idOf(key string) (id ID) {
	for i := 1; i < len(key); i++ {
		id = id<<8 | ID(key[i])
	}
	return id
}

// Start begins a span and returns its ID.
//
// Errors: ErrNoParent, ErrInvalidSpan, *op.SizeError, and those of
// kv.Store.Put.
func (s Store) Start(ctx context.Context, start Start, opts ...WriteOption) (ID, error) {
	return s.add(ctx, start, nil, opts)
}

// Record stores a span that has ended, in one commit, and returns its ID. Its
// errors are those of Start.
func (s Store) Record(ctx context.Context, start Start, finish Finish, opts ...WriteOption) (ID, error) {
	return s.add(ctx, start, &finish, opts)
}

func (s Store) add(ctx context.Context, start Start, finish *Finish, opts []WriteOption) (id ID, err error) {
	o, err := gather(opts)
	if err != nil {
		return 0, err
	}
	now := s.run.Now()
	if err := start.complete(now); err != nil {
		return 0, err
	}
	var values [][]byte
	if values = append(values, start.encode()); finish != nil {
		if err := finish.complete(now, start.At.UnixMilli()); err != nil {
			return 0, err
		}
		values = append(values, finish.encode())
	}
	if err := s.check(values); err != nil {
		return 0, err
	}
	err = retry.Conflicts(ctx, func() error {
		view, err := s.run.View()
		if err != nil {
			return err
		}
		if _, ok := view.Get(op.Trace, spanKey(startPrefix, start.Parent)); start.Parent != 0 && !ok {
			return fmt.Errorf("%w: %v", ErrNoParent, start.Parent)
		}
		id = last(view) + 1
		req := &op.Request{Durability: o.durability}
		for i, prefix := range []string{startPrefix, finishPrefix}[:len(values)] {
			req.Writes = append(req.Writes, op.Write{
				Kind: op.Put, Tag: op.Trace, Key: spanKey(prefix, id), Value: values[i], Expect: op.AtVersion(0),
			})
		}
		_, err = s.run.Commit(ctx, req)
		return err
	}, op.ErrWrongVersion)
	if err != nil {
		return 0, err
	}
	return id, nil
}

// last returns the newest span's ID; 0 = there is none.
func last(view op.View) (id ID) {
	r := op.Prefix(startPrefix)
	r.Reverse, r.Limit = true, 1
	view.Scan(op.Trace, r, func(key string, _ op.Item) bool {
		id = idOf(key)
		return false
	})
	return id
}

// check holds values against the store's limit.
func (s Store) check(values [][]byte) error {
	limits := s.run.Limits()
	size := 0
	for _, v := range values {
		if len(v) > limits.MaxValue {
			return &op.SizeError{Err: op.ErrValueTooLarge, Size: len(v), Max: limits.MaxValue}
		}
		size += op.OpSize(len(startPrefix)+8, len(v))
	}
	if size > limits.MaxCommit {
		return &op.SizeError{Err: op.ErrBatchTooLarge, Size: size, Max: limits.MaxCommit}
	}
	return nil
}

// Finish ends a span.
//
// Errors: ErrNotFound where there is no such span, ErrFinished where it has
// ended, ErrInvalidSpan, *op.SizeError, and those of kv.Store.Put.
func (s Store) Finish(ctx context.Context, id ID, finish Finish, opts ...WriteOption) error {
	o, err := gather(opts)
	if err != nil {
		return err
	}
	span, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if span.Status != Open {
		return fmt.Errorf("%w: %v", ErrFinished, id)
	}
	if err := finish.complete(s.run.Now(), span.Start.UnixMilli()); err != nil {
		return err
	}
	value := finish.encode()
	if err := s.check([][]byte{value}); err != nil {
		return err
	}
	_, err = s.run.Commit(ctx, &op.Request{Durability: o.durability, Writes: []op.Write{{
		Kind: op.Put, Tag: op.Trace, Key: spanKey(finishPrefix, id), Value: value, Expect: op.AtVersion(0),
	}}})
	return finished(err, id)
}
