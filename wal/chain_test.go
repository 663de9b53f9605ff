package wal

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// chain is a disk with sealed segments of three records each, of which the last
// is open.
func chain(t tester, segments int) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	for i := range segments {
		first := uint64(1 + 3*i)
		r := newRaw(first)
		r.salt += uint32(i)
		r.b = encodeSegmentHeader(testID, first, r.salt, testNow)
		r.witnessed().witnessed().witnessed()
		if i < segments-1 {
			r.index()
		}
		require.NoError(t, mem.WriteFile(segmentPath(logDir, first), r.b))
	}
	return mem
}

func TestChain(t *testing.T) {
	for _, scan := range []scanFunc{Scan, Verify} {
		recs, sc, err := readBy(scan, chain(t, 4), logDir, Bounds{First: 1, Synced: 12})
		require.NoError(t, err)
		require.Len(t, recs, 12)
		require.Zero(t, sc.Unsealed)
		require.Zero(t, sc.Torn)
		require.Equal(t, uint64(12), sc.Frames)
		require.Equal(t, int64(12*testFrame), sc.Bytes)
	}
}

func TestAfterACheckpoint(t *testing.T) {
	for after := range uint64(13) {
		mem := chain(t, 4)
		reads := map[string]bool{}
		mem.SetReadFault(func(o vfs.Op) error {
			if o.Offset == segmentHeader {
				reads[o.Name] = true
			}
			return nil
		})
		recs, sc, err := read(mem, Bounds{First: 1, After: after})
		require.NoError(t, err)
		require.Len(t, recs, int(12-after))
		require.Equal(t, uint64(12), sc.Last)
		require.Equal(t, 12-after, sc.Frames)
		for i, r := range recs {
			require.Equal(t, after+uint64(i)+1, r.seq)
		}
		require.Len(t, reads, 4-int(min(after, 9)/3), "covered segments are not read, after %d", after)

		_, sc, err = readBy(Verify, mem, logDir, Bounds{First: 1, After: after})
		require.NoError(t, err)
		require.Len(t, reads, 4, "but verified")
		require.Equal(t, 12-after, sc.Frames)
	}
}

