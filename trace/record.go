package trace

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"inmem/field"
)

// recordFormat leads every record, so that a later layout can be told apart.
const recordFormat = 1

// How a span started is stored as
//
//	format 1 = 1 | parent uvarint | at uvarint | kind | name | input | attributes
//
// and how it finished as
//
//	format 1 = 1 | status 1 | at uvarint | input tokens uvarint | output tokens uvarint
//	cost 8, IEEE 754, little endian | error | output | attributes
//
// Times are Unix milliseconds. A text is its length (uvarint) and its bytes.
// Attributes are their count (uvarint) and count × (key | value), by key.
func (s *Start) encode() []byte {
	b := make([]byte, 0, 64+len(s.Name)+len(s.Input))
	b = append(b, recordFormat)
	b = binary.AppendUvarint(b, uint64(s.Parent))
	b = binary.AppendUvarint(b, uint64(s.At.UnixMilli()))
	b = appendText(b, s.Kind)
	b = appendText(b, s.Name)
	b = appendText(b, s.Input)
	return appendAttributes(b, s.Attributes)
}

func (f *Finish) encode() []byte {
	b := make([]byte, 0, 64+len(f.Error)+len(f.Output))
	b = append(b, recordFormat, byte(f.Status))
	b = binary.AppendUvarint(b, uint64(f.At.UnixMilli()))
	b = binary.AppendUvarint(b, uint64(f.Usage.InputTokens))
	b = binary.AppendUvarint(b, uint64(f.Usage.OutputTokens))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f.Usage.Cost))
	b = appendText(b, f.Error)
	b = appendText(b, f.Output)
	return appendAttributes(b, f.Attributes)
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendAttributes(b []byte, attributes map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(attributes)))
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		b = appendText(appendText(b, k), attributes[k])
	}
	return b
}

// decoder reads a record's fields.
type decoder struct{ field.Reader }

func newDecoder(b []byte) (*decoder, error) {
	d := &decoder{field.NewReader(b, ErrInvalidRecord)}
	if format := d.Byte(); d.Err() == nil && format != recordFormat {
		return nil, ErrUnsupportedRecord
	}
	return d, d.Err()
}

func (d *decoder) time() time.Time { return time.UnixMilli(d.Int()).UTC() }

func (d *decoder) attributes(into map[string]string) map[string]string {
	count := d.Uvarint()
	if count > MaxAttributes {
		d.Fail("too many attributes")
	}
	previous := ""
	for ; count > 0 && d.Err() == nil; count-- {
		k, v := string(d.Bytes()), string(d.Bytes())
		if k <= previous {
			d.Fail("attributes out of order")
			break
		}
		previous = k
		if into == nil {
			into = map[string]string{}
		}
		into[k] = v
	}
	return into
}

// end makes sure that nothing is left.
func (d *decoder) end() error {
	if d.Len() > 0 {
		d.Fail("bytes after the attributes")
	}
	return d.Err()
}

func (s *Span) decodeStart(b []byte) error {
	d, err := newDecoder(b)
	if err != nil {
		return err
	}
	s.Parent = ID(d.Uvarint())
	s.Start = d.time()
	s.Kind, s.Name = Kind(d.Bytes()), string(d.Bytes())
	s.Input = bytes.Clone(d.Bytes())
	s.Attributes = d.attributes(nil)
	return d.end()
}

func (s *Span) decodeFinish(b []byte) error {
	d, err := newDecoder(b)
	if err != nil {
		return err
	}
	if s.Status = Status(d.Byte()); d.Err() == nil && (!s.Status.Valid() || s.Status == Open) {
		d.Fail(s.Status.String())
	}
	s.End = d.time()
	s.Usage.InputTokens, s.Usage.OutputTokens = d.Int(), d.Int()
	if cost := d.Take(8); cost != nil {
		s.Usage.Cost = math.Float64frombits(binary.LittleEndian.Uint64(cost))
	}
	s.Error = string(d.Bytes())
	s.Output = bytes.Clone(d.Bytes())
	s.Attributes = d.attributes(s.Attributes)
	return d.end()
}
