package event

import (
	"math"
	"time"

	"inmem/op"
)

// WriteOption changes how events are appended.
type WriteOption struct {
	durability op.Durability
	expects    bool
	expected   uint64
}

// Durability lets this commit be acknowledged by another mode than the
// store's: op.ErrInvalidOption where there is no such mode. A commit never gets
// less than those that go to the log with it.
func Durability(d op.Durability) WriteOption { return WriteOption{durability: d} }

// ExpectSequence demands that the last event of the stream has sequence n, 0 =
// that there is none: a *SequenceError otherwise.
func ExpectSequence(n uint64) WriteOption { return WriteOption{expects: true, expected: n} }

// gather puts options together; of those of one kind the last counts.
func gather(opts []WriteOption) (o WriteOption, err error) {
	for _, next := range opts {
		if o.durability, err = o.durability.Choose(next.durability); err != nil {
			return o, err
		}
		if next.expects {
			o.expects, o.expected = true, next.expected
		}
	}
	return o, nil
}

// ReadOption narrows what Read returns. All of them together must hold; of
// those of one kind the last counts.
type ReadOption func(*query)

// query is what is to be read: the sequences first <= n < below, and of those
// the events with since <= time < until and one of the types.
type query struct {
	first, below uint64
	since, until int64 // Unix milliseconds
	types        []string
	reverse      bool
	limit        int // <= 0: none
}

func gatherRead(opts []ReadOption) query {
	q := query{first: 1, below: math.MaxUint64, since: math.MinInt64, until: math.MaxInt64}
	for _, o := range opts {
		o(&q)
	}
	return q
}

// After leaves out everything up to sequence n: with the sequence of the last
// event that was read, reading goes on behind it.
func After(n uint64) ReadOption {
	return func(q *query) { q.first = max(n, n+1) } // nothing comes after the last number
}

// Before leaves out everything from sequence n on: with Reverse and the
// sequence of the last event that was read, reading goes on before it.
func Before(n uint64) ReadOption { return func(q *query) { q.below = n } }

// Since leaves out events before t.
func Since(t time.Time) ReadOption { return func(q *query) { q.since = ceilMilli(t) } }

// Until leaves out events at t and later.
func Until(t time.Time) ReadOption { return func(q *query) { q.until = ceilMilli(t) } }

// ceilMilli is the first millisecond that is not before t.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}

// Types leaves out events of other types; without any type it has no effect.
// Unlike the other options it does not spare reading what it leaves out.
func Types(types ...string) ReadOption { return func(q *query) { q.types = types } }

// Reverse reads from the last event to the first.
func Reverse() ReadOption { return func(q *query) { q.reverse = true } }

// Limit ends the reading after n events; n <= 0 means no limit.
func Limit(n int) ReadOption { return func(q *query) { q.limit = n } }