func TestSegmentMissing(t *testing.T) {
	p := func(first uint64) string { return segmentPath(logDir, first) }
	for name, c := range map[string]struct {
		gone   uint64
		file   string
		offset int64
	}{
		"first":  {1, p(4), 0},
		"middle": {4, p(1), at(3)},
		"third":  {7, p(4), at(3)},
		"last":   {10, p(7), at(3)},
	} {
		t.Run(name, func(t *testing.T) {
			mem := chain(t, 4)
			require.NoError(t, mem.Remove(p(c.gone)))
			for _, after := range []uint64{0, 3, 9} {
				_, _, err := read(mem, Bounds{First: 1, After: after})
				requireCorrupt(t, err, c.file, c.offset)
			}
		})
	}
	t.Run("last, before it was sealed off", func(t *testing.T) {
		mem := chain(t, 1)
		require.NoError(t, mem.WriteFile(p(4), newRaw(4).b))
		require.NoError(t, mem.Remove(p(4)))
		_, _, err := read(mem, Bounds{First: 1, Synced: 4})
		requireCorrupt(t, err, p(1), at(3))
	})
	t.Run("all", func(t *testing.T) {
		mem := vfs.NewMem()
		require.NoError(t, mem.MkdirAll(logDir, 0o755))
		_, _, err := read(mem, Bounds{First: 1})
		requireCorrupt(t, err, p(1), 0)
	})
	t.Run("one that a crash left when it was trimmed off", func(t *testing.T) {
		mem := chain(t, 4)
		recs, sc, err := read(mem, Bounds{First: 4})
		require.NoError(t, err)
		require.Equal(t, uint64(4), recs[0].seq)
		l, err := Open(mem, logDir, testID, sc, testOptions())
		require.NoError(t, err)
		mustClose(t, l)
		_, err = mem.Stat(p(1))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
	t.Run("those that were pruned", func(t *testing.T) {
		mem := chain(t, 4)
		require.NoError(t, mem.Remove(p(1)))
		recs, _, err := read(mem, Bounds{First: 4})
		require.NoError(t, err)
		require.Len(t, recs, 9)
	})
}

func TestSegmentOfAnother(t *testing.T) {
	p := segmentPath(logDir, 4)
	put := func(id Identity, change func(b []byte)) *vfs.Mem {
		mem := chain(t, 3)
		b, err := mem.ReadFile(p)
		require.NoError(t, err)
		copy(b, encodeSegmentHeader(id, 4, rawSalt+1, testNow))
		change(b)
		require.NoError(t, mem.WriteFile(p, b))
		return mem
	}
	nothing := func([]byte) {}
	t.Run("same", func(t *testing.T) {
		recs, _ := mustRead(t, put(testID, nothing))
		require.Len(t, recs, 9)
	})
	t.Run("store", func(t *testing.T) {
		_, _, err := read(put(Identity{Store: [16]byte{1}, Shard: testID.Shard}, nothing), Bounds{First: 1})
		requireCorrupt(t, err, p, 12)
	})
	t.Run("shard", func(t *testing.T) {
		_, _, err := read(put(Identity{Store: testID.Store, Shard: 8}, nothing), Bounds{First: 1})
		requireCorrupt(t, err, p, 12)
	})
	t.Run("newer version", func(t *testing.T) {
		_, _, err := read(put(testID, func(b []byte) { b[8] = 9; rehash(b[:segmentHeader]) }), Bounds{First: 1})
		require.ErrorIs(t, err, op.ErrUnsupported)
		var unsupported *op.UnsupportedError
		require.ErrorAs(t, err, &unsupported)
		require.Equal(t, op.UnsupportedError{File: p, Version: 9, Known: FormatVersion}, *unsupported)
	})
	t.Run("swapped", func(t *testing.T) {
		mem := chain(t, 3)
		a, b := segmentPath(logDir, 1), segmentPath(logDir, 4)
		require.NoError(t, mem.Rename(a, "x"))
		require.NoError(t, mem.Rename(b, a))
		require.NoError(t, mem.Rename("x", b))
		_, _, err := read(mem, Bounds{First: 1})
		requireCorrupt(t, err, a, 32)
	})
	t.Run("contents swapped, headers not", func(t *testing.T) {
		mem := chain(t, 3)
		a, err := mem.ReadFile(segmentPath(logDir, 1))
		require.NoError(t, err)
		b, err := mem.ReadFile(p)
		require.NoError(t, err)
		for i := segmentHeader; i < len(a); i++ {
			a[i], b[i] = b[i], a[i]
		}
		require.NoError(t, mem.WriteFile(segmentPath(logDir, 1), a))
		require.NoError(t, mem.WriteFile(p, b))
		_, _, err = read(mem, Bounds{First: 1})
		requireCorrupt(t, err, segmentPath(logDir, 1), at(0))
	})
}

// In a segment with a successor everything was synced: a bad frame is damage,
// whatever the frames know.
func TestBadFrameInAnOlderSegment(t *testing.T) {
	for name, spoil := range flaws {
		for i := range 6 {
			t.Run(fmt.Sprintf("%s/frame %d", name, i), func(t *testing.T) {
				for _, sealed := range []bool{false, true} {
					r := unwitnessed(6)
					if sealed {
						r.index()
					}
					spoil(r.b, i)
					mem := segmentOn(t, r.b)
					require.NoError(t, mem.WriteFile(segmentPath(logDir, 7), newRaw(7).b))
					requireDamage(t, mem, Bounds{First: 1}, at(i))
				}
			})
		}
	}
}

// What lies behind the frames of an older segment is a half-made index: Open
// makes it again.
func TestOlderSegmentWithoutIndex(t *testing.T) {
	good := unwitnessed(3).index().b
	index := good[at(3):]
	for name, tail := range map[string][]byte{
		"nothing":           nil,
		"space ahead":       make([]byte, 10000),
		"half an index":     index[:20],
		"half a footer":     index[:len(index)-5],
		"index in space":    append(append([]byte{}, index...), make([]byte, 512)...),
		"noise":             {1, 2, 3, 4, 5, 6, 7, 8, 9},
		"footer of another": unwitnessed(2).index().b[at(2):],
	} {
		t.Run(name, func(t *testing.T) {
			mem := segmentOn(t, append(unwitnessed(3).b, tail...))
			require.NoError(t, mem.WriteFile(segmentPath(logDir, 4), newRaw(4).b))
			var sealed []string
			opts := testOptions()
			opts.OnSegment = func(path string, first uint64, done bool) {
				sealed = append(sealed, fmt.Sprint(path, " ", first, " ", done))
			}
			for _, after := range []uint64{3, 0} {
				recs, sc, err := read(mem, Bounds{First: 1, After: after})
				require.NoError(t, err)
				require.Len(t, recs, int(3-after))
				require.Equal(t, 1, sc.Unsealed)
			}
			_, l := reopen(t, mem, opts)
			mustClose(t, l)
			require.Equal(t, []string{segmentPath(logDir, 1) + " 1 true"}, sealed)
			b, err := mem.ReadFile(segmentPath(logDir, 1))
			require.NoError(t, err)
			require.Equal(t, good, b)
			_, sc := mustRead(t, mem)
			require.Zero(t, sc.Unsealed)
		})
	}
}

func TestVerifyReadsTheIndex(t *testing.T) {
	mem := segmentOn(t, unwitnessed(3).index().b)
	require.NoError(t, mem.WriteFile(segmentPath(logDir, 4), newRaw(4).b))
	require.NoError(t, mem.Flip(segmentPath(logDir, 1), (at(3)+1)*8))
	_, _ = mustRead(t, mem)
	_, _, err := readBy(Verify, mem, logDir, Bounds{First: 1})
	requireCorrupt(t, err, segmentPath(logDir, 1), at(3))

	r := unwitnessed(3) // an index that is whole, but of other frames
	lie, foot := encodeIndex([]entry{{streamOf(0), at(0)}, {streamOf(0), at(2)}}, at(3), 3, rawSalt)
	mem = segmentOn(t, append(append(r.b, lie...), foot...))
	require.NoError(t, mem.WriteFile(segmentPath(logDir, 4), newRaw(4).b))
	_, _, err = readBy(Verify, mem, logDir, Bounds{First: 1, After: 3})
	requireCorrupt(t, err, segmentPath(logDir, 1), at(3))
}

// TestEveryBit flips each bit of a closed log. It is refused, or the bit is in
// the final seal, or in what is derived from the frames. A wrong payload never
// comes out.
func TestEveryBit(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = 250
	mem, l := create(t, opts)
	var want []rec
	for range 5 {
		want = append(want, add(t, l, 1, 40))
	}
	mustClose(t, l)
	all := contents(t, mem)
	require.Len(t, all, 3) // of two records, two, and one with the seal
	for name, b := range all {
		t.Run(name, func(t *testing.T) {
			for bit := range int64(len(b)) * 8 {
				bad := mem.Clone()
				require.NoError(t, bad.Flip(name, bit))
				everyBit(t, bad, name, bit, int64(len(b)), want)
			}
		})
	}
}

func everyBit(t *testing.T, bad *vfs.Mem, name string, bit, size int64, want []rec) {
	recs, sc, err := read(bad, Bounds{First: 1})
	_, last, verr := readBy(Verify, bad, logDir, Bounds{First: 1})
	if err != nil {
		require.ErrorIs(t, err, op.ErrCorrupt, "bit %d", bit)
		require.Error(t, verr, "bit %d", bit)
		return
	}
	require.Equal(t, want, recs, "bit %d", bit)
	switch {
	case sc.Torn > 0: // the final seal
		require.Equal(t, size-frameSize(8), sc.TornAt, "bit %d", bit)
		require.Equal(t, name, sc.TornFile)
	case sc.Unsealed > 0: // a footer, to be made again
		require.Equal(t, 1, last.Unsealed, "bit %d", bit)
		require.GreaterOrEqual(t, bit/8, size-footerSize)
	default: // an index
		require.ErrorIs(t, verr, op.ErrCorrupt, "bit %d", bit)
	}
}
