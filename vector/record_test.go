package vector

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

// FuzzRecords: whatever is stored, a record is read as it was written or refused,
// and what a search gets is what its collection takes.
func FuzzRecords(f *testing.F) {
	f.Add(Config{2, Cosine}.encode())
	f.Add(Config{MaxDimension, Euclidean}.encode())
	f.Add(encodeVector([]float32{1, -2}, []byte(`{"a":1}`)))
	f.Add(encodeVector([]float32{0, 0}, nil))
	f.Add(encodeVector([]float32{float32(math.NaN()), 0}, nil))
	f.Add([]byte{recordFormat, 2, 0, 0, 0})
	f.Add([]byte{recordFormat, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F})
	f.Add([]byte{recordFormat + 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeConfig(b); err == nil {
			require.Equal(t, b, c.encode())
			require.NoError(t, c.Validate())
		}
		vector, metadata, err := decodeVector(b)
		if err != nil {
			return
		}
		v := floats(vector)
		require.Equal(t, b, encodeVector(v, metadata))
		for _, m := range []Metric{Cosine, Dot, Euclidean} {
			c := Config{len(v), m}
			got, err := vectorOf(c)(b)
			require.Equal(t, c.check(v) == nil, err == nil)
			require.True(t, err != nil || bytes.Equal(vector, got))
			_, err = vectorOf(Config{len(v) + 1, m})(b)
			require.ErrorIs(t, err, ErrInvalidRecord)
		}
		_, err = toItem("k", op.Item{Value: b}, true)
		require.NoError(t, err)
	})
}

func TestRecordsOfAnotherFormat(t *testing.T) {
	_, err := decodeConfig([]byte{2, 1, 1})
	require.ErrorIs(t, err, ErrUnsupportedRecord)
	_, _, err = decodeVector([]byte{2, 1})
	require.ErrorIs(t, err, ErrUnsupportedRecord)
	for _, b := range [][]byte{{}, {1}, {1, 4, 1}, {1, 1, 0}, {1, 1, 0x81, 0x80, 0x04}, {1, 1, 1, 0}} {
		_, err := decodeConfig(b)
		require.ErrorIs(t, err, ErrInvalidRecord, "%v", b)
	}
	for _, b := range [][]byte{{}, {1}, {1, 0}, {1, 1, 0, 0, 0}, {1, 0x81, 0x80, 0x04}} {
		_, _, err := decodeVector(b)
		require.ErrorIs(t, err, ErrInvalidRecord, "%v", b)
	}
}
