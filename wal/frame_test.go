package wal

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The golden bytes were worked out apart from this code. They may change only
// together with FormatVersion.

func TestGoldenFrame(t *testing.T) {
	stream := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	b := append(make([]byte, frameHeader), append(stream, "hello"...)...)
	b = sealFrame(b, 0, Record, 0x11223344, 5, 64)
	require.Equal(t, ""+
		"1253db36"+"15000000"+"01"+"000000"+"44332211"+ // checksum, length, kind, zero, salt
		"0500000000000000"+"4000000000000000"+ // sequence, synced
		"000102030405060708090a0b0c0d0e0f"+"68656c6c6f"+"000000", // stream, the rest, padding
		hex.EncodeToString(b))
	require.Equal(t, frameSize(21), int64(len(b)))
	require.Equal(t, frameSize(21), FrameSize(21))
}

func TestGoldenSeal(t *testing.T) {
	b := binary.LittleEndian.AppendUint64(make([]byte, frameHeader), 1700000000000)
	b = sealFrame(b, 0, Seal, 0x11223344, 6, 120)
	require.Equal(t, ""+
		"93a41368"+"08000000"+"80"+"000000"+"44332211"+
		"0600000000000000"+"7800000000000000"+
		"0068e5cf8b010000",
		hex.EncodeToString(b))
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "before")
		for len(before)%align != 0 {
			before = append(before, 0)
		}
		payload := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "payload")
		kind := Kind(rapid.ByteMin(1).Draw(t, "kind"))
		salt, seq := rapid.Uint32().Draw(t, "salt"), rapid.Uint64().Draw(t, "sequence")
		off := rapid.Int64Range(0, math.MaxInt32).Draw(t, "offset")
		synced := rapid.Int64Range(0, off).Draw(t, "synced")

		b := append(append(before, make([]byte, frameHeader)...), payload...)
		b = sealFrame(b, len(before), kind, salt, seq, synced)
		f := b[len(before):]
		require.Equal(t, frameSize(len(payload)), int64(len(f)))
		require.Zero(t, len(f)%align)

		h := parseHeader(f)
		require.Empty(t, h.flaw(salt, off, off+int64(len(f))))
		require.Empty(t, h.flawFrame(f))
		require.Equal(t, header{h.crc, uint32(len(payload)), uint32(kind), salt, seq, synced}, h)
		require.Equal(t, payload, f[frameHeader:frameHeader+len(payload)])
		require.NotEmpty(t, h.flaw(salt, off, off+int64(len(f))-1), "a byte short")

		bit := rapid.IntRange(0, len(f)*8-1).Draw(t, "bit")
		f[bit/8] ^= 1 << (bit % 8)
		h = parseHeader(f)
		require.NotEmpty(t, h.flawFrame(f), "bit %d is not covered by the checksum", bit)
	})
}

func TestHeaderBounds(t *testing.T) {
	good := header{length: 40, kind: 1, salt: 9, sequence: 1, synced: 64}
	const off, size = 128, 4096
	for name, c := range map[string]struct {
		change func(h *header)
		flaw   string
	}{
		"good":               {func(*header) {}, ""},
		"length 0":           {func(h *header) { h.length = 0 }, "a frame of zero length"},
		"length beyond file": {func(h *header) { h.length = size }, "a frame longer than its segment"},
		"length fits":        {func(h *header) { h.length = size - off - frameHeader }, ""},
		"length one more":    {func(h *header) { h.length = size - off - frameHeader + 1 }, "a frame longer than its segment"},
		"length 0xFFFFFFFF":  {func(h *header) { h.length = math.MaxUint32 }, "a frame longer than its segment"},
		"kind 0":             {func(h *header) { h.kind = 0 }, "an invalid frame kind"},
		"kind 256":           {func(h *header) { h.kind = 256 }, "an invalid frame kind"},
		"salt":               {func(h *header) { h.salt = 8 }, "a frame of another segment"},
		"synced negative":    {func(h *header) { h.synced = -1 }, "a frame that claims more synced than there was"},
		"synced too far":     {func(h *header) { h.synced = off + 1 }, "a frame that claims more synced than there was"},
		"synced to itself":   {func(h *header) { h.synced = off }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := good
			c.change(&h)
			require.Equal(t, c.flaw, h.flaw(9, off, size))
		})
	}
	h := good
	h.length = MaxPayload + 1
	require.NotEmpty(t, h.flaw(9, off, math.MaxInt64), "nothing longer than MaxPayload is read from any file")
	h.length = MaxPayload
	require.Empty(t, h.flaw(9, off, math.MaxInt64))
}

func TestEndRefusesWhatCannotBeRead(t *testing.T) {
	_, l := create(t, testOptions())
	defer mustClose(t, l)
	require.Panics(t, func() { l.End(append(l.Begin(), "short"...)) })
	// Only addresses: the memory behind them is never touched.
	require.Panics(t, func() { l.End(make([]byte, frameHeader+MaxPayload+1)) })
	require.Equal(t, uint64(1), l.Next(), "nothing was appended")
}

func TestChecksumIsCastagnoli(t *testing.T) {
	require.Equal(t, uint32(0xe3069283), crc32.Checksum([]byte("123456789"), castagnoli))
}
