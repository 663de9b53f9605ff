package event

import (
	"context"
	"fmt"
	"iter"

	"inmem/codec"
)

// TypedStore is a Store whose payloads are values of one type. What has no
// payload is as it is there.
type TypedStore[T any] struct {
	Store
	codec codec.Codec[T]
}

// Typed returns a view of s whose payloads are values of T, in JSON or by
// another codec. What it encodes must be a JSON object, and equal values should
// be equal payloads: an event that is appended again is known by its bytes.
func Typed[T any](s Store, c ...codec.Codec[T]) TypedStore[T] {
	return TypedStore[T]{Store: s, codec: codec.Choose(c)}
}

// TypedNew is a New with a value as its payload.
type TypedNew[T any] struct {
	Type  string
	ID    string
	Value T
}

// TypedEvent is an event and its payload as a value.
type TypedEvent[T any] struct {
	Event
	Value T
}

// encode turns the value of an event into its payload.
func (s TypedStore[T]) encode(e TypedNew[T]) (New, error) {
	payload, err := s.codec.Encode(e.Value)
	if err == nil && len(payload) == 0 {
		err = ErrInvalidPayload // a codec that has nothing to say is a mistake, not {}
	}
	if err != nil {
		return New{}, fmt.Errorf("inmem: cannot encode an event of type %.100q: %w", e.Type, err)
	}
	return New{Type: e.Type, ID: e.ID, Payload: payload}, nil
}

func (s TypedStore[T]) decode(e Event, err error) (TypedEvent[T], error) {
	if err != nil {
		return TypedEvent[T]{}, err
	}
	v, err := s.codec.Decode(e.Payload)
	if err != nil {
		return TypedEvent[T]{}, fmt.Errorf("inmem: cannot decode event %d of stream %q: %w", e.Sequence, e.Stream, err)
	}
	return TypedEvent[T]{Event: e, Value: v}, nil
}

// Append is Store.Append of a value, which is returned with the event. An error
// of the codec is returned, wrapped, and nothing is appended.
func (s TypedStore[T]) Append(ctx context.Context, stream string, e TypedNew[T], opts ...WriteOption) (TypedEvent[T], error) {
	raw, err := s.encode(e)
	if err != nil {
		return TypedEvent[T]{}, err
	}
	stored, err := s.Store.Append(ctx, stream, raw, opts...)
	if err != nil {
		return TypedEvent[T]{}, err
	}
	return TypedEvent[T]{Event: stored, Value: e.Value}, nil
}

// AppendAll is Store.AppendAll of values; see Append.
func (s TypedStore[T]) AppendAll(ctx context.Context, stream string, events []TypedNew[T], opts ...WriteOption) ([]TypedEvent[T], error) {
	raw := make([]New, len(events))
	for i, e := range events {
		var err error
		if raw[i], err = s.encode(e); err != nil {
			return nil, err
		}
	}
	stored, err := s.Store.AppendAll(ctx, stream, raw, opts...)
	if err != nil {
		return nil, err
	}
	out := make([]TypedEvent[T], len(stored))
	for i, e := range stored {
		out[i] = TypedEvent[T]{Event: e, Value: events[i].Value}
	}
	return out, nil
}

// Get is Store.Get with the value.
func (s TypedStore[T]) Get(ctx context.Context, stream string, seq uint64) (TypedEvent[T], error) {
	return s.decode(s.Store.Get(ctx, stream, seq))
}

// Last is Store.Last with the value.
func (s TypedStore[T]) Last(ctx context.Context, stream string) (TypedEvent[T], error) {
	return s.decode(s.Store.Last(ctx, stream))
}

// Read is Store.Read with the values. Where a stream has events of several
// types, Types leaves those that the codec cannot decode alone: the loop ends
// after an error.
func (s TypedStore[T]) Read(ctx context.Context, stream string, opts ...ReadOption) iter.Seq2[TypedEvent[T], error] {
	return func(yield func(TypedEvent[T], error) bool) {
		for raw, err := range s.Store.Read(ctx, stream, opts...) {
			e, err := s.decode(raw, err)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
