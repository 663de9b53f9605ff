package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"inmem/field"
	"inmem/op"
)

// What the face stores, under its tag. Of a stream:
//
//	'e' | stream | 0 | sequence 8, big endian   → the event
//	'i' | stream | 0 | ID                       → its sequence
//
// No name has a NUL, so no stream's keys lie among those of another, and the
// last key of a stream's range is its newest event: there is no other record
// of how long a stream is.
const (
	kindEvent = 'e'
	kindID    = 'i'
)

// keySize is the length of the keys of a stream's events.
func keySize(stream string) int { return 1 + len(stream) + 1 + 8 }

// appendKey appends the key of an event.
func appendKey(dst []byte, stream string, seq uint64) []byte {
	dst = append(dst, kindEvent)
	dst = append(dst, stream...)
	dst = append(dst, 0)
	return binary.BigEndian.AppendUint64(dst, seq)
}

func eventKey(stream string, seq uint64) string {
	var space [MaxName + 10]byte
	return string(appendKey(space[:0], stream, seq))
}

func idKeySize(stream, id string) int { return 1 + len(stream) + 1 + len(id) }

func idKey(stream, id string) string { return string([]byte{kindID}) + stream + "\x00" + id }

// streamRange is where the keys of one kind and stream lie.
func streamRange(kind byte, stream string) op.Range {
	b := make([]byte, 0, 2*(2+len(stream)))
	b = append(append(append(b, kind), stream...), 0)
	n := len(b)
	b = append(append(append(b, kind), stream...), 1)
	both := string(b) // one allocation
	return op.Range{From: both[:n], To: both[n:]}
}

// sequenceOf reads the sequence from the key of an event of the stream.
func sequenceOf(stream, key string) (uint64, error) {
	if len(key) != keySize(stream) {
		return 0, fmt.Errorf("%w: a key of %d bytes in stream %q", ErrInvalidRecord, len(key), stream)
	}
	tail := key[len(key)-8:]
	seq := binary.BigEndian.Uint64([]byte(tail))
	if seq == 0 || seq == math.MaxUint64 {
		return 0, fmt.Errorf("%w: sequence %d in stream %q", ErrInvalidRecord, seq, stream)
	}
	return seq, nil
}

// streamOf reads the stream from the key of an event.
func streamOf(key string) (string, error) {
	end := strings.IndexByte(key, 0)
	if end < 0 || checkName(key[1:end], ErrInvalidRecord) != nil {
		return "", fmt.Errorf("%w: the key %.300q", ErrInvalidRecord, key)
	}
	return strings.Clone(key[1:end]), nil
}

// checkName holds a name or type against its bounds; what is wrong is wrapped.
func checkName(name string, wrong error) error {
	switch {
	case name == "" || len(name) > MaxName:
		return fmt.Errorf("%w: %d bytes, not 1 to %d", wrong, len(name), MaxName)
	case strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: a NUL in %q", wrong, name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %q is not UTF-8", wrong, name)
	}
	return nil
}

// recordFormat leads every record, so that a later layout can be told apart.
const recordFormat = 1

// record is what is stored of an event. Stream and sequence are in its key.
type record struct {
	time             int64 // Unix milliseconds
	typ, id, payload []byte
	prev             [sha256.Size]byte
}

// appendRecord appends the stored form of an event:
//
//	format 1 = 1 | time uvarint | type | ID | payload | prev 32
//
// Type, ID and payload are each their length (uvarint) and their bytes.
// Uvarints are those of encoding/binary, in their shortest form. prev is the
// SHA-256 of the key and the record of the event before, one after the other;
// of the first event it is zero.
func appendRecord(dst []byte, ms int64, typ, id string, payload []byte, prev *[sha256.Size]byte) []byte {
	dst = append(dst, recordFormat)
	dst = binary.AppendUvarint(dst, uint64(ms))
	dst = binary.AppendUvarint(dst, uint64(len(typ)))
	dst = append(dst, typ...)
	dst = binary.AppendUvarint(dst, uint64(len(id)))
	dst = append(dst, id...)
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	dst = append(dst, payload...)
	return append(dst, prev[:]...)
}

// What records need at most: that of an event beside type, ID and payload, and
// that of an ID.
const (
	maxOverhead = 1 + 4*binary.MaxVarintLen64 + sha256.Size
	maxIDRecord = 1 + binary.MaxVarintLen64
)

// newReader returns a reader of a record, behind its format.
func newReader(b []byte) field.Reader {
	r := field.NewReader(b, ErrInvalidRecord)
	if format := r.Byte(); r.Err() == nil && format != recordFormat {
		r = field.NewReader(nil, ErrUnsupportedRecord)
		r.Fail(fmt.Sprintf("format %d, this program reads %d: use a newer inmem", format, recordFormat))
	}
	return r
}

// decodeRecord reads an event. The result refers to b. That the payload is a
// JSON object was seen to when it was appended, and is not looked at again.
func decodeRecord(b []byte) (record, error) {
	d := newReader(b)
	r := record{time: d.Int(), typ: d.Bytes(), id: d.Bytes(), payload: d.Bytes()}
	copy(r.prev[:], d.Take(sha256.Size))
	switch {
	case d.Len() != 0:
		d.Fail("bytes after the last field")
	case d.Err() == nil && (len(r.typ) == 0 || len(r.typ) > MaxName || !utf8.Valid(r.typ) || bytes.IndexByte(r.typ, 0) >= 0):
		d.Fail("no such type can be")
	case len(r.id) > MaxID:
		d.Fail("the ID is too long")
	}
	return r, d.Err()
}

// timeOf reads an event's time and nothing else.
func timeOf(b []byte) (int64, error) {
	if len(b) > 0 && b[0] == recordFormat {
		if ms, n := binary.Uvarint(b[1:]); n > 0 && (n == 1 || b[n] != 0) && ms <= math.MaxInt64 {
			return int64(ms), nil
		}
	}
	_, err := decodeRecord(b)
	return 0, err
}

// event turns a record into an event. Its type's string is the given one where
// that is equal.
func (r *record) event(stream string, seq uint64, typ string, version uint64) Event {
	if string(r.typ) != typ {
		typ = string(r.typ)
	}
	return Event{
		Stream: stream, Sequence: seq, Type: typ, ID: string(r.id), Version: version,
		Time: toTime(r.time), Payload: bytes.Clone(r.payload), Prev: r.prev,
	}
}

func toTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// appendIDRecord appends what an ID leads to:
//
//	format 1 = 1 | sequence uvarint
func appendIDRecord(dst []byte, seq uint64) []byte {
	return binary.AppendUvarint(append(dst, recordFormat), seq)
}

// decodeIDRecord reads what appendIDRecord wrote.
func decodeIDRecord(b []byte) (uint64, error) {
	d := newReader(b)
	seq := d.Uvarint()
	switch {
	case d.Len() != 0:
		d.Fail("bytes after the sequence")
	case d.Err() == nil && seq == 0:
		d.Fail("there is no event 0")
	}
	return seq, d.Err()
}
