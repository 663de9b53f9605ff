package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// goldenHeaders are the header of the same segment in all formats there were.
var goldenHeaders = []string{
	1: "696e6d656d57414c" + "01000000" + "07000000" + // magic, version, shard
		"101112131415161718191a1b1c1d1e1f" + // store
		"0900000000000000" + "44332211" + "00000000" + // first, salt, zero
		"0068e5cf8b010000" + "00000000" + "f14ffc2d", // created, zero, checksum
	2: "696e6d656d57414c" + "02000000" + "07000000" +
		"101112131415161718191a1b1c1d1e1f" +
		"0900000000000000" + "44332211" + "00000000" +
		"0068e5cf8b010000" + "00000000" + "fe24a3c4",
	3: "696e6d656d57414c" + "03000000" + "07000000" + // compacted
		"101112131415161718191a1b1c1d1e1f" +
		"0900000000000000" + "44332211" + "00000000" +
		"0068e5cf8b010000" + "00000000" + "54d0cd60",
}

func TestGoldenSegmentHeader(t *testing.T) {
	require.Len(t, goldenHeaders, FormatVersion+1)
	require.Equal(t, goldenHeaders[logFormat], hex.EncodeToString(encodeSegmentHeader(testID, 9, 0x11223344, testNow)))
	require.Equal(t, goldenHeaders[compactedFormat], hex.EncodeToString(encodeHeader(compactedFormat, testID, 9, 0x11223344, testNow)))
	path := segmentPath(logDir, 9)
	require.Equal(t, "log/0000000000000009.wal", path)
	for format, golden := range goldenHeaders[1:] {
		b, err := hex.DecodeString(golden)
		require.NoError(t, err)
		h, err := readSegmentHeader(bytes.NewReader(b), path, testID)
		require.NoError(t, err)
		require.Equal(t, headerInfo{first: 9, salt: 0x11223344, compacted: format+1 == compactedFormat}, h)
		old, err := older(bytes.NewReader(b))
		require.NoError(t, err)
		require.Equal(t, format+1 < logFormat, old)
	}
}

// rehash makes a changed header's checksum right again.
func rehash(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

func TestSegmentHeaderVerdict(t *testing.T) {
	path := segmentPath(logDir, 9)
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		offset int64 // of the damage
	}{
		"empty":           {func(b []byte) []byte { return nil }, 0},
		"cut":             {func(b []byte) []byte { return b[:63] }, 63},
		"zeros":           {func(b []byte) []byte { return make([]byte, len(b)) }, 0},
		"another format":  {func(b []byte) []byte { return append([]byte("SQLite format 3\x00"), b...) }, 0},
		"checksum":        {func(b []byte) []byte { b[61] ^= 1; return b }, 60},
		"version flipped": {func(b []byte) []byte { b[8] ^= 2; return b }, 60},
		"version 0":       {func(b []byte) []byte { b[8] = 0; return rehash(b) }, 8},
		"another store":   {func(b []byte) []byte { b[16]++; return rehash(b) }, 12},
		"another shard":   {func(b []byte) []byte { b[12]++; return rehash(b) }, 12},
		"another first":   {func(b []byte) []byte { b[32]++; return rehash(b) }, 32},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.change(encodeSegmentHeader(testID, 9, rawSalt, testNow))
			_, err := readSegmentHeader(bytes.NewReader(b), path, testID)
			requireCorrupt(t, err, path, c.offset)
		})
	}
	t.Run("newer version", func(t *testing.T) {
		b := encodeSegmentHeader(testID, 9, rawSalt, testNow)
		b[8] = FormatVersion + 1
		_, err := readSegmentHeader(bytes.NewReader(rehash(b)), path, testID)
		var unsupported *op.UnsupportedError
		require.ErrorAs(t, err, &unsupported)
		require.Equal(t, op.UnsupportedError{File: path, Version: FormatVersion + 1, Known: FormatVersion}, *unsupported)
		require.NotErrorIs(t, err, op.ErrCorrupt)
	})
}

