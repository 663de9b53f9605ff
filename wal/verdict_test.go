package wal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// The frames of the logs here all have the size of a record of 40 bytes, so that
// the i-th one is where it is easily found.
const testFrame = 72

func at(i int) int64 { return segmentHeader + int64(i)*testFrame }

// witnessed is a log of n records of which each knows all before it to be
// synced; unwitnessed one of which none knows anything.
func witnessed(n int) *raw {
	r := newRaw(1)
	for range n {
		r.witnessed()
	}
	return r
}

func unwitnessed(n int) *raw {
	r := newRaw(1)
	for range n {
		r.unwitnessed()
	}
	return r
}

// segmentOn is a disk with one segment.
func segmentOn(t tester, b []byte) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	require.NoError(t, mem.WriteFile(segmentPath(logDir, 1), b))
	return mem
}

// requireTorn wants a log of n records and torn bytes after them, and that Open
// cuts those for good.
func requireTorn(t tester, mem *vfs.Mem, bounds Bounds, n int, torn int64) {
	t.Helper()
	recs, sc, err := read(mem, bounds)
	require.NoError(t, err)
	require.Len(t, recs, n)
	for i, r := range recs {
		require.Equal(t, rec{uint64(i + 1), payloadOf(uint64(i+1), 0, 40)}, r)
	}
	require.Equal(t, torn, sc.Torn)
	require.Equal(t, uint64(n), sc.Last)
	if torn > 0 {
		require.Equal(t, at(n), sc.TornAt)
		require.Equal(t, segmentPath(logDir, 1), sc.TornFile)
	}
	require.False(t, sc.Sealed)

	l, err := Open(mem, logDir, testID, sc, testOptions())
	require.NoError(t, err)
	defer mustClose(t, l)
	b, err := mem.ReadFile(segmentPath(logDir, 1))
	require.NoError(t, err)
	require.Len(t, b, int(at(n)))
	again, sc, err := read(mem.CrashWith(rand.New(rand.NewPCG(1, 1)), vfs.DropAll), bounds)
	require.NoError(t, err)
	require.Equal(t, recs, again)
	require.Zero(t, sc.Torn)
}

func requireDamage(t tester, mem *vfs.Mem, bounds Bounds, offset int64) {
	t.Helper()
	_, _, err := read(mem, bounds)
	requireCorrupt(t, err, segmentPath(logDir, 1), offset)
}

// flaws are ways to spoil the i-th frame of six.
var flaws = map[string]func(b []byte, i int){
	"length 0xFFFFFFFF":     func(b []byte, i int) { copy(b[at(i)+4:], "\xff\xff\xff\xff") },
	"length zero":           func(b []byte, i int) { clear(b[at(i)+4 : at(i)+8]) },
	"length one more":       func(b []byte, i int) { b[at(i)+4]++ },
	"length of the next":    func(b []byte, i int) { b[at(i)+4] += testFrame },
	"payload flip":          func(b []byte, i int) { b[at(i)+frameHeader+20] ^= 0x10 },
	"last payload bit":      func(b []byte, i int) { b[at(i+1)-1] ^= 0x80 },
	"checksum flip":         func(b []byte, i int) { b[at(i)] ^= 1 },
	"kind flip":             func(b []byte, i int) { b[at(i)+8] ^= 2 },
	"kind zero":             func(b []byte, i int) { b[at(i)+8] = 0 },
	"reserved byte":         func(b []byte, i int) { b[at(i)+10] = 1 },
	"salt flip":             func(b []byte, i int) { b[at(i)+13] ^= 1 },
	"sequence flip":         func(b []byte, i int) { b[at(i)+16] ^= 8 },
	"synced flip":           func(b []byte, i int) { b[at(i)+24] ^= 1 },
	"synced beyond":         func(b []byte, i int) { b[at(i)+31] = 0x7f },
	"zeroed":                func(b []byte, i int) { clear(b[at(i):at(i+1)]) },
	"header zeroed":         func(b []byte, i int) { clear(b[at(i) : at(i)+frameHeader]) },
	"payload zeroed":        func(b []byte, i int) { clear(b[at(i)+frameHeader : at(i+1)]) },
	"copied from the other": func(b []byte, i int) { copy(b[at(i):], bytes.Clone(b[at((i+2)%6):at((i+2)%6+1)])) },
	"power lost after the length": func(b []byte, i int) {
		clear(b[at(i)+8 : at(i+1)])
	},
	"power lost after the kind":         func(b []byte, i int) { clear(b[at(i)+9 : at(i+1)]) },
	"power lost in the payload":         func(b []byte, i int) { clear(b[at(i)+frameHeader+17 : at(i+1)]) },
	"power lost before the first bytes": func(b []byte, i int) { clear(b[at(i) : at(i)+40]) },
}

