package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// grown is a log of several sealed segments with records of six streams.
func grown(t tester, records int) (mem *vfs.Mem, l *Log, recs []rec) {
	opts := testOptions()
	opts.SegmentSize = 2000
	mem, l = create(t, opts)
	for i := range records {
		recs = append(recs, add(t, l, byte(i*i%6), 24+i%90))
		if i%7 == 0 {
			require.NoError(t, l.Flush())
		}
		if i%31 == 0 {
			require.NoError(t, l.Tick())
			require.NoError(t, l.Tick()) // a seal among the records
		}
	}
	require.NoError(t, l.Flush())
	l.AwaitSealed()
	return mem, l, recs
}

// keeping keeps the records for which keep is true.
func keeping(keep func(Frame) bool) func(Frame) (Kind, []byte, error) {
	return func(f Frame) (Kind, []byte, error) {
		if !keep(f) {
			return 0, nil, nil
		}
		return f.Kind, f.Payload, nil
	}
}

func streamNumber(b []byte) byte { return b[streamSize-1] }

// kept is what must be left of records.
func kept(recs []rec, upTo uint64, keep func(Frame) bool) (left []rec) {
	for _, r := range recs {
		if r.seq > upTo || keep(Frame{Kind: Record, Sequence: r.seq, Payload: r.payload}) {
			left = append(left, r)
		}
	}
	return left
}

// requireHistory wants a history to have just these records.
func requireHistory(t tester, want []rec, h *History, what ...any) {
	t.Helper()
	var all []rec
	require.NoError(t, h.Records(context.Background(), 0, math.MaxUint64, func(f Frame) error {
		all = append(all, rec{f.Sequence, append([]byte(nil), f.Payload...)})
		return nil
	}), what...)
	require.Equal(t, want, all, what...)
	for stream := range byte(7) {
		require.Equal(t, pick(want, stream, 0, math.MaxUint64), streamed(t, h, stream, 0, math.MaxUint64), what...)
	}
}

func TestCompact(t *testing.T) {
	for _, zstd := range []bool{false, true} {
		t.Run(fmt.Sprint("zstd ", zstd), func(t *testing.T) {
			mem, l, recs := grown(t, 300)
			before := historyOf(t, l)
			sealed := before.Sealed()
			require.Greater(t, len(sealed), 8)
			requireHistory(t, recs, before)

			odd := func(f Frame) bool { return streamNumber(f.Payload)%2 == 1 }
			group := sealed[2:6]
			out, err := Compact(mem, testID, group, Compaction{Keep: keeping(odd), Zstd: zstd, Now: testNow})
			require.NoError(t, err)
			require.Equal(t, Sealed{Path: group[0].Path, First: group[0].First, Last: group[3].Last, Size: out.Size, Compacted: true}, out)
			want := kept(recs, math.MaxUint64, func(f Frame) bool {
				return f.Sequence < out.First || f.Sequence > out.Last || odd(f)
			})
			requireHistory(t, want, before, "as it was listed before")
			l.Replaced(out)
			requireHistory(t, want, historyOf(t, l), "as it is listed now")
			mustClose(t, l)

			bounds := Bounds{First: 1, After: out.Last}
			for _, scan := range []scanFunc{Scan, Verify} {
				got, sc, err := readBy(scan, mem, logDir, bounds)
				require.NoError(t, err)
				require.Equal(t, recs[len(recs)-len(got):], got)
				requireHistory(t, want, sc.History(mem, logDir, testID))
			}
			_, _, err = read(mem, Bounds{First: 1, After: out.Last - 1})
			requireCorrupt(t, err, out.Path, endOf(t, mem, out.Path))
			compacted, err := Compacted(mem, logDir, testID)
			require.NoError(t, err)
			require.True(t, compacted)

			// Once more, together with one that was not.
			_, sc, err := read(mem, bounds)
			require.NoError(t, err)
			l, err = Open(mem, logDir, testID, sc, testOptions())
			require.NoError(t, err)
			again := historyOf(t, l).Sealed()
			require.True(t, again[2].Compacted)
			three := func(f Frame) bool { return streamNumber(f.Payload) == 3 }
			out, err = Compact(mem, testID, again[1:4], Compaction{Keep: keeping(three), Zstd: !zstd, Now: testNow})
			require.NoError(t, err)
			want = kept(want, math.MaxUint64, func(f Frame) bool {
				return f.Sequence < out.First || f.Sequence > out.Last || three(f)
			})
			l.Replaced(out)
			requireHistory(t, want, historyOf(t, l))
			mustClose(t, l)
		})
	}
}

func endOf(t tester, mem *vfs.Mem, path string) int64 {
	s, err := openSealed(mem, path, testID)
	require.NoError(t, err)
	require.NoError(t, s.f.Close())
	return s.ft.end
}

