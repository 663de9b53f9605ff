// Package field reads the fields of inmem's stored formats off a slice of
// bytes: numbers, times and length-prefixed byte strings.
//
// It knows no format: what follows what is the caller's to say.
//
// Invariants: nothing is allocated by the word of the input; a number is
// accepted in its shortest form only, so that equal data has equal bytes; after
// the first error every read returns zero, and the error stays.
//
// field carries no compatibility promise; package inmem does.
package field

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Reader reads fields in order, until the first error.
type Reader struct {
	rest      []byte
	malformed error
	err       error
}

// NewReader returns a reader of b whose errors wrap malformed.
func NewReader(b []byte, malformed error) Reader { return Reader{rest: b, malformed: malformed} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Fail makes what the error, unless there is one already, and leaves nothing
// to read.
func (r *Reader) Fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", r.malformed, what)
	}
	r.rest = nil
}

// Len returns how many bytes are left; 0 after an error.
func (r *Reader) Len() int { return len(r.rest) }

// Take returns the next n bytes, as part of the slice that is read.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.Fail("a field is longer than what is left")
		return nil
	}
	f := r.rest[:n:n]
	r.rest = r.rest[n:]
	return f
}

// Byte returns the next byte.
func (r *Reader) Byte() byte {
	if f := r.Take(1); f != nil {
		return f[0]
	}
	return 0
}

// Uvarint returns the next number, written as encoding/binary does.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || (n > 1 && r.rest[n-1] == 0) {
		r.Fail("a number is not a shortest uvarint")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Int is Uvarint for numbers that must fit an int64, such as times.
func (r *Reader) Int() int64 {
	v := r.Uvarint()
	if v > math.MaxInt64 {
		r.Fail("a number is out of range")
		return 0
	}
	return int64(v)
}

// Bytes returns the next byte string: its length, a uvarint, and then itself.
func (r *Reader) Bytes() []byte { return r.Take(r.Uvarint()) }
