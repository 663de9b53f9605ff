package field

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errMalformed = errors.New("malformed")

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Uint64()).Draw(t, "numbers")
		text := rapid.SliceOf(rapid.Byte()).Draw(t, "text")
		b := []byte{7}
		for _, v := range numbers {
			b = binary.AppendUvarint(b, v)
		}
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
		b = binary.AppendUvarint(b, math.MaxInt64)

		r := NewReader(b, errMalformed)
		require.Equal(t, byte(7), r.Byte())
		for _, v := range numbers {
			require.Equal(t, v, r.Uvarint())
		}
		require.Equal(t, string(text), string(r.Bytes()))
		require.Equal(t, int64(math.MaxInt64), r.Int())
		require.Zero(t, r.Len())
		require.NoError(t, r.Err())
	})
}

func TestMalformed(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		read func(*Reader)
	}{
		"take beyond the end":         {[]byte{1, 2}, func(r *Reader) { r.Take(3) }},
		"take far beyond the end":     {[]byte{1, 2}, func(r *Reader) { r.Take(math.MaxUint64) }},
		"byte at the end":             {nil, func(r *Reader) { r.Byte() }},
		"uvarint at the end":          {nil, func(r *Reader) { r.Uvarint() }},
		"uvarint cut short":           {[]byte{0x80}, func(r *Reader) { r.Uvarint() }},
		"uvarint not in its shortest": {[]byte{0x81, 0x00}, func(r *Reader) { r.Uvarint() }},
		"uvarint beyond 64 bits":      {[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, func(r *Reader) { r.Uvarint() }},
		"int beyond 63 bits":          {binary.AppendUvarint(nil, math.MaxInt64+1), func(r *Reader) { r.Int() }},
		"bytes longer than the rest":  {[]byte{3, 1, 2}, func(r *Reader) { r.Bytes() }},
		"a caller's complaint":        {[]byte{3, 1, 2}, func(r *Reader) { r.Fail("no") }},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(c.in, errMalformed)
			c.read(&r)
			require.ErrorIs(t, r.Err(), errMalformed)
			first := r.Err()
			require.Zero(t, r.Len())
			require.Nil(t, r.Take(1))
			require.Zero(t, r.Byte())
			require.Zero(t, r.Uvarint())
			require.Zero(t, r.Int())
			require.Nil(t, r.Bytes())
			r.Fail("again")
			require.Equal(t, first, r.Err(), "the first error stays")
		})
	}
}

// What is taken cannot grow into what follows it.
func TestTakeHasNoRoom(t *testing.T) {
	b := []byte{1, 2, 3}
	r := NewReader(b, errMalformed)
	_ = append(r.Take(1), 9)
	require.Equal(t, []byte{1, 2, 3}, b)
}
