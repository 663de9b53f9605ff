package wal

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// faulty is a scripted life of a log in which one operation fails.
type faulty struct {
	mem    *vfs.Mem
	log    *Log
	recs   []rec
	synced uint64
	told   atomic.Int64 // calls of OnError
	mu     sync.Mutex   // guards the rest while an operation runs
	failed string       // the operation, once it has failed
	after  []string     // operations since, not counting those that clean up
}

// faultyLife runs the script with the bad-th operation failing with err, and
// returns false if the script ended before that.
func faultyLife(t *testing.T, bad int, err error, opts Options) bool {
	f := &faulty{}
	opts.SegmentSize = segmentHeader + 5*testFrame
	opts.Commits = 4
	opts.OnError = func(error) { f.told.Add(1) }
	f.mem = newDisk(t, opts)
	base := f.mem.Ops()
	f.mem.SetFault(func(o vfs.Op) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case o.Index == base+bad:
			f.failed = o.String()
			return err
		case f.failed != "" && o.Kind != vfs.Remove: // half a segment is taken away
			f.after = append(f.after, o.String())
		}
		return nil
	})
	_, sc := mustRead(t, f.mem)
	l, oerr := Open(f.mem, logDir, testID, sc, opts)
	if f.failed != "" {
		require.ErrorIs(t, oerr, syscall.EIO)
		require.Nil(t, l)
		return true
	}
	require.NoError(t, oerr)
	f.log = l
	f.script(t)
	f.verdict(t)
	return f.failed != ""
}

// script does a little of everything until something fails.
func (f *faulty) script(t *testing.T) {
	l := f.log
	for i := range 24 {
		r, err := tryAdd(l, byte(i%2), 40)
		if err == nil {
			f.recs = append(f.recs, r)
			err = l.Commit(modes[i%3])
			if err == nil && modes[i%3] == op.Strict {
				f.synced = r.seq
			}
		}
		if err == nil && i%7 == 6 {
			err = l.Tick()
		}
		// The background comes to rest: what it does next is up to the owner.
		synctest.Wait()
		if err != nil || f.failed != "" {
			return
		}
	}
}

// verdict holds the log to what a failure means.
func (f *faulty) verdict(t *testing.T) {
	l := f.log
	if f.failed == "" || l.err() == nil { // it ended well so far; perhaps Close does not
		last, err := l.Close()
		if f.failed == "" {
			require.NoError(t, err)
			require.Equal(t, l.Next()-1, last)
			require.Zero(t, f.told.Load())
			return
		}
		require.ErrorIs(t, err, syscall.EIO, f.failed)
	}
	require.Equal(t, int64(1), f.told.Load(), "OnError, after %s", f.failed)
	require.ErrorIs(t, l.err(), syscall.EIO)

	ops := f.mem.Ops()
	for range 3 {
		require.ErrorIs(t, l.Commit(op.Strict), syscall.EIO)
		require.ErrorIs(t, l.Commit(op.Async), syscall.EIO)
		require.ErrorIs(t, l.Reserve(1), syscall.EIO)
		require.ErrorIs(t, l.Flush(), syscall.EIO)
		require.ErrorIs(t, l.Sync(), syscall.EIO)
		require.ErrorIs(t, l.Tick(), syscall.EIO)
		_, err := l.History()
		require.ErrorIs(t, err, syscall.EIO)
		synctest.Wait()
	}
	for range 2 {
		last, err := l.Close()
		require.ErrorIs(t, err, syscall.EIO, f.failed)
		require.Equal(t, l.Synced(), last)
		require.GreaterOrEqual(t, last, f.synced)
	}
	require.Equal(t, ops, f.mem.Ops(), "%s failed, and was not the end", f.failed)
	for _, o := range f.after {
		// Nothing is tried again. Only what ran side by side with the failure,
		// on the other goroutine, may still have been done.
		require.NotContains(t, f.failed, strings.SplitN(o, " ", 2)[1], "tried again")
	}
	require.LessOrEqual(t, len(f.after), 6, "%s failed, and then: %v", f.failed, f.after)
	f.recover(t)
}

// recover opens what the failure left.
func (f *faulty) recover(t *testing.T) {
	disk := f.mem.Clone()
	recs, l := reopen(t, disk, testOptions())
	require.GreaterOrEqual(t, l.Next()-1, f.synced, f.failed)
	requireRecs(t, f.recs[:len(recs)], recs, f.failed)
	add(t, l, 1, 40)
	mustClose(t, l)
	_, sc := mustRead(t, disk)
	require.True(t, sc.Sealed)
}