// TestBadFrame spoils one frame in every way at every place. Only what the later
// frames know, and the manifest, may make a difference.
func TestBadFrame(t *testing.T) {
	const n = 6
	for name, spoil := range flaws {
		for i := range n {
			t.Run(fmt.Sprintf("%s/frame %d", name, i), func(t *testing.T) {
				b := witnessed(n).b
				spoil(b, i)
				if i < n-1 {
					requireDamage(t, segmentOn(t, b), Bounds{First: 1}, at(i))
				} else {
					requireTorn(t, segmentOn(t, b), Bounds{First: 1}, i, nonZeroAfter(b, at(i)))
				}
				b = unwitnessed(n).b
				spoil(b, i)
				torn := nonZeroAfter(b, at(i))
				requireTorn(t, segmentOn(t, b), Bounds{First: 1}, i, torn)
				requireTorn(t, segmentOn(t, b), Bounds{First: 1, Synced: uint64(i)}, i, torn)
				requireDamage(t, segmentOn(t, b), Bounds{First: 1, Synced: uint64(i) + 1}, at(i))
				requireDamage(t, segmentOn(t, b), Bounds{First: 1, After: uint64(i) + 1}, at(i))
			})
		}
	}
}

// nonZeroAfter is the number of bytes from off to the last that is not zero.
func nonZeroAfter(b []byte, off int64) int64 { return int64(len(bytes.TrimRight(b[off:], "\x00"))) }

func TestSeveralBadFrames(t *testing.T) {
	for _, bad := range [][]int{{0, 1, 2}, {1, 3, 5}, {2, 4}, {0, 5}, {3, 4, 5}} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			b := witnessed(8).b
			c := unwitnessed(8).b
			for _, i := range bad {
				b[at(i)+50] ^= 1
				c[at(i)+50] ^= 1
			}
			requireDamage(t, segmentOn(t, b), Bounds{First: 1}, at(bad[0]))
			requireTorn(t, segmentOn(t, c), Bounds{First: 1}, bad[0], nonZeroAfter(c, at(bad[0])))
		})
	}
}

// TestWitness looks at the one thing that tells damage from a torn write: a
// later frame of the same segment that knew the bad place to be synced.
func TestWitness(t *testing.T) {
	bad := func(r *raw, i int) *vfs.Mem {
		r.b[at(i)+50] ^= 1
		return segmentOn(t, r.b)
	}
	p := func(seq uint64) []byte { return payloadOf(seq, 0, 40) }
	first := Bounds{First: 1}
	t.Run("synced up to the bad frame", func(t *testing.T) {
		r := unwitnessed(4).frame(Record, p(5), at(2))
		requireTorn(t, bad(r, 2), first, 2, 3*testFrame)
	})
	t.Run("synced past the bad frame", func(t *testing.T) {
		r := unwitnessed(4).frame(Record, p(5), at(3))
		requireDamage(t, bad(r, 2), first, at(2))
	})
	t.Run("a seal", func(t *testing.T) {
		r := unwitnessed(4)
		r.frame(Seal, make([]byte, 8), at(4))
		requireDamage(t, bad(r, 3), first, at(3))
	})
	t.Run("far behind", func(t *testing.T) {
		r := unwitnessed(4)
		r.frame(Record, payloadOf(5, 0, 3<<20), segmentHeader)
		r.frame(Seal, make([]byte, 8), at(4))
		requireDamage(t, bad(r, 3), first, at(3))
	})
	t.Run("behind zeros", func(t *testing.T) {
		r := unwitnessed(4).frame(Record, p(5), at(4))
		clear(r.b[at(2):at(4)])
		requireDamage(t, segmentOn(t, r.b), first, at(2))
	})
	t.Run("of another salt", func(t *testing.T) {
		r := unwitnessed(4)
		r.salt++
		requireTorn(t, bad(r.witnessed(), 3), first, 3, 2*testFrame)
	})
	t.Run("spoilt too", func(t *testing.T) {
		r := unwitnessed(4).witnessed()
		r.b[at(4)+50] ^= 1
		requireTorn(t, bad(r, 3), first, 3, 2*testFrame)
	})
	t.Run("of a sequence long past", func(t *testing.T) {
		r := unwitnessed(4)
		r.next = 2
		requireTorn(t, bad(r.witnessed(), 3), first, 3, 2*testFrame)
	})
}

