package wal

import (
	"context"
	"errors"
	"math"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// pick is what a stream's history must be.
func pick(recs []rec, stream byte, from, to uint64) []rec {
	var picked []rec
	for _, r := range recs {
		if [streamSize]byte(r.payload) == streamOf(stream) && r.seq >= from && r.seq <= to {
			picked = append(picked, r)
		}
	}
	return picked
}

func streamed(t tester, h *History, stream byte, from, to uint64) []rec {
	t.Helper()
	var recs []rec
	err := h.Stream(context.Background(), streamOf(stream), from, to, func(f Frame) error {
		require.Equal(t, Record, f.Kind)
		recs = append(recs, rec{f.Sequence, append([]byte(nil), f.Payload...)})
		return nil
	})
	require.NoError(t, err)
	return recs
}

func historyOf(t tester, l *Log) *History {
	t.Helper()
	h, err := l.History()
	require.NoError(t, err)
	return h
}

// threeStates is a log whose first segment is sealed, whose second waits for its
// index until release is called, and whose third is active; some records are
// not written yet.
func threeStates(t *testing.T) (mem *vfs.Mem, l *Log, recs []rec, release func()) {
	sealed := make(chan struct{}, 10)
	opts := testOptions()
	opts.SegmentSize = segmentHeader + 6*testFrame
	opts.OnSegment = func(_ string, _ uint64, done bool) {
		if done {
			sealed <- struct{}{}
		}
	}
	mem, l = create(t, opts)
	gate := make(chan struct{})
	mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Truncate && o.Name == "log/0000000000000007.wal" {
			<-gate
		}
		return nil
	})
	for i := range 17 {
		recs = append(recs, add(t, l, byte(i%3), 40))
		if i == 6 {
			<-sealed
		}
		if i < 14 {
			require.NoError(t, l.Commit(op.Batched))
		}
	}
	l.forget()
	require.True(t, l.segments[0].indexed)
	require.Nil(t, l.segments[0].entries)
	require.False(t, l.segments[1].indexed)
	require.Len(t, l.segments, 2)
	return mem, l, recs, func() { close(gate); <-sealed }
}

func TestStream(t *testing.T) {
	mem, l, recs, release := threeStates(t)
	h := historyOf(t, l)
	check := func(h *History) {
		t.Helper()
		for stream := range byte(4) {
			for from := range uint64(19) {
				for to := range uint64(19) {
					require.Equal(t, pick(recs, stream, from, to), streamed(t, h, stream, from, to), "stream %d, %d … %d", stream, from, to)
				}
			}
			require.Equal(t, pick(recs, stream, 0, math.MaxUint64), streamed(t, h, stream, 0, math.MaxUint64))
		}
	}
	check(h)
	release()
	check(h) // what was sealed meanwhile is still found
	l.forget()
	check(historyOf(t, l))
	later := add(t, l, 1, 40)
	require.NoError(t, l.Flush())
	check(h)
	recs = append(recs, later)
	check(historyOf(t, l))
	mustClose(t, l)
	_, l = reopen(t, mem, testOptions())
	check(historyOf(t, l))
	mustClose(t, l)
}

func TestIndexEqualsScan(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = 4000
	mem, l := create(t, opts)
	for i := range 200 {
		add(t, l, byte(i*i%7), 24+i)
		if i%50 == 49 {
			require.NoError(t, l.Flush())
			require.NoError(t, l.Tick())
			require.NoError(t, l.Tick()) // a seal among the records
		}
	}
	mustClose(t, l)
	frames := map[string]map[[streamSize]byte][]int64{}
	_, sc := mustRead(t, mem)
	require.Zero(t, sc.Unsealed)
	for i := range sc.segments[:len(sc.segments)-1] {
		seg := &sc.segments[i]
		require.True(t, seg.indexed)
		frames[seg.path] = map[[streamSize]byte][]int64{}
		s := &scanner{fsys: mem, bounds: Bounds{First: seg.first}, out: &Scanned{Last: seg.first - 1}}
		s.fn = func(f Frame) error {
			id := [streamSize]byte(f.Payload)
			frames[seg.path][id] = append(frames[seg.path][id], f.Offset)
			return nil
		}
		f, err := mem.OpenFile(seg.path, os.O_RDONLY, 0)
		require.NoError(t, err)
		_, _, err = s.frames(&window{f: f, size: seg.end}, &segment{path: seg.path, salt: seg.salt}, segmentHeader, seg.last)
		require.NoError(t, err)
		for n := range byte(8) {
			found, err := seg.find(f, streamOf(n))
			require.NoError(t, err)
			require.Equal(t, frames[seg.path][streamOf(n)], found)
		}
		require.NoError(t, f.Close())
	}
	require.Greater(t, len(frames), 5)
	_, _, err := readBy(Verify, mem, logDir, Bounds{First: 1})
	require.NoError(t, err)
}

