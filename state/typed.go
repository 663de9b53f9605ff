package state

import (
	"context"
	"fmt"
	"iter"

	"inmem/codec"
)

// TypedStore is a Store whose cells have values of one type as their data. Its
// errors are those of the Store and a *CodecError.
type TypedStore[T any] struct {
	store Store
	codec codec.Codec[T]
}

// Typed returns a view of s whose cells have data of type T, in JSON or by
// another codec.
func Typed[T any](s Store, c ...codec.Codec[T]) TypedStore[T] {
	return TypedStore[T]{store: s, codec: codec.Choose(c)}
}

// TypedValue is what a cell holds, with its data as a value.
type TypedValue[T any] struct {
	State string
	Data  T
}

// TypedCell is a cell as it was at one version.
type TypedCell[T any] struct {
	Name string
	TypedValue[T]
	Version uint64 // see Cell
}

// CodecError says which cell's data a codec could not read or write.
type CodecError struct {
	Cell string
	Err  error
}

func (e *CodecError) Error() string {
	return fmt.Sprintf("inmem: data of the state cell %.100q: %v", e.Cell, e.Err)
}

// Unwrap returns the codec's error.
func (e *CodecError) Unwrap() error { return e.Err }

// Get returns a cell; see Store.Get.
func (t TypedStore[T]) Get(ctx context.Context, name string) (TypedCell[T], error) {
	return t.decode(t.store.Get(ctx, name))
}

// Init makes a cell; see Store.Init.
func (t TypedStore[T]) Init(ctx context.Context, name string, v TypedValue[T], opts ...WriteOption) (TypedCell[T], error) {
	plain, err := t.encode(name, v)
	if err != nil {
		return TypedCell[T]{}, err
	}
	return t.decode(t.store.Init(ctx, name, plain, opts...))
}

// CompareAndSet gives a cell another value where it is at the version; see
// Store.CompareAndSet.
func (t TypedStore[T]) CompareAndSet(ctx context.Context, name string, version uint64, v TypedValue[T], opts ...WriteOption) (TypedCell[T], error) {
	plain, err := t.encode(name, v)
	if err != nil {
		return TypedCell[T]{}, err
	}
	return t.decode(t.store.CompareAndSet(ctx, name, version, plain, opts...))
}

// Transition gives a cell the value that fn makes of the one it has; see
// Store.Transition.
func (t TypedStore[T]) Transition(ctx context.Context, name string, fn func(TypedCell[T]) (TypedValue[T], error), opts ...WriteOption) (TypedCell[T], error) {
	return t.decode(t.store.Transition(ctx, name, func(now Cell) (Value, error) {
		cell, err := t.decode(now, nil)
		if err != nil {
			return Value{}, err
		}
		next, err := fn(cell)
		if err != nil {
			return Value{}, err
		}
		return t.encode(name, next)
	}, opts...))
}

// List returns the cells whose names begin with prefix; see Store.List. What
// the codec cannot read ends the loop with a *CodecError.
func (t TypedStore[T]) List(ctx context.Context, prefix string) iter.Seq2[TypedCell[T], error] {
	return func(yield func(TypedCell[T], error) bool) {
		for c, err := range t.store.List(ctx, prefix) {
			cell, err := t.decode(c, err)
			if !yield(cell, err) || err != nil {
				return
			}
		}
	}
}

func (t TypedStore[T]) encode(name string, v TypedValue[T]) (Value, error) {
	b, err := t.codec.Encode(v.Data)
	if err != nil {
		return Value{}, &CodecError{Cell: name, Err: err}
	}
	return Value{State: v.State, Data: b}, nil
}

func (t TypedStore[T]) decode(c Cell, err error) (TypedCell[T], error) {
	if err != nil {
		return TypedCell[T]{}, err
	}
	v, err := t.codec.Decode(c.Data)
	if err != nil {
		return TypedCell[T]{}, &CodecError{Cell: c.Name, Err: err}
	}
	return TypedCell[T]{Name: c.Name, TypedValue: TypedValue[T]{c.State, v}, Version: c.Version}, nil
}