func TestEndOfFile(t *testing.T) {
	whole := witnessed(4).b
	for cut := at(3); cut <= int64(len(whole)); cut++ {
		n, torn := 3, nonZeroAfter(whole[:cut], at(3))
		if cut == int64(len(whole)) {
			n, torn = 4, 0
		}
		requireTorn(t, segmentOn(t, whole[:cut]), Bounds{First: 1}, n, torn)
		requireTorn(t, segmentOn(t, append(bytes.Clone(whole[:cut]), make([]byte, 999)...)), Bounds{First: 1}, n, torn)
	}
	t.Run("the manifest knows of more", func(t *testing.T) {
		requireTorn(t, segmentOn(t, whole), Bounds{First: 1, Synced: 4}, 4, 0)
		requireDamage(t, segmentOn(t, whole), Bounds{First: 1, Synced: 5}, at(4))
		requireDamage(t, segmentOn(t, whole), Bounds{First: 1, After: 5}, at(4))
		requireDamage(t, segmentOn(t, whole[:at(3)]), Bounds{First: 1, Synced: 4}, at(3))
		requireDamage(t, segmentOn(t, whole[:at(3)+20]), Bounds{First: 1, Synced: 4}, at(3))
		requireTorn(t, segmentOn(t, whole[:at(3)+17]), Bounds{First: 1, Synced: 3}, 3, 17)
	})
}

func TestTrailingGarbage(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, n := range []int{1, 7, 8, 31, 32, 33, 500, 5000, 2 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := witnessed(3).b
			for range n {
				b = append(b, byte(rng.Uint32()|1))
			}
			requireTorn(t, segmentOn(t, b), Bounds{First: 1}, 3, int64(n))
			b = append(b, make([]byte, 3<<20)...)
			requireTorn(t, segmentOn(t, b), Bounds{First: 1}, 3, int64(n))
		})
	}
	t.Run("frames of another segment", func(t *testing.T) {
		other := newRaw(1)
		other.salt++
		other.witnessed().witnessed().witnessed().witnessed().witnessed()
		b := append(witnessed(3).b, other.b[at(3):]...)
		requireTorn(t, segmentOn(t, b), Bounds{First: 1}, 3, 2*testFrame)
	})
}

// A frame whose checksum is right was written as it is: no power cut makes it.
func TestFrameThatNoLogWrites(t *testing.T) {
	for name, frame := range map[string]func(r *raw){
		"unknown kind":         func(r *raw) { r.frame(99, payloadOf(3, 0, 40), segmentHeader) },
		"unknown kind of ours": func(r *raw) { r.frame(129, make([]byte, 8), segmentHeader) },
		"record too short":     func(r *raw) { r.frame(Record, make([]byte, streamSize-1), segmentHeader) },
		"seal too short":       func(r *raw) { r.frame(Seal, make([]byte, 7), segmentHeader) },
		"seal too long":        func(r *raw) { r.frame(Seal, make([]byte, 9), segmentHeader) },
	} {
		t.Run(name, func(t *testing.T) {
			r := unwitnessed(2)
			frame(r)
			requireDamage(t, segmentOn(t, r.b), Bounds{First: 1}, at(2))
		})
	}
}

func TestTheReaderRefuses(t *testing.T) {
	mem := segmentOn(t, witnessed(3).b)
	_, err := Scan(mem, logDir, testID, Bounds{First: 1}, func(f Frame) error {
		if f.Sequence == 2 {
			return fmt.Errorf("no such operation")
		}
		return nil
	})
	requireCorrupt(t, err, segmentPath(logDir, 1), at(1))
	require.ErrorContains(t, err, "no such operation")
	own := &op.CorruptError{File: "elsewhere", Offset: 3}
	_, err = Scan(mem, logDir, testID, Bounds{First: 1}, func(Frame) error { return own })
	requireCorrupt(t, err, "elsewhere", 3)
}

// TestOverwrites writes random bytes over a log, at every offset. A witnessed
// log is refused unless its last frame, the only witness of the one before, is
// hit too: then nothing tells that from a write that was cut short.
func TestOverwrites(t *testing.T) {
	whole := witnessed(5).b
	rng := rand.New(rand.NewPCG(3, 3))
	for off := segmentHeader; off < len(whole); off++ {
		for _, n := range []int{1, 4, 9, 64} {
			b := bytes.Clone(whole)
			for i := off; i < min(off+n, len(b)); i++ {
				b[i] ^= byte(1 + rng.IntN(255))
			}
			recs, sc, err := read(segmentOn(t, b), Bounds{First: 1})
			if int64(off+n) <= at(4) {
				require.ErrorIs(t, err, op.ErrCorrupt, "offset %d, %d bytes", off, n)
				continue
			}
			require.NoError(t, err, "offset %d, %d bytes", off, n)
			intact := int((int64(off) - segmentHeader) / testFrame)
			require.Len(t, recs, intact)
			require.Equal(t, at(intact), sc.TornAt)
		}
	}
}

func TestRandomFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{0, 1, 63, 64, 65, 4096} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		_, _, err := read(segmentOn(t, b), Bounds{First: 1})
		require.ErrorIs(t, err, op.ErrCorrupt, "%d bytes", n)
	}
}
