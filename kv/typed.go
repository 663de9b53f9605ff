package kv

import (
	"context"
	"fmt"
	"iter"

	"inmem/codec"
)

// TypedStore is a Store whose values are of one type. Its errors are those of
// the Store and a *CodecError.
type TypedStore[T any] struct {
	store Store
	codec codec.Codec[T]
}

// Typed returns s as a store of values of T, in JSON or by another codec.
func Typed[T any](s Store, c ...codec.Codec[T]) TypedStore[T] {
	return TypedStore[T]{store: s, codec: codec.Choose(c)}
}

// CodecError says which key's value a codec could not read or write.
type CodecError struct {
	Key string
	Err error
}

func (e *CodecError) Error() string { return fmt.Sprintf("kv: value of key %.100q: %v", e.Key, e.Err) }

// Unwrap returns the codec's error.
func (e *CodecError) Unwrap() error { return e.Err }

// Get returns the value of key; see Store.Get.
func (t TypedStore[T]) Get(ctx context.Context, key string) (T, error) {
	v, _, err := t.GetVersion(ctx, key)
	return v, err
}

// GetVersion is Get with the version of the value, for PutIf.
func (t TypedStore[T]) GetVersion(ctx context.Context, key string) (v T, version uint64, err error) {
	it, err := t.store.GetItem(ctx, key)
	if err == nil {
		v, err = t.decode(key, it.Value)
	}
	return v, it.Version, err
}

// Put sets key to v; see Store.Put.
func (t TypedStore[T]) Put(ctx context.Context, key string, v T, opts ...WriteOption) (version uint64, err error) {
	b, err := t.encode(key, v)
	if err != nil {
		return 0, err
	}
	return t.store.Put(ctx, key, b, opts...)
}

// PutIf sets key to v where it is at the expected version; see Store.PutIf.
func (t TypedStore[T]) PutIf(ctx context.Context, key string, v T, expected uint64, opts ...WriteOption) (version uint64, err error) {
	b, err := t.encode(key, v)
	if err != nil {
		return 0, err
	}
	return t.store.PutIf(ctx, key, b, expected, opts...)
}

// Delete removes key and returns the value it had; see Store.Delete.
func (t TypedStore[T]) Delete(ctx context.Context, key string, opts ...WriteOption) (old T, err error) {
	b, err := t.store.Delete(ctx, key, opts...)
	if err != nil {
		return old, err
	}
	return t.decode(key, b)
}

// List returns the keys that begin with prefix and their values, in order; see
// Store.List. What the codec cannot read ends the loop with a *CodecError.
func (t TypedStore[T]) List(ctx context.Context, prefix string, opts ...ListOption) iter.Seq2[TypedItem[T], error] {
	return func(yield func(TypedItem[T], error) bool) {
		for it, err := range t.store.List(ctx, prefix, opts...) {
			out := TypedItem[T]{Key: it.Key, Version: it.Version}
			if err == nil {
				out.Value, err = t.decode(it.Key, it.Value)
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// TypedItem is an item of a TypedStore.
type TypedItem[T any] struct {
	Key     string
	Value   T
	Version uint64
}

func (t TypedStore[T]) encode(key string, v T) ([]byte, error) {
	b, err := t.codec.Encode(v)
	if err != nil {
		return nil, &CodecError{Key: key, Err: err}
	}
	return b, nil
}

func (t TypedStore[T]) decode(key string, b []byte) (T, error) {
	v, err := t.codec.Decode(b)
	if err != nil {
		return v, &CodecError{Key: key, Err: err}
	}
	return v, nil
}
