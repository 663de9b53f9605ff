package event

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// goldens pins the format: what is stored must mean the same for ever.
var goldens = []struct {
	key, typ, id, payload string
	time                  int64
	prev                  [32]byte
	hex                   string
}{
	{
		"656d61696e00" + "0000000000000001", "tool.called", "call-1", `{"n":1}`, 1_700_000_000_000, [32]byte{},
		"01" + "80d095ffbc31" + "0b746f6f6c2e63616c6c6564" + "0663616c6c2d31" + "077b226e223a317d" + strings.Repeat("00", 32),
	},
	{
		"656d61696e00" + "0123456789abcdef", "a", "", "{}", 0, [32]byte{0xff, 31: 1},
		"01" + "00" + "0161" + "00" + "027b7d" + "ff" + strings.Repeat("00", 30) + "01",
	},
}

func TestRecordGolden(t *testing.T) {
	for i, g := range goldens {
		seq := [...]uint64{1, 0x0123456789abcdef}[i]
		key := eventKey(Main, seq)
		assert.Equal(t, g.key, hex.EncodeToString([]byte(key)))
		got, err := sequenceOf(Main, key)
		require.NoError(t, err)
		assert.Equal(t, seq, got)

		b := appendRecord([]byte("before"), g.time, g.typ, g.id, []byte(g.payload), &g.prev)
		assert.Equal(t, "before", string(b[:6]))
		b = b[6:]
		assert.Equal(t, g.hex, hex.EncodeToString(b))
		r, err := decodeRecord(b)
		require.NoError(t, err)
		assert.Equal(t, record{time: g.time, typ: []byte(g.typ), id: []byte(g.id), payload: []byte(g.payload), prev: g.prev}, r)
		at, err := timeOf(b)
		require.NoError(t, err)
		assert.Equal(t, g.time, at)
		for n := range b {
			_, err = decodeRecord(b[:n])
			assert.ErrorIs(t, err, ErrInvalidRecord, "the first %d bytes", n)
		}
	}
	assert.Equal(t, "696d61696e00"+"63616c6c2d31", hex.EncodeToString([]byte(idKey(Main, "call-1"))))
	assert.Equal(t, "01"+"ac02", hex.EncodeToString(appendIDRecord(nil, 300)))
	seq, err := decodeIDRecord([]byte{1, 0xac, 2})
	require.NoError(t, err)
	assert.Equal(t, uint64(300), seq)
}