func TestEachOperationFails(t *testing.T) {
	for name, err := range map[string]error{
		"EIO":         syscall.EIO,
		"short write": vfs.ShortWrite{N: 50, Err: syscall.EIO},
	} {
		forms(t, func(t *testing.T, opts Options) {
			reached := 0
			for bad, more := 1, true; more; bad++ {
				t.Run(fmt.Sprintf("%s at operation %d", name, bad), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { more = faultyLife(t, bad, err, opts) })
				})
				if t.Failed() {
					return
				}
				reached = bad
			}
			require.Greater(t, reached, 60)
		})
	}
}

// TestOpenFails lets each operation of a recovery that has much to mend fail.
func TestOpenFails(t *testing.T) {
	torn := func(t *testing.T) *vfs.Mem {
		r := unwitnessed(3)
		mem := segmentOn(t, r.b)
		next := newRaw(4).unwitnessed().unwitnessed()
		next.b[at(1)+40] ^= 1
		require.NoError(t, mem.WriteFile(segmentPath(logDir, 4), next.b))
		require.NoError(t, mem.WriteFile(segmentPath(logDir, 6)+temporary, nil))
		return mem
	}
	want, _ := mustRead(t, torn(t))
	require.Len(t, want, 4)
	for bad := 1; ; bad++ {
		mem := torn(t)
		_, sc := mustRead(t, mem)
		failed := false
		mem.SetFault(func(o vfs.Op) error {
			if o.Index == bad {
				failed = true
				return syscall.EIO
			}
			return nil
		})
		l, err := Open(mem, logDir, testID, sc, testOptions())
		mem.SetFault(nil)
		if !failed {
			require.NoError(t, err)
			mustClose(t, l)
			require.Greater(t, bad, 8)
			return
		}
		require.ErrorIs(t, err, syscall.EIO)
		recs, l := reopen(t, mem.Clone(), testOptions())
		require.Equal(t, want, recs)
		mustClose(t, l)
	}
}

func TestOpenWithoutTheFiles(t *testing.T) {
	mem := chain(t, 2)
	_, sc := mustRead(t, mem)
	require.NoError(t, mem.Remove(segmentPath(logDir, 4)))
	_, err := Open(mem, logDir, testID, sc, testOptions())
	require.Error(t, err)
	mem = segmentOn(t, unwitnessed(3).b)
	require.NoError(t, mem.WriteFile(segmentPath(logDir, 4), newRaw(4).b))
	_, sc = mustRead(t, mem)
	require.NoError(t, mem.Remove(segmentPath(logDir, 1)))
	_, err = Open(mem, logDir, testID, sc, testOptions())
	require.Error(t, err)
}

// full is a disk with n bytes of room left.
func full(t *testing.T, mem *vfs.Mem, n int64) {
	used := int64(0)
	for _, b := range contents(t, mem) {
		used += int64(len(b))
	}
	mem.SetCapacity(used + n)
}

func TestDiskFull(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		opts.OnError = func(err error) { t.Errorf("a full disk ends the log: %v", err) }
		t.Run("reserve", func(t *testing.T) {
			mem, l := create(t, opts)
			want := []rec{add(t, l, 1, 40)}
			full(t, mem, 0)
			for range 3 {
				_, err := tryAdd(l, 1, 100_000)
				require.ErrorIs(t, err, op.ErrDiskFull)
				require.ErrorIs(t, err, syscall.ENOSPC)
			}
			want = append(want, add(t, l, 1, 40)) // room that was reserved before
			require.NoError(t, l.Commit(op.Strict))
			full(t, mem, 50_000)
			want = append(want, add(t, l, 1, minAhead-100+40_000)) // too little for the usual step
			require.NoError(t, l.Commit(op.Strict))
			mem.SetCapacity(0)
			want = append(want, add(t, l, 1, 100_000))
			mustClose(t, l)
			recs, _ := mustRead(t, mem)
			require.Equal(t, want, recs)
		})
		for _, room := range []int64{0, 40, segmentHeader, segmentHeader + 60} {
			t.Run(fmt.Sprintf("rotation with %d bytes", room), func(t *testing.T) {
				opts.SegmentSize = segmentHeader + 3*testFrame
				mem, l := create(t, opts)
				var want []rec
				for range 3 {
					want = append(want, add(t, l, 1, 40))
				}
				full(t, mem, room)
				for range 3 {
					next := l.Next()
					_, err := tryAdd(l, 1, 40)
					require.ErrorIs(t, err, op.ErrDiskFull)
					require.Equal(t, next, l.Next())
					require.NoError(t, l.Tick())
				}
				require.NoError(t, l.Sync(), "what is there already can be made durable")
				recs, _ := mustRead(t, mem.Clone())
				require.Equal(t, want, recs)
				mem.SetCapacity(0)
				want = append(want, add(t, l, 1, 40))
				mustClose(t, l)
				recs, sc := mustRead(t, mem)
				require.Equal(t, want, recs)
				require.True(t, sc.Sealed)
				require.NotContains(t, strings.Join(mem.Files(), " "), temporary)
			})
		}
	})
}

