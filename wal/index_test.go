package wal

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/vfs"
)

func TestGoldenIndex(t *testing.T) {
	var a, b [streamSize]byte
	copy(a[:], bytes.Repeat([]byte{0xaa}, streamSize))
	copy(b[:], bytes.Repeat([]byte{0xbb}, streamSize))
	index, foot := encodeIndex([]entry{{b, 64}, {a, 128}, {b, 200}}, 264, 12, 0x11223344)
	require.Equal(t, ""+
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"+"00000000"+"01000000"+ // stream, start, count
		"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"+"01000000"+"02000000"+
		"10000000"+"08000000"+"19000000", // offsets / 8
		hex.EncodeToString(index))
	require.Equal(t, ""+
		"696e6d656d494458"+"0801000000000000"+"0c00000000000000"+ // magic, end, last
		"02000000"+"03000000"+"44332211"+"00000000"+ // streams, positions, salt, zero
		"5f10000d"+"4a67cba2", // checksums
		hex.EncodeToString(foot))
}

// fileOf is a segment file that ends with tail.
func fileOf(t require.TestingT, end int64, tail ...[]byte) vfs.File {
	mem := vfs.NewMem()
	b := make([]byte, end)
	for _, part := range tail {
		b = append(b, part...)
	}
	require.NoError(t, mem.WriteFile("f", b))
	f, err := mem.OpenFile("f", 0, 0)
	require.NoError(t, err)
	return f
}

func TestIndexRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[[streamSize]byte][]int64{}
		var entries []entry
		off := int64(segmentHeader)
		for range rapid.IntRange(0, 200).Draw(t, "records") {
			e := entry{streamOf(rapid.ByteMax(9).Draw(t, "stream")), off}
			entries = append(entries, e)
			want[e.stream] = append(want[e.stream], e.offset)
			off += frameSize(rapid.IntRange(16, 500).Draw(t, "size"))
		}
		last := rapid.Uint64().Draw(t, "last")
		index, foot := encodeIndex(entries, off, last, rawSalt)
		f := fileOf(t, off, index, foot)
		size, err := f.Size()
		require.NoError(t, err)
		ft, ok, err := readFooter(f, size, rawSalt)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, off, ft.end)
		require.Equal(t, last, ft.last)
		got, err := readIndex(f, ft)
		require.NoError(t, err)
		for s := range byte(12) {
			require.Equal(t, want[streamOf(s)], lookup(got, ft, streamOf(s)), "stream %d", s)
		}
		_, ok, err = readFooter(f, size, rawSalt+1)
		require.NoError(t, err)
		require.False(t, ok, "the footer of another segment")
	})
}

func TestFooterIsNotBelieved(t *testing.T) {
	index, foot := encodeIndex([]entry{{streamOf(1), 64}}, 136, 1, rawSalt)
	good := append(bytes.Clone(index), foot...)
	for bit := range len(good) * 8 {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		f := fileOf(t, 136, b)
		ft, ok, err := readFooter(f, 136+int64(len(b)), rawSalt)
		require.NoError(t, err)
		if bit/8 >= len(index) {
			require.False(t, ok, "bit %d of the footer", bit-8*len(index))
			continue
		}
		require.True(t, ok)
		_, err = readIndex(f, ft)
		requireCorrupt(t, err, "f", 136)
	}
	for _, end := range []int64{135, 137, 144} {
		f := fileOf(t, end, good)
		_, ok, err := readFooter(f, end+int64(len(good)), rawSalt)
		require.NoError(t, err)
		require.False(t, ok, "a file that is longer or shorter than the footer says")
	}
	f := fileOf(t, 10, foot)
	_, ok, err := readFooter(f, 10+footerSize, rawSalt)
	require.NoError(t, err)
	require.False(t, ok, "a file shorter than a header and a footer")
}