func TestStreamIsCancelled(t *testing.T) {
	_, l, _, release := threeStates(t)
	h := historyOf(t, l)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := h.Stream(ctx, streamOf(1), 0, math.MaxUint64, func(Frame) error {
		n++
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, n)
	err = h.Stream(ctx, streamOf(99), 0, math.MaxUint64, func(Frame) error { return nil })
	require.ErrorIs(t, err, context.Canceled, "also where nothing is found")
	own := errors.New("enough")
	err = h.Stream(context.Background(), streamOf(1), 0, math.MaxUint64, func(Frame) error { return own })
	require.ErrorIs(t, err, own)
	release()
	mustClose(t, l)
}

// TestStreamOverDamage spoils a log behind its back: the stream must tell, and
// name the place.
func TestStreamOverDamage(t *testing.T) {
	p := segmentPath(logDir, 1)
	end := segmentHeader + int64(6*testFrame)
	for name, c := range map[string]struct {
		spoil  func(mem *vfs.Mem) error
		offset int64
	}{
		"payload": {func(mem *vfs.Mem) error { return mem.Flip(p, (at(1)+50)*8) }, at(1)},
		"length":  {func(mem *vfs.Mem) error { return mem.Flip(p, (at(1)+7)*8) }, at(1)},
		"index":   {func(mem *vfs.Mem) error { return mem.Flip(p, (end+3)*8) }, end},
		"footer":  {func(mem *vfs.Mem) error { return mem.Flip(p, (end+3*24+6*4+9)*8) }, end + 3*24 + 6*4 + footerSize},
	} {
		t.Run(name, func(t *testing.T) {
			mem, l, _, release := threeStates(t)
			h := historyOf(t, l)
			require.NoError(t, c.spoil(mem))
			err := h.Stream(context.Background(), streamOf(1), 0, math.MaxUint64, func(Frame) error { return nil })
			requireCorrupt(t, err, p, c.offset)
			release()
			mustClose(t, l)
		})
	}
	t.Run("active segment cut", func(t *testing.T) {
		mem, l, recs, release := threeStates(t)
		h := historyOf(t, l)
		b, err := mem.ReadFile(segmentPath(logDir, 13))
		require.NoError(t, err)
		require.NoError(t, mem.WriteFile(segmentPath(logDir, 13), b[:at(1)+8]))
		err = h.Stream(context.Background(), streamOf(1), 13, math.MaxUint64, func(Frame) error { return nil })
		requireCorrupt(t, err, segmentPath(logDir, 13), at(1))
		require.NotEmpty(t, pick(recs, 1, 13, 99))
		release()
		mustClose(t, l)
	})
	t.Run("gone", func(t *testing.T) {
		mem, l, _, release := threeStates(t)
		h := historyOf(t, l)
		require.NoError(t, mem.Remove(p))
		err := h.Stream(context.Background(), streamOf(1), 0, math.MaxUint64, func(Frame) error { return nil })
		require.ErrorIs(t, err, os.ErrNotExist)
		release()
		mustClose(t, l)
	})
}

func TestStreamReadFails(t *testing.T) {
	mem, l, _, release := threeStates(t)
	h := historyOf(t, l)
	reads := 0
	mem.SetReadFault(func(vfs.Op) error { reads++; return nil })
	streamed(t, h, 1, 0, math.MaxUint64)
	for bad := 1; bad <= reads; bad++ {
		n := 0
		mem.SetReadFault(func(vfs.Op) error {
			if n++; n == bad {
				return syscall.EIO
			}
			return nil
		})
		err := h.Stream(context.Background(), streamOf(1), 0, math.MaxUint64, func(Frame) error { return nil })
		require.ErrorIs(t, err, syscall.EIO)
		require.NotErrorIs(t, err, op.ErrCorrupt)
	}
	mem.SetReadFault(nil)
	release()
	mustClose(t, l)
}