// TestCut: who reads a stream is told where something may be missing.
func TestCut(t *testing.T) {
	mem, l, recs := grown(t, 200)
	sealed := historyOf(t, l).Sealed()
	out, err := Compact(mem, testID, sealed[1:2], Compaction{Keep: keeping(func(Frame) bool { return false }), Now: testNow})
	require.NoError(t, err)
	l.Replaced(out)
	cuts, records := 0, 0
	require.NoError(t, historyOf(t, l).Stream(context.Background(), streamOf(1), 0, math.MaxUint64, func(f Frame) error {
		records++
		if f.Cut {
			cuts++
			require.Greater(t, f.Sequence, out.Last)
		}
		return nil
	}))
	require.Equal(t, 1, cuts)
	require.Less(t, records, len(pick(recs, 1, 0, math.MaxUint64)))

	first := sealed[2].First
	require.NoError(t, Trim(mem, sealed[:2], first))
	old := historyOf(t, l) // knows nothing of that
	l.Trimmed(first)
	want := kept(recs, math.MaxUint64, func(f Frame) bool { return f.Sequence >= first })
	requireHistory(t, want, old)
	requireHistory(t, want, historyOf(t, l))
	require.Equal(t, first, historyOf(t, l).First())
	mustClose(t, l)
}

// TestContents: the index of a segment says what each stream takes, compacted,
// packed or not.
func TestContents(t *testing.T) {
	mem, l, _ := grown(t, 200)
	sealed := historyOf(t, l).Sealed()
	look := func(s Sealed) *Contents {
		c, err := ReadContents(mem, s.Path, testID)
		require.NoError(t, err)
		var bytes int64
		for _, part := range c.Streams {
			bytes += part.Bytes
			f, err := FirstOf(mem, s.Path, testID, part.Stream, part.First)
			require.NoError(t, err)
			require.Equal(t, part.Stream, [streamSize]byte(f.Payload))
		}
		require.InDelta(t, c.Bytes, bytes, float64(8+len(c.Streams)*int(most(c))))
		return c
	}
	plain := look(sealed[1])
	for _, zstd := range []bool{false, true} {
		out, err := Compact(mem, testID, sealed[1:2], Compaction{Keep: keeping(func(Frame) bool { return true }), Zstd: zstd, Now: testNow})
		require.NoError(t, err)
		c := look(out)
		require.Len(t, c.Streams, len(plain.Streams))
		for i := range c.Streams {
			require.Equal(t, plain.Streams[i].Count, c.Streams[i].Count)
		}
	}
	mustClose(t, l)
}

// most is how many records of a stream there are at most, of whose share up to
// a byte is rounded off.
func most(c *Contents) (n int64) {
	for _, p := range c.Streams {
		n = max(n, int64(p.Count))
	}
	return n + 48 // a seal counts as the record before it
}

// TestBase: what stands for records is kept as such.
func TestBase(t *testing.T) {
	for _, zstd := range []bool{false, true} {
		mem, l, _ := grown(t, 100)
		sealed := historyOf(t, l).Sealed()
		base := payloadOf(0, 2, 3000)
		out, err := Compact(mem, testID, sealed[1:3], Compaction{Zstd: zstd, Now: testNow, Keep: func(f Frame) (Kind, []byte, error) {
			if f.Sequence == sealed[2].First {
				return Base, base, nil
			}
			return 0, nil, nil
		}})
		require.NoError(t, err)
		l.Replaced(out)
		var bases []Frame
		require.NoError(t, historyOf(t, l).Stream(context.Background(), streamOf(2), 0, math.MaxUint64, func(f Frame) error {
			if f.Kind == Base {
				bases = append(bases, f)
			}
			return nil
		}))
		require.Len(t, bases, 1)
		require.Equal(t, base, bases[0].Payload)
		require.Equal(t, sealed[2].First, bases[0].Sequence)
		mustClose(t, l)
		_, _, err = readBy(Verify, mem, logDir, Bounds{First: 1, After: out.Last})
		require.NoError(t, err)
	}
}