// A full disk at Close costs the seal, and nothing else.
func TestDiskFullAtClose(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = segmentHeader + 3*testFrame
	mem, l := create(t, opts)
	var want []rec
	for range 3 {
		want = append(want, add(t, l, 1, 40))
	}
	full(t, mem, 0)
	mustClose(t, l)
	recs, sc := mustRead(t, mem)
	require.Equal(t, want, recs)
	require.False(t, sc.Sealed)
}

// TestDiskFullAtSealing takes the room for the index of a full segment, or for
// its footer. The next Open writes both.
func TestDiskFullAtSealing(t *testing.T) {
	for part := range 2 {
		t.Run([]string{"index", "footer"}[part], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := testOptions()
				opts.SegmentSize = segmentHeader + 3*testFrame
				opts.OnError = func(err error) { t.Errorf("a full disk ends the log: %v", err) }
				mem, l := create(t, opts)
				end := at(3)
				mem.SetFault(func(o vfs.Op) error {
					isFooter := o.Size == footerSize
					if o.Kind == vfs.Write && o.Name == segmentPath(logDir, 1) && o.Offset >= end && isFooter == (part == 1) {
						return syscall.ENOSPC
					}
					return nil
				})
				var want []rec
				for range 4 {
					want = append(want, add(t, l, 1, 40))
				}
				synctest.Wait()
				b, err := mem.ReadFile(segmentPath(logDir, 1))
				require.NoError(t, err)
				require.Len(t, b, int(end))
				require.Equal(t, want, streamed(t, historyOf(t, l), 1, 0, 99))
				mustClose(t, l)
				_, sc := mustRead(t, mem)
				require.Equal(t, 1, sc.Unsealed)
				recs, l := reopen(t, mem, opts) // still no room
				require.Equal(t, want, recs)
				require.Equal(t, want, streamed(t, historyOf(t, l), 1, 0, 99))
				mustClose(t, l)
				mem.SetFault(nil)
				_, l = reopen(t, mem, opts)
				require.Equal(t, want, streamed(t, historyOf(t, l), 1, 0, 99))
				mustClose(t, l)
				_, sc = mustRead(t, mem)
				require.Zero(t, sc.Unsealed)
			})
		})
	}
}

// TestDiskFullAfterRename: once the new segment may be found, a failure is
// final, be it a full disk. Going on in the old one would lose what follows.
func TestDiskFullAfterRename(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = segmentHeader + 3*testFrame
	mem, l := create(t, opts)
	for range 2 {
		add(t, l, 1, 40)
	}
	mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.SyncDir {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err := tryAdd(l, 1, 100)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, op.ErrDiskFull)
	_, err = tryAdd(l, 1, 40) // it would fit into the old segment
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = l.Close()
	require.ErrorIs(t, err, syscall.ENOSPC)
	recs, _ := mustRead(t, mem.Clone())
	require.Len(t, recs, 2)
}

// TestDiskFullWhileCreating: ENOSPC at any operation before the rename leaves
// nothing behind.
func TestDiskFullWhileCreating(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.Create, vfs.Write, vfs.Sync, vfs.Rename} {
		t.Run(kind.String(), func(t *testing.T) {
			opts := testOptions()
			opts.SegmentSize = segmentHeader + 2*testFrame
			mem, l := create(t, opts)
			want := []rec{add(t, l, 1, 40), add(t, l, 1, 40)}
			require.NoError(t, l.Flush())
			mem.SetFault(func(o vfs.Op) error {
				if o.Kind == kind && strings.HasPrefix(o.Name, segmentPath(logDir, 3)) {
					return syscall.ENOSPC
				}
				return nil
			})
			_, err := tryAdd(l, 1, 40)
			require.ErrorIs(t, err, op.ErrDiskFull)
			require.Equal(t, []string{segmentPath(logDir, 1)}, mem.Files())
			mem.SetFault(nil)
			want = append(want, add(t, l, 1, 40))
			mustClose(t, l)
			recs, _ := mustRead(t, mem)
			require.Equal(t, want, recs)
		})
	}
}