// requireCorrupt wants an *op.CorruptError that names file and offset.
func requireCorrupt(t tester, err error, file string, offset int64) {
	t.Helper()
	var corrupt *op.CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, file, corrupt.File, "%v", err)
	require.Equal(t, offset, corrupt.Offset, "%v", err)
	require.ErrorIs(t, err, op.ErrCorrupt)
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	mem, l := create(t, testOptions())
	want := add(t, l, 1, 50)
	mustClose(t, l)
	foreign := []string{
		"log/notes.txt", "log/0000000000000001.wal.bak", "log/1.wal", "log/000000000000000A.wal",
		"log/000000000000000g.wal", "log/.wal", "log/0000000000000001.tmp", "log/x.wal.tmp", "log/MANIFEST",
	}
	for _, name := range foreign {
		require.NoError(t, mem.WriteFile(name, []byte("mine")))
	}
	half := "log/00000000000000ff.wal.tmp"
	require.NoError(t, mem.WriteFile(half, []byte("half a segment")))

	recs, l := reopen(t, mem, testOptions())
	mustClose(t, l)
	require.Equal(t, []rec{want}, recs)
	all := contents(t, mem)
	require.NotContains(t, all, half)
	for _, name := range foreign {
		require.Equal(t, []byte("mine"), all[name], name)
	}
}

func TestScanChangesNothing(t *testing.T) {
	mem, l := create(t, testOptions())
	add(t, l, 1, 50)
	require.NoError(t, l.Flush())
	disk := mem.Clone()
	mustClose(t, l)
	require.NoError(t, disk.WriteFile("log/00000000000000ff.wal.tmp", []byte("half a segment")))
	before := contents(t, disk)
	disk.SetFault(func(o vfs.Op) error { t.Errorf("scan does %v", o); return nil })
	_, _ = mustRead(t, disk)
	require.Equal(t, before, contents(t, disk))
}

func TestReadingFails(t *testing.T) {
	mem, l := create(t, testOptions())
	add(t, l, 1, 50)
	mustClose(t, l)
	reads := 0
	mem.SetReadFault(func(vfs.Op) error { reads++; return nil })
	_, _ = mustRead(t, mem)
	require.Positive(t, reads)
	for bad := 1; bad <= reads; bad++ {
		n := 0
		mem.SetReadFault(func(vfs.Op) error {
			if n++; n == bad {
				return syscall.EIO
			}
			return nil
		})
		_, _, err := read(mem, Bounds{First: 1})
		require.ErrorIs(t, err, syscall.EIO, "read %d", bad)
		require.NotErrorIs(t, err, op.ErrCorrupt, "a device that cannot be read is not damage of the log")
	}
}

func TestNoDirectory(t *testing.T) {
	_, _, err := read(vfs.NewMem(), Bounds{First: 1})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestUnused(t *testing.T) {
	unused := func(mem *vfs.Mem) bool {
		ok, err := Unused(mem, logDir)
		require.NoError(t, err)
		return ok
	}
	mem := newDisk(t, testOptions())
	require.NoError(t, mem.WriteFile("log/0000000000000002.wal.tmp", nil))
	require.NoError(t, mem.WriteFile("log/notes", nil))
	before := contents(t, mem)
	require.True(t, unused(mem))
	require.Equal(t, before, contents(t, mem), "to ask changes nothing")
	require.NoError(t, Discard(mem, logDir))
	require.Equal(t, []string{"log/notes"}, mem.Files())
	require.True(t, unused(mem), "no log at all")

	for _, r := range []*raw{witnessed(1), {b: append(newRaw(1).b, 0)}} {
		mem = segmentOn(t, r.b)
		before := contents(t, mem)
		require.False(t, unused(mem))
		require.Equal(t, before, contents(t, mem))
	}
	_, err := Unused(mem, "elsewhere")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, Discard(mem, "elsewhere"), os.ErrNotExist)
	mem = newDisk(t, testOptions())
	mem.SetFault(func(vfs.Op) error { return syscall.EIO })
	require.ErrorIs(t, Discard(mem, logDir), syscall.EIO)
}

// TestReadingTheTornTailFails: a verdict needs the whole file, also where most
// of it is no frames.
func TestReadingTheTornTailFails(t *testing.T) {
	b := append(unwitnessed(2).b, bytes.Repeat([]byte{0xab}, 3*readAhead)...)
	r := unwitnessed(3)
	r.frame(Record, payloadOf(4, 0, 3*readAhead), segmentHeader)
	r.b[at(0)+50] ^= 1
	for _, b := range [][]byte{b, r.b} {
		mem := segmentOn(t, b)
		reads := 0
		mem.SetReadFault(func(vfs.Op) error { reads++; return nil })
		_, _ = mustRead(t, mem)
		require.Greater(t, reads, 6)
		for bad := 1; bad <= reads; bad++ {
			n := 0
			mem.SetReadFault(func(vfs.Op) error {
				if n++; n == bad {
					return syscall.EIO
				}
				return nil
			})
			_, _, err := read(mem, Bounds{First: 1})
			require.ErrorIs(t, err, syscall.EIO, "read %d", bad)
		}
	}
}