// TestCompactSurvivesPowerLoss cuts the power, and kills, before each operation
// of a compaction and of a trim: the log has either all or what is kept.
func TestCompactSurvivesPowerLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(seeds(t, 1)[0], 5))
	mem, l, recs := grown(t, 120)
	sealed := historyOf(t, l).Sealed()
	group, rest := sealed[2:5], sealed[5]
	odd := func(f Frame) bool { return streamNumber(f.Payload)%2 == 1 }
	type moment struct {
		disk    *vfs.Mem
		trimmed bool
	}
	var crashes []moment
	trimmed := false
	mem.SetFault(func(vfs.Op) error {
		for _, disk := range []*vfs.Mem{mem.Clone(), mem.Crash(rng), mem.Crash(rng), mem.CrashWith(rng, vfs.DropAll)} {
			crashes = append(crashes, moment{disk, trimmed})
		}
		return nil
	})
	out, err := Compact(mem, testID, group, Compaction{Keep: keeping(odd), Now: testNow})
	require.NoError(t, err)
	trimmed = true
	require.NoError(t, Trim(mem, append(sealed[:2:2], out), rest.First))
	mem.SetFault(nil)
	require.Greater(t, len(crashes), 20)
	all := kept(recs, math.MaxUint64, func(f Frame) bool { return true })
	less := kept(recs, math.MaxUint64, func(f Frame) bool { return f.Sequence < out.First || f.Sequence > out.Last || odd(f) })
	seen := map[int]int{}
	for i, c := range crashes {
		bounds := Bounds{First: 1, After: out.Last}
		if c.trimmed {
			bounds.First = rest.First
		}
		_, sc, err := readBy(Verify, c.disk, logDir, bounds)
		require.NoError(t, err, "crash %d", i)
		opened, err := Open(c.disk, logDir, testID, sc, testOptions())
		require.NoError(t, err)
		var got []rec
		require.NoError(t, historyOf(t, opened).Records(context.Background(), 0, math.MaxUint64, func(f Frame) error {
			got = append(got, rec{f.Sequence, append([]byte(nil), f.Payload...)})
			return nil
		}))
		mustClose(t, opened)
		for _, w := range [][]rec{all, less} {
			if c.trimmed {
				w = kept(w, math.MaxUint64, func(f Frame) bool { return f.Sequence >= rest.First })
			}
			if len(got) == len(w) {
				require.Equal(t, w, got, "crash %d", i)
				seen[len(w)]++
				break
			}
		}
		if files := c.disk.Files(); c.trimmed {
			require.NotContains(t, files, sealed[0].Path)
		}
	}
	require.Len(t, seen, 3, "%v", seen)
	total := 0
	for _, n := range seen {
		total += n
	}
	require.Equal(t, len(crashes), total, "each had all, or what is kept")
	mustClose(t, l)
}

// TestCompactFails lets each operation fail: before the file has its name nothing
// has changed.
func TestCompactFails(t *testing.T) {
	for n := 1; ; n++ {
		mem, l, recs := grown(t, 100)
		group := historyOf(t, l).Sealed()[:3]
		count := 0
		mem.SetFault(func(o vfs.Op) error {
			if count++; count == n {
				return op.ErrDiskFull
			}
			return nil
		})
		_, err := Compact(mem, testID, group, Compaction{Keep: keeping(func(Frame) bool { return true }), Now: testNow})
		mem.SetFault(nil)
		if count < n {
			require.NoError(t, err)
			require.Greater(t, n, 5)
			mustClose(t, l)
			return
		}
		require.ErrorIs(t, err, op.ErrDiskFull)
		var final *FinalError
		if !errors.As(err, &final) {
			requireHistory(t, recs, historyOf(t, l), "operation %d", n)
			if _, err := mem.Stat(group[0].Path + temporary); n > 1 && count < 4 {
				require.ErrorIs(t, err, fs.ErrNotExist)
			}
		}
		mustClose(t, l)
	}
}

func TestCompactRefusesDamage(t *testing.T) {
	mem, l, _ := grown(t, 100)
	group := historyOf(t, l).Sealed()[1:3]
	off := endOf(t, mem, group[1].Path) - 5
	require.NoError(t, mem.Flip(group[1].Path, off*8))
	before := contents(t, mem)
	_, err := Compact(mem, testID, group, Compaction{Keep: keeping(func(Frame) bool { return true }), Now: testNow})
	require.ErrorIs(t, err, op.ErrCorrupt)
	require.Equal(t, before, contents(t, mem), "nothing was changed")
	mustClose(t, l)
}

// TestCompactedEveryBit: no bit of a compacted segment can be wrong unnoticed.
func TestCompactedEveryBit(t *testing.T) {
	for _, zstd := range []bool{false, true} {
		mem, l, _ := grown(t, 90)
		sealed := historyOf(t, l).Sealed()
		out, err := Compact(mem, testID, sealed[1:3], Compaction{Keep: keeping(func(f Frame) bool { return f.Sequence%3 == 0 }), Zstd: zstd, Now: testNow})
		require.NoError(t, err)
		mustClose(t, l)
		step := int64(1)
		if testing.Short() || raceEnabled {
			step = 7
		}
		for bit := int64(0); bit < out.Size*8; bit += step {
			if at := bit / 8; at >= 44 && at < 48 || at >= 56 && at < 60 {
				continue // zeros under the checksum: the same as elsewhere
			}
			require.NoError(t, mem.Flip(out.Path, bit))
			_, _, err := readBy(Verify, mem, logDir, Bounds{First: 1, After: out.Last})
			require.Error(t, err, "bit %d", bit)
			require.NoError(t, mem.Flip(out.Path, bit))
		}
	}
}

func FuzzPacked(f *testing.F) {
	p, err := newPacker()
	require.NoError(f, err)
	for i := range 40 {
		p.add(&Frame{Kind: Record, Sequence: uint64(7 + 2*i), Payload: payloadOf(0, byte(i%3), 60)})
	}
	b, ok := p.appendTo(nil)
	require.True(f, ok)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		last := uint64(0)
		_ = unpack(Frame{Sequence: 7, Payload: b}, func(f Frame) error {
			require.Greater(t, f.Sequence, last)
			require.GreaterOrEqual(t, len(f.Payload), streamSize)
			last = f.Sequence
			return nil
		})
	})
}
