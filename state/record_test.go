package state

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRecordsOfOthers(t *testing.T) {
	good := encodeValue(Value{State: "s", Data: []byte("d")})
	_, err := decodeValue(good)
	require.NoError(t, err)
	for what, b := range map[string][]byte{
		"empty": {}, "more": append(good[:len(good):len(good)], 0), "less": good[:len(good)-1],
		"a name": {recordFormat, 1, 0, 0}, "length": {recordFormat, 200},
	} {
		_, err := decodeValue(b)
		assert.ErrorIs(t, err, ErrInvalidRecord, what)
	}
	_, err = decodeValue([]byte{9})
	assert.ErrorIs(t, err, ErrUnsupportedRecord)
	m := Machine{Initial: "a", Transitions: map[string][]string{"a": {"b"}, "b": nil}}
	b := m.encode()
	for what, b := range map[string][]byte{
		"empty": {}, "more": append(b[:len(b):len(b)], 0), "less": b[:len(b)-1],
		"states": {recordFormat, 1, 'a', 0xff, 0xff, 3}, "followers": {recordFormat, 1, 'a', 1, 1, 'a', 0xff, 0xff, 3},
		"order":    {recordFormat, 1, 'a', 2, 1, 'b', 0, 1, 'a', 0},
		"no sense": {recordFormat, 1, 'a', 1, 1, 'b', 0},
	} {
		_, err := decodeMachine(b)
		assert.ErrorIs(t, err, ErrInvalidRecord, what)
	}
	_, err = decodeMachine([]byte{9})
	assert.ErrorIs(t, err, ErrUnsupportedRecord)
}

// FuzzRecords: what a decoder takes, the encoder writes back byte for byte.
func FuzzRecords(f *testing.F) {
	f.Add(encodeValue(Value{}))
	f.Add(encodeValue(Value{State: "waiting", Data: []byte(`{"n":1}`)}))
	m := Machine{Initial: "a", Transitions: map[string][]string{"a": {"b", "c"}, "b": nil}}
	f.Add(m.encode())
	f.Add([]byte{recordFormat, 1, 'a', 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeValue(b); err == nil {
			assert.Equal(t, b, encodeValue(v))
		}
		if m, err := decodeMachine(b); err == nil {
			assert.Equal(t, b, m.encode())
		}
	})
}
