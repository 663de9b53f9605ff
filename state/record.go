package state

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"inmem/field"
)

// recordFormat leads every record, so that a later layout can be told apart.
const recordFormat = 1

// A cell is stored as
//
//	format 1 = 1 | state | data
//
// A text or data is its length (uvarint) and its bytes.
func encodeValue(v Value) []byte {
	b := make([]byte, 0, 1+2*binary.MaxVarintLen32+len(v.State)+len(v.Data))
	b = append(b, recordFormat)
	b = appendText(b, v.State)
	return append(binary.AppendUvarint(b, uint64(len(v.Data))), v.Data...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// newReader begins a record: its format is read.
func newReader(b []byte) (field.Reader, error) {
	d := field.NewReader(b, ErrInvalidRecord)
	if format := d.Byte(); d.Err() == nil && format != recordFormat {
		return d, ErrUnsupportedRecord
	}
	return d, d.Err()
}

// decodeValue reads what encodeValue wrote. Data is part of b.
func decodeValue(b []byte) (Value, error) {
	d, err := newReader(b)
	if err != nil {
		return Value{}, err
	}
	v := Value{State: string(d.Bytes()), Data: d.Bytes()}
	if d.Len() > 0 {
		d.Fail("bytes after the data")
	}
	if d.Err() == nil && v.State != "" && checkName(v.State) != nil {
		d.Fail("the name of a state")
	}
	return v, d.Err()
}

// A machine is stored as
//
//	format 1 = 1 | initial | count of states uvarint
//	count × ( state | count of followers uvarint | followers )
//
// with the states that have followers in order, and the followers as they were
// declared.
func (m *Machine) encode() []byte {
	b := appendText([]byte{recordFormat}, m.Initial)
	b = binary.AppendUvarint(b, uint64(len(m.Transitions)))
	for _, from := range slices.Sorted(maps.Keys(m.Transitions)) {
		b = appendText(b, from)
		b = binary.AppendUvarint(b, uint64(len(m.Transitions[from])))
		for _, to := range m.Transitions[from] {
			b = appendText(b, to)
		}
	}
	return b
}

func decodeMachine(b []byte) (*Machine, error) {
	d, err := newReader(b)
	if err != nil {
		return nil, err
	}
	m := &Machine{Initial: string(d.Bytes()), Transitions: map[string][]string{}}
	count := d.Uvarint()
	if count > MaxStates {
		d.Fail("too many states")
	}
	previous := ""
	for ; count > 0 && d.Err() == nil; count-- {
		from := string(d.Bytes())
		if strings.Compare(from, previous) <= 0 {
			d.Fail("states out of order")
		}
		previous = from
		m.Transitions[from] = followers(&d)
	}
	if d.Len() > 0 {
		d.Fail("bytes after the last state")
	}
	if d.Err() == nil {
		if err := m.Validate(); err != nil {
			d.Fail(err.Error())
		}
	}
	return m, d.Err()
}

func followers(d *field.Reader) (list []string) {
	count := d.Uvarint()
	if count > MaxStates {
		d.Fail("too many followers")
	}
	for ; count > 0 && d.Err() == nil; count-- {
		list = append(list, string(d.Bytes()))
	}
	return list
}