func TestRecordRefuses(t *testing.T) {
	tail := strings.Repeat("\x00", 32)
	for name, b := range map[string]string{
		"format 0":            "\x00\x00\x01a\x00\x02{}" + tail,
		"format 2":            "\x02\x00\x01a\x00\x02{}" + tail,
		"time is negative":    "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01a\x00\x02{}" + tail,
		"time not shortest":   "\x01\x81\x00\x01a\x00\x02{}" + tail,
		"time 0 not shortest": "\x01\x80\x00\x01a\x00\x02{}" + tail,
		"time cut short":      "\x01\x80",
		"no type":             "\x01\x00\x00\x00\x02{}" + tail,
		"type with a NUL":     "\x01\x00\x01\x00\x00\x02{}" + tail,
		"type not UTF-8":      "\x01\x00\x01\xff\x00\x02{}" + tail,
		"type too long":       "\x01\x00\x80\x02" + strings.Repeat("a", 256) + "\x00\x02{}" + tail,
		"ID too long":         "\x01\x00\x01a\x80\x02" + strings.Repeat("a", 256) + "\x02{}" + tail,
		"payload beyond it":   "\x01\x00\x01a\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01{}" + tail,
		"a byte too many":     "\x01\x00\x01a\x00\x02{}" + tail + "\x00",
		"prev a byte shorter": "\x01\x00\x01a\x00\x02{}" + tail[1:],
	} {
		_, err := decodeRecord([]byte(b))
		if strings.HasPrefix(name, "format") {
			assert.ErrorIs(t, err, ErrUnsupportedRecord, name)
			continue
		}
		assert.ErrorIs(t, err, ErrInvalidRecord, name)
		if strings.HasPrefix(name, "time") {
			_, err = timeOf([]byte(b))
			assert.ErrorIs(t, err, ErrInvalidRecord, name)
		}
	}
	_, err := decodeRecord([]byte("\x01\x00\x01a\x00\x02{}" + tail))
	assert.NoError(t, err, "the case that the others spoil")
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[^\x00]{1,60}`)
		typ, id := name.Draw(t, "type"), rapid.SliceOfN(rapid.Byte(), 0, MaxID).Draw(t, "id")
		ms := rapid.Int64Range(0, math.MaxInt64).Draw(t, "time")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")
		var prev [32]byte
		copy(prev[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "prev"))
		b := appendRecord(nil, ms, typ, string(id), payload, &prev)
		require.LessOrEqual(t, len(b), maxOverhead+len(typ)+len(id)+len(payload))
		r, err := decodeRecord(b)
		require.NoError(t, err)
		require.Equal(t, record{time: ms, typ: []byte(typ), id: id, payload: payload, prev: prev}, r)
		e := r.event("s", 7, "", 9)
		clear(b)
		require.Equal(t, []string{typ, string(id), string(payload)}, []string{e.Type, e.ID, string(e.Payload)}, "nothing refers to the input")

		stream := name.Draw(t, "stream")
		seq := rapid.Uint64Range(1, math.MaxUint64-1).Draw(t, "sequence")
		key := eventKey(stream, seq)
		require.Len(t, key, keySize(stream))
		require.Len(t, idKey(stream, string(id)), idKeySize(stream, string(id)))
		got, err := sequenceOf(stream, key)
		require.NoError(t, err)
		require.Equal(t, seq, got)
		owner, err := streamOf(key)
		require.NoError(t, err)
		require.Equal(t, stream, owner)
		for _, kind := range []byte{kindEvent, kindID} {
			of := streamRange(kind, stream)
			other := name.Draw(t, "other")
			require.Equal(t, kind == kindEvent, of.From <= key && key < of.To)
			inside := idKey(other, string(id))
			require.Equal(t, kind == kindID && other == stream, of.From <= inside && inside < of.To)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	for _, g := range goldens {
		b, err := hex.DecodeString(g.hex)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		original := bytes.Clone(b)
		r, err := decodeRecord(b)
		require.Equal(t, original, b, "the input is not written to")
		if err != nil {
			if len(b) > 0 && b[0] != recordFormat {
				require.ErrorIs(t, err, ErrUnsupportedRecord)
			} else {
				require.ErrorIs(t, err, ErrInvalidRecord)
			}
			return
		}
		require.NoError(t, checkName(string(r.typ), ErrInvalidType))
		require.False(t, len(r.id) > MaxID || r.time < 0)
		at, err := timeOf(b)
		require.NoError(t, err)
		require.Equal(t, r.time, at)
		e := r.event(Main, 1, "", 1)
		clear(b) // from here on an alias shows
		require.Equal(t, original, appendRecord(nil, e.Time.UnixMilli(), e.Type, e.ID, e.Payload, &e.Prev))
	})
}

func FuzzDecodeID(f *testing.F) {
	f.Add(appendIDRecord(nil, 1))
	f.Add(appendIDRecord(nil, math.MaxUint64))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if seq, err := decodeIDRecord(b); err == nil {
			require.NotZero(t, seq)
			require.Equal(t, b, appendIDRecord(nil, seq))
		} else {
			require.True(t, len(b) == 0 || b[0] == recordFormat || assert.ErrorIs(t, err, ErrUnsupportedRecord))
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(Main, eventKey(Main, 1))
	f.Add("", "")
	f.Add("e", "ee\x00\x00")
	f.Fuzz(func(t *testing.T, stream, key string) {
		if owner, err := streamOf("e" + key); err == nil {
			require.NoError(t, checkName(owner, ErrInvalidStream))
			require.True(t, strings.HasPrefix(key, owner+"\x00"))
		}
		of := streamRange(kindEvent, stream)
		if checkName(stream, ErrInvalidStream) != nil || key < of.From || key >= of.To {
			return // no view hands such a key out
		}
		if seq, err := sequenceOf(stream, key); err == nil {
			require.Equal(t, eventKey(stream, seq), key)
		}
	})
}
