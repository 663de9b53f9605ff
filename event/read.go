package event

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"inmem/op"
)

// view returns the state to read a stream from.
func (s Store) view(ctx context.Context, stream string) (op.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkName(stream, ErrInvalidStream); err != nil {
		return nil, err
	}
	return s.run.View()
}

// Get returns the event with a sequence, or op.ErrNotFound.
func (s Store) Get(ctx context.Context, stream string, seq uint64) (Event, error) {
	view, err := s.view(ctx, stream)
	if err != nil {
		return Event{}, err
	}
	return get(view, stream, seq)
}

func get(view op.View, stream string, seq uint64) (Event, error) {
	it, ok := view.Get(op.Event, eventKey(stream, seq))
	if !ok {
		return Event{}, op.ErrNotFound
	}
	return toEvent(stream, seq, it)
}

// decode reads the record of an event.
func decode(stream string, seq uint64, it op.Item) (record, error) {
	r, err := decodeRecord(it.Value)
	if err != nil {
		err = fmt.Errorf("event %d of stream %q: %w", seq, stream, err)
	}
	return r, err
}

func toEvent(stream string, seq uint64, it op.Item) (Event, error) {
	r, err := decode(stream, seq, it)
	if err != nil {
		return Event{}, err
	}
	return r.event(stream, seq, "", it.Version), nil
}

// byID returns the event that an ID's record leads to.
func byID(view op.View, stream, id string, it op.Item) (Event, error) {
	seq, err := decodeIDRecord(it.Value)
	if err != nil {
		return Event{}, fmt.Errorf("ID %.100q of stream %q: %w", id, stream, err)
	}
	e, err := get(view, stream, seq)
	if err == nil && e.ID == id {
		return e, nil
	}
	if err == nil || errors.Is(err, op.ErrNotFound) {
		err = ErrInvalidRecord
	}
	return Event{}, fmt.Errorf("ID %.100q of stream %q leads to event %d: %w", id, stream, seq, err)
}

// newest returns the key and item of a stream's last event.
func newest(view op.View, stream string) (key string, it op.Item, ok bool) {
	r := streamRange(kindEvent, stream)
	r.Reverse, r.Limit = true, 1
	view.Scan(op.Event, r, func(k string, i op.Item) bool {
		key, it, ok = k, i, true
		return false
	})
	return key, it, ok
}

// last returns the sequence of a stream's last event; 0 = it has none.
func last(view op.View, stream string) (uint64, error) {
	key, _, ok := newest(view, stream)
	if !ok {
		return 0, nil
	}
	return sequenceOf(stream, key)
}

// Last returns the newest event of a stream, or op.ErrNotFound where it has
// none. It takes O(log n), as Len does.
func (s Store) Last(ctx context.Context, stream string) (Event, error) {
	view, err := s.view(ctx, stream)
	if err != nil {
		return Event{}, err
	}
	key, it, ok := newest(view, stream)
	if !ok {
		return Event{}, op.ErrNotFound
	}
	seq, err := sequenceOf(stream, key)
	if err != nil {
		return Event{}, err
	}
	return toEvent(stream, seq, it)
}

// Len returns how many events a stream has: the sequence of the last.
func (s Store) Len(ctx context.Context, stream string) (uint64, error) {
	view, err := s.view(ctx, stream)
	if err != nil {
		return 0, err
	}
	return last(view, stream)
}

// Streams returns the names of the streams that have events, in byte order, in
// O(log n) each, however many events they have. All are as of one version. The
// loop ends after an error.
func (s Store) Streams(ctx context.Context) iter.Seq2[string, error] {
	return s.StreamsFrom(ctx, "")
}

// StreamsFrom is Streams without the names before first.
func (s Store) StreamsFrom(ctx context.Context, first string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		view, err := s.run.View()
		if err != nil {
			yield("", err)
			return
		}
		r := op.Prefix(string([]byte{kindEvent}))
		r.From += first // names have no NUL, which ends them: a shorter one comes before
		r.Limit = 1
		for {
			key := ""
			view.Scan(op.Event, r, func(k string, _ op.Item) bool {
				key = k
				return false
			})
			if err = ctx.Err(); err == nil && key == "" {
				return
			}
			name := ""
			if err == nil {
				name, err = streamOf(key)
			}
			if !yield(name, err) || err != nil {
				return
			}
			r.From = streamRange(kindEvent, name).To
		}
	}
}

// Read returns the events of a stream in order, all as of one version: the
// newest when the loop begins. Without options these are all events; a stream
// that has none is no error. The loop ends after an error, such as ctx.Err().
//
// After, Before and Reverse find their place in O(log n); so do Since and
// Until, because the times of a stream never decrease.
func (s Store) Read(ctx context.Context, stream string, opts ...ReadOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		q := gatherRead(opts)
		view, err := s.view(ctx, stream)
		if err == nil {
			err = q.narrow(view, stream)
		}
		if err != nil {
			yield(Event{}, err)
			return
		}
		if q.first < q.below {
			q.scan(ctx, view, stream, yield)
		}
	}
}

// scan reads what the query's sequences, types and limit leave.
func (q query) scan(ctx context.Context, view op.View, stream string, yield func(Event, error) bool) {
	r := streamRange(kindEvent, stream)
	r.Reverse = q.reverse
	r.From = eventKey(stream, q.first)
	if q.below != math.MaxUint64 {
		r.To = eventKey(stream, q.below)
	}
	left, typ := q.limit, ""
	view.Scan(op.Event, r, func(key string, it op.Item) bool {
		seq, err := sequenceOf(stream, key)
		if err == nil {
			err = ctx.Err()
		}
		var rec record
		if err == nil {
			rec, err = decode(stream, seq, it)
		}
		if err != nil {
			yield(Event{}, err)
			return false
		}
		if !q.wants(rec.typ) {
			return true
		}
		e := rec.event(stream, seq, typ, it.Version)
		typ = e.Type
		left--
		return yield(e, nil) && left != 0
	})
}

func (q *query) wants(typ []byte) bool {
	for _, t := range q.types {
		if string(typ) == t {
			return true
		}
	}
	return len(q.types) == 0
}

// narrow turns the times of a query into sequences.
func (q *query) narrow(view op.View, stream string) error {
	if q.since == math.MinInt64 && q.until == math.MaxInt64 {
		return nil
	}
	n, err := last(view, stream)
	if err != nil {
		return err
	}
	q.below = min(q.below, n+1)
	if q.first, err = search(view, stream, q.first, q.below, q.since); err != nil {
		return err
	}
	if q.until != math.MaxInt64 {
		q.below, err = search(view, stream, q.first, q.below, q.until)
	}
	return err
}

// search returns the first sequence from first on whose event's time is not
// before ms, or below where there is none.
func search(view op.View, stream string, first, below uint64, ms int64) (uint64, error) {
	for first < below {
		middle := first + (below-first)/2
		it, ok := view.Get(op.Event, eventKey(stream, middle))
		if !ok {
			return 0, fmt.Errorf("%w: stream %q has no event %d", ErrInvalidRecord, stream, middle)
		}
		at, err := timeOf(it.Value)
		if err != nil {
			return 0, fmt.Errorf("event %d of stream %q: %w", middle, stream, err)
		}
		if at < ms {
			first = middle + 1
		} else {
			below = middle
		}
	}
	return first, nil
}
