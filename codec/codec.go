// Package codec turns values into bytes and back, for the typed views that the
// faces have: kv.Typed, event.Typed, state.Typed.
//
// It knows no face. Invariant: what a codec encodes it can decode.
package codec

import "encoding/json"

// Codec turns values of T into bytes and back. It is used by any number of
// goroutines at once. Encode returns bytes that are the caller's; Decode must
// not keep b.
type Codec[T any] interface {
	Encode(v T) ([]byte, error)
	Decode(b []byte) (T, error)
}

// JSON returns the codec of encoding/json, which the typed views use unless
// they are given another.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

// Choose returns the last of the codecs given, or JSON where there is none: so
// a typed view takes one as an option.
func Choose[T any](codecs []Codec[T]) Codec[T] {
	if n := len(codecs); n > 0 && codecs[n-1] != nil {
		return codecs[n-1]
	}
	return JSON[T]()
}
