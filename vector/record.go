package vector

import (
	"encoding/binary"
	"math"

	"inmem/field"
	"inmem/op"
)

// recordFormat leads every record, so that a later layout can be told apart.
const recordFormat = 1

// A collection is stored under "c" and its name as
//
//	format 1 = 1 | metric 1 | dimension uvarint
func (c Config) encode() []byte {
	return binary.AppendUvarint([]byte{recordFormat, byte(c.Metric)}, uint64(c.Dimension))
}

func newReader(b []byte) (field.Reader, error) {
	d := field.NewReader(b, ErrInvalidRecord)
	if format := d.Byte(); d.Err() == nil && format != recordFormat {
		return d, ErrUnsupportedRecord
	}
	return d, d.Err()
}

func decodeConfig(b []byte) (Config, error) {
	d, err := newReader(b)
	if err != nil {
		return Config{}, err
	}
	c := Config{Metric: Metric(d.Byte())}
	dimension := d.Uvarint()
	switch {
	case d.Err() != nil:
		return Config{}, d.Err()
	case !c.Metric.Valid():
		d.Fail(c.Metric.String())
	case dimension < 1 || dimension > MaxDimension:
		d.Fail("the dimension")
	case d.Len() > 0:
		d.Fail("bytes after the dimension")
	}
	if d.Err() != nil {
		return Config{}, d.Err()
	}
	c.Dimension = int(dimension)
	return c, nil
}

// A vector is stored under "v", its collection's name, a NUL and its key as
//
//	format 1 = 1 | dimension uvarint | dimension × float32, little-endian | metadata
//
// The metadata, a JSON object or nothing, reaches to the end.
func encodeVector(v []float32, metadata []byte) []byte {
	b := make([]byte, 0, 1+binary.MaxVarintLen32+4*len(v)+len(metadata))
	b = binary.AppendUvarint(append(b, recordFormat), uint64(len(v)))
	head := len(b)
	b = b[:head+4*len(v)]
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[head+4*i:], math.Float32bits(x))
	}
	return append(b, metadata...)
}

// decodeVector returns the parts of a vector's record. They are parts of b.
func decodeVector(b []byte) (vector, metadata []byte, err error) {
	d, err := newReader(b)
	if err != nil {
		return nil, nil, err
	}
	dimension := d.Uvarint()
	if d.Err() == nil && (dimension < 1 || dimension > MaxDimension) {
		d.Fail("the dimension")
	}
	vector = d.Take(4 * dimension)
	if d.Err() != nil {
		return nil, nil, d.Err()
	}
	return vector, d.Take(uint64(d.Len())), nil
}

// vectorOf returns a function that reads the vectors of a collection, and lets
// none through that has no place in it.
func vectorOf(c Config) func(value []byte) ([]byte, error) {
	return func(value []byte) ([]byte, error) {
		b, _, err := decodeVector(value)
		if err != nil {
			return nil, err
		}
		d := field.NewReader(nil, ErrInvalidRecord)
		if len(b) != 4*c.Dimension {
			d.Fail("another dimension than the collection's")
			return nil, d.Err()
		}
		const sign, exponent = 1 << 31, 0xFF << 23
		some, finite := uint32(0), true
		for rest := b; len(rest) >= 4; rest = rest[4:] {
			bits := binary.LittleEndian.Uint32(rest)
			some |= bits &^ sign
			finite = finite && bits&exponent != exponent
		}
		if !finite || c.Metric == Cosine && some == 0 {
			d.Fail("a vector that the collection does not take")
		}
		return b, d.Err()
	}
}

// check reports what keeps a vector from a collection.
func (c Config) check(v []float32) error {
	if len(v) != c.Dimension {
		return &DimensionError{Has: len(v), Want: c.Dimension}
	}
	zero := true
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return &ElementError{Index: i, Value: x}
		}
		zero = zero && x == 0
	}
	if zero && c.Metric == Cosine {
		return ErrZeroVector
	}
	return nil
}

// floats are the elements of a stored vector.
func floats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// toItem is a stored vector without copies, and without the vector itself unless
// it is wanted.
func toItem(key string, it op.Item, withVector bool) (Item, error) {
	b, metadata, err := decodeVector(it.Value)
	if err != nil {
		return Item{}, err
	}
	item := Item{Key: key, Version: it.Version}
	if len(metadata) > 0 {
		item.Metadata = metadata
	}
	if withVector {
		item.Vector = floats(b)
	}
	return item, nil
}
