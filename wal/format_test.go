package wal

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// formatOf returns the format of the segment that begins with a sequence.
func formatOf(t *testing.T, fsys vfs.FS, first uint64) uint32 {
	t.Helper()
	f, err := fsys.OpenFile(segmentPath(logDir, first), os.O_RDONLY, 0)
	require.NoError(t, err)
	b := make([]byte, segmentHeader)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return binary.LittleEndian.Uint32(b[8:])
}

// makeOlder turns the segment that begins with a sequence into one of format 1,
// which differs in nothing but the header.
func makeOlder(t *testing.T, fsys vfs.FS, first uint64) {
	t.Helper()
	f, err := fsys.OpenFile(segmentPath(logDir, first), os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, segmentHeader)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	b[8] = 1
	_, err = f.WriteAt(rehash(b), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// A log of an older format is read, and left as it is until something is
// written: that goes into a segment of the present format.
func TestOlderFormatGetsNoNewRecords(t *testing.T) {
	mem, l := create(t, testOptions())
	var want []rec
	for range 3 {
		want = append(want, add(t, l, 1, 100))
	}
	mustClose(t, l)
	makeOlder(t, mem, 1)

	// Opened and closed, sealed anew even, it stays what it is.
	f, err := mem.OpenFile(segmentPath(logDir, 1), os.O_RDWR, 0)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size-frameSize(8))) // the seal
	require.NoError(t, f.Close())
	got, l := reopen(t, mem, testOptions())
	requireRecs(t, want, got)
	require.NoError(t, l.Flush())
	require.NoError(t, l.Seal())
	mustClose(t, l)
	require.Len(t, mem.Files(), 1)
	require.EqualValues(t, 1, formatOf(t, mem, 1))

	_, l = reopen(t, mem, testOptions())
	next := l.Next()
	for range 3 {
		want = append(want, add(t, l, 2, 100))
		require.NoError(t, l.Commit(op.Batched))
	}
	mustClose(t, l)
	require.Len(t, mem.Files(), 2, "one new segment, not one for each record")
	require.EqualValues(t, 1, formatOf(t, mem, 1))
	require.EqualValues(t, logFormat, formatOf(t, mem, next))
	got, l = reopen(t, mem, testOptions())
	requireRecs(t, want, got)
	want = append(want, add(t, l, 2, 100))
	mustClose(t, l)
	require.Len(t, mem.Files(), 2)
	got, sc, err := readBy(Verify, mem, logDir, Bounds{First: 1})
	require.NoError(t, err)
	requireRecs(t, want, got)
	require.Zero(t, sc.Unsealed)
}

// A segment of an older format that has no frames is replaced in its place, by
// one that is its copy in all but the format.
func TestOlderFormatWithoutFrames(t *testing.T) {
	mem := newDisk(t, testOptions())
	makeOlder(t, mem, 1)
	_, sc := mustRead(t, mem)
	salt := sc.segments[0].salt
	_, l := reopen(t, mem, testOptions())
	require.EqualValues(t, logFormat, formatOf(t, mem, 1))
	want := []rec{add(t, l, 1, 100)}
	require.NoError(t, l.Commit(op.Strict))
	require.EqualValues(t, l.Next()-1, l.Synced())
	got, sc := mustRead(t, mem.Crash(noChance()))
	requireRecs(t, want, got)
	require.Equal(t, salt, sc.segments[0].salt, "for those who have read the old one")
	mustClose(t, l)
}

// Where there is no space for the new segment nothing is written.
func TestOlderFormatAndFullDisk(t *testing.T) {
	mem, l := create(t, testOptions())
	want := []rec{add(t, l, 1, 100)}
	mustClose(t, l)
	makeOlder(t, mem, 1)
	_, l = reopen(t, mem, testOptions())
	mem.SetCapacity(1)
	_, err := tryAdd(l, 2, 100)
	require.ErrorIs(t, err, op.ErrDiskFull)
	mem.SetCapacity(0)
	want = append(want, add(t, l, 2, 100))
	mustClose(t, l)
	got, _ := mustRead(t, mem)
	requireRecs(t, want, got)
}
