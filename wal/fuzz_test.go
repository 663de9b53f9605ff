package wal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// FuzzSegment reads arbitrary bytes as the only segment, and as one with a
// successor. Whatever is not refused can be opened, appended to, and read again.
func FuzzSegment(f *testing.F) {
	f.Add([]byte{})
	f.Add(newRaw(1).b)
	f.Add(witnessed(3).b)
	f.Add(unwitnessed(3).index().b)
	f.Add(append(witnessed(2).b, make([]byte, 100)...))
	f.Add(append(witnessed(2).b, 1, 2, 3))
	f.Add(witnessed(3).b[:at(2)+20])
	r := unwitnessed(2)
	f.Add(r.frame(Seal, make([]byte, 8), at(2)).b)
	f.Add(r.frame(99, make([]byte, 8), at(2)).b)
	b := unwitnessed(4).b
	b[at(1)+50] ^= 1
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := vfs.NewMem()
		require.NoError(t, mem.WriteFile(segmentPath(logDir, 1), b))
		recs, sc, err := read(mem, Bounds{First: 1})
		if err != nil {
			require.True(t, errors.Is(err, op.ErrCorrupt) || errors.Is(err, op.ErrUnsupported), "%v", err)
			return
		}
		require.LessOrEqual(t, sc.TornAt+sc.Torn, int64(len(b)))
		for _, r := range recs {
			require.True(t, bytes.Contains(b, r.payload))
		}
		l, err := Open(mem, logDir, testID, sc, testOptions())
		require.NoError(t, err)
		want := append(recs, add(t, l, 1, 40))
		mustClose(t, l)
		after, sc := mustRead(t, mem)
		require.Equal(t, want, after)
		require.True(t, sc.Sealed)
	})
}

// FuzzFrames puts arbitrary bytes behind a good header, where most of them
// would end the scan at once without one.
func FuzzFrames(f *testing.F) {
	whole := unwitnessed(4).b[segmentHeader:]
	f.Add(whole, uint64(0), uint64(0))
	f.Add(whole[:100], uint64(0), uint64(2))
	f.Add(witnessed(4).index().b[segmentHeader:], uint64(4), uint64(0))
	b := bytes.Clone(whole)
	copy(b[testFrame+4:], "\xff\xff\xff\xff")
	f.Add(b, uint64(1), uint64(1))
	f.Fuzz(func(t *testing.T, tail []byte, after, synced uint64) {
		b := append(newRaw(1).b, tail...)
		mem := vfs.NewMem()
		require.NoError(t, mem.WriteFile(segmentPath(logDir, 1), b))
		bounds := Bounds{First: 1, After: after, Synced: synced}
		recs, sc, err := read(mem, bounds)
		if err != nil {
			require.ErrorIs(t, err, op.ErrCorrupt)
			return
		}
		require.GreaterOrEqual(t, sc.Last, max(after, synced))
		for i, r := range recs {
			require.Greater(t, r.seq, after)
			require.True(t, i == 0 || r.seq > recs[i-1].seq)
		}
		_, again, err := readBy(Verify, mem, logDir, bounds)
		require.NoError(t, err)
		require.Equal(t, sc.Last, again.Last)

		// The same bytes in an older segment: all or nothing.
		require.NoError(t, mem.WriteFile(segmentPath(logDir, sc.Last+1), newRaw(sc.Last+1).b))
		_, older, err := read(mem, bounds)
		require.NoError(t, err)
		require.Equal(t, sc.Last, older.Last)
		require.NoError(t, mem.WriteFile(segmentPath(logDir, sc.Last+2), newRaw(sc.Last+2).b))
		require.NoError(t, mem.Remove(segmentPath(logDir, sc.Last+1)))
		_, _, err = read(mem, bounds)
		require.ErrorIs(t, err, op.ErrCorrupt)
	})
}

// FuzzIndex reads arbitrary bytes as the end of a segment.
func FuzzIndex(f *testing.F) {
	index, foot := encodeIndex([]entry{{streamOf(1), 64}, {streamOf(2), 136}, {streamOf(1), 208}}, 280, 3, rawSalt)
	f.Add(append(bytes.Clone(index), foot...), uint32(rawSalt))
	f.Add(foot, uint32(rawSalt))
	f.Add(append(index[:20:20], foot...), uint32(0))
	f.Add([]byte(indexMagic), uint32(1))
	f.Fuzz(func(t *testing.T, tail []byte, salt uint32) {
		file := fileOf(t, 280, tail)
		size := 280 + int64(len(tail))
		ft, ok, err := readFooter(file, size, salt)
		require.NoError(t, err)
		if !ok {
			return
		}
		require.Equal(t, size, ft.end+ft.length()+footerSize)
		b, err := readIndex(file, ft)
		if err != nil {
			require.ErrorIs(t, err, op.ErrCorrupt)
			return
		}
		n := 0
		for s := range byte(4) {
			n += len(lookup(b, ft, streamOf(s)))
		}
		require.LessOrEqual(t, n, 4*int(ft.positions))
	})
}

// FuzzLookup believes in a footer that lies about the index before it.
func FuzzLookup(f *testing.F) {
	index, _ := encodeIndex([]entry{{streamOf(1), 64}, {streamOf(2), 136}, {streamOf(1), 208}}, 280, 3, rawSalt)
	f.Add(index, uint8(2))
	f.Add(index, uint8(1))
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, index []byte, streams uint8) {
		rest := len(index) - int(streams)*indexRecord
		if rest < 0 || rest%4 != 0 {
			return
		}
		ft := footer{streams: uint32(streams), positions: uint32(rest / 4)}
		for s := range byte(4) {
			require.LessOrEqual(t, len(lookup(index, ft, streamOf(s))), rest/4)
		}
	})
}
