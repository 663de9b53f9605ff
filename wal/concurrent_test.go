package wal

import (
	"context"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// TestSyncFromManyGoroutines appends and rotates while others sync, read the
// history and look at the counters.
func TestSyncFromManyGoroutines(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = 4000
	mem, l := create(t, opts)
	var written atomic.Uint64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				want := written.Load()
				if err := l.Sync(); err != nil || l.Synced() < want {
					t.Errorf("sync: %v, got to %d of %d", err, l.Synced(), want)
					return
				}
				_ = l.Stats()
				runtime.Gosched()
			}
		})
	}
	histories := make(chan *History, 1)
	wg.Go(func() {
		for h := range histories {
			last := uint64(0)
			err := h.Stream(context.Background(), streamOf(1), 0, math.MaxUint64, func(f Frame) error {
				last = f.Sequence
				return nil
			})
			if err != nil || last > h.last {
				t.Errorf("history: %v, got to %d of %d", err, last, h.last)
			}
		}
	})
	var want []rec
	for i := range 1500 {
		want = append(want, add(t, l, byte(i%2), 24+i%100))
		require.NoError(t, l.Commit(modes[i%3]))
		if modes[i%3] != op.Async {
			written.Store(l.Next() - 1)
		}
		if i%40 == 0 {
			histories <- historyOf(t, l)
		}
	}
	close(histories)
	last, err := l.Close() // beside those who still sync
	require.NoError(t, err)
	require.Equal(t, l.Next()-1, last)
	for range 100 {
		require.NoError(t, l.Sync())
	}
	close(stop)
	wg.Wait()
	require.NoError(t, l.Sync(), "there is nothing left to sync")
	recs, sc := mustRead(t, mem)
	require.Equal(t, want, recs)
	require.True(t, sc.Sealed)
}

// TestSyncsAreShared: those who wait for a sync at the same time get one.
func TestSyncsAreShared(t *testing.T) {
	mem, l := create(t, testOptions())
	gate, begun := make(chan struct{}), make(chan struct{}, 100)
	mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync {
			begun <- struct{}{}
			<-gate
		}
		return nil
	})
	add(t, l, 1, 40)
	require.NoError(t, l.Commit(op.Batched))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := l.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	<-begun
	close(gate)
	wg.Wait()
	require.Equal(t, uint64(1), l.Stats().Syncs)
	mem.SetFault(nil)
	mustClose(t, l)
}

func TestFailureReachesAllWhoWait(t *testing.T) {
	opts := testOptions()
	var told atomic.Int64
	opts.OnError = func(error) { told.Add(1) }
	mem, l := create(t, opts)
	add(t, l, 1, 40)
	require.NoError(t, l.Commit(op.Batched))
	base := mem.Ops()
	mem.SetFault(func(vfs.Op) error { return errAny })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := l.Sync(); err == nil {
				t.Error("the sync did not happen")
			}
		})
	}
	wg.Wait()
	require.Equal(t, base+1, mem.Ops(), "one sync failed, and nobody tried another")
	require.Equal(t, int64(1), told.Load())
	_, err := l.Close()
	require.ErrorIs(t, err, errAny)
	require.ErrorIs(t, l.Sync(), errAny)
}

func TestCloseTwice(t *testing.T) {
	_, l := create(t, testOptions())
	add(t, l, 1, 40)
	for range 3 {
		last, err := l.Close()
		require.NoError(t, err)
		require.Equal(t, uint64(2), last)
	}
}

// sealing is a log of one record a segment, whose background is held up in the
// sealing of the first segment until the gate opens, with what happens then.
func sealing(t *testing.T, then error) (mem *vfs.Mem, l *Log, gate chan struct{}) {
	opts := testOptions()
	opts.SegmentSize = segmentHeader + testFrame
	mem, l = create(t, opts)
	gate = make(chan struct{})
	mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Truncate && o.Name == segmentPath(logDir, 1) {
			<-gate
			return then
		}
		return nil
	})
	return mem, l, gate
}

// TestRotationWhileTheBackgroundFails: the owner must not get stuck with a
// segment that nobody seals any more.
func TestRotationWhileTheBackgroundFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, gate := sealing(t, errAny)
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := tryAdd(l, 1, 40); err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		require.Equal(t, uint64(3), l.Stats().Segments, "one is being sealed, one waits for it, the owner with one more")
		close(gate)
		require.ErrorIs(t, <-ended, errAny)
		_, err := l.Close()
		require.ErrorIs(t, err, errAny)
	})
}

// TestNothingIsSealedAfterAFailure: not even what was waiting for it.
func TestNothingIsSealedAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l, gate := sealing(t, nil)
		for range 3 {
			add(t, l, 1, 40)
		}
		synctest.Wait()
		require.Len(t, l.seals, 1)
		mem.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Sync && strings.HasPrefix(o.Name, segmentPath(logDir, 3)) {
				return errAny
			}
			if strings.HasPrefix(o.Name, segmentPath(logDir, 2)) {
				t.Errorf("after the failure: %v", o)
			}
			return nil
		})
		require.ErrorIs(t, l.Commit(op.Strict), errAny)
		close(gate)
		synctest.Wait()
		_, err := l.Close()
		require.ErrorIs(t, err, errAny)
	})
}

func TestOnTheOperatingSystemManyLogs(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		dir := filepath.Join(t.TempDir(), "log")
		wg.Go(func() { manyLogs(t, dir) })
	}
	wg.Wait()
}

func manyLogs(t *testing.T, dir string) {
	opts := testOptions()
	opts.SegmentSize = 20_000
	if err := vfs.OS.MkdirAll(dir, 0o755); err != nil {
		t.Error(err)
		return
	}
	if err := Create(vfs.OS, dir, testID, opts); err != nil {
		t.Error(err)
		return
	}
	for round := range 3 {
		recs, sc, err := readBy(Verify, vfs.OS, dir, Bounds{First: 1})
		if err != nil || len(recs) != round*200 {
			t.Errorf("%d records, %v", len(recs), err)
			return
		}
		l, err := Open(vfs.OS, dir, testID, sc, opts)
		if err != nil {
			t.Error(err)
			return
		}
		for i := range 200 {
			if _, err = tryAdd(l, 1, 24+i); err == nil {
				err = l.Commit(modes[i%3])
			}
			if err != nil {
				t.Error(err)
			}
		}
		if _, err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
