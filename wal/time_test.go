package wal

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

const interval = 100 * time.Millisecond

func timedOptions() Options {
	opts := testOptions()
	opts.Interval = interval
	return opts
}

// serveFor is the owner's loop without a mailbox, for a time.
func serveFor(t testing.TB, l *Log, d time.Duration) {
	t.Helper()
	end := time.After(d)
	for {
		select {
		case <-l.Wake():
			require.NoError(t, l.Tick())
		case <-end:
			synctest.Wait()
			return
		}
	}
}

// TestBatchedWindow: no more than Commits commits are acknowledged and not
// synced, and the window is used: there is no sync for each.
func TestBatchedWindow(t *testing.T) {
	for _, commits := range []int{1, 2, 3, 10, 100} {
		for _, batch := range []int{1, 3, 25} {
			opts := testOptions()
			opts.Commits = commits
			_, l := create(t, opts)
			for range 300 {
				for range batch {
					add(t, l, 1, 40)
				}
				require.NoError(t, l.Commit(op.Batched))
				require.Less(t, l.Next()-1-l.Synced(), uint64(commits))
			}
			least := uint64(300 * batch / (commits + batch))
			require.GreaterOrEqual(t, l.Stats().Syncs, least)
			mustClose(t, l)
		}
	}
}

// TestBatchedSyncsInTheBackground: with three quarters of the window used up a
// sync is begun, and only one.
func TestBatchedSyncsInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := testOptions()
		opts.Commits = 10
		_, l := create(t, opts)
		for i := range 40 {
			add(t, l, 1, 40)
			require.NoError(t, l.Commit(op.Batched))
			synctest.Wait()
			require.Equal(t, uint64(i+1)/7, l.Stats().Syncs)
		}
		mustClose(t, l)
	})
}

// TestSlowSync: while a sync is on its way commits are acknowledged until the
// window is full, and no queue of syncs builds up.
func TestSlowSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := testOptions()
		opts.Commits = 10
		mem, l := create(t, opts)
		slow := true
		mem.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Sync && slow {
				time.Sleep(interval)
			}
			return nil
		})
		start := time.Now()
		for range 9 {
			add(t, l, 1, 40)
			require.NoError(t, l.Commit(op.Batched))
			synctest.Wait()
		}
		require.Zero(t, time.Since(start), "nobody waits")
		require.Zero(t, l.Synced())
		time.Sleep(10 * interval)
		synctest.Wait()
		require.Equal(t, uint64(7), l.Synced())
		require.Equal(t, uint64(1), l.Stats().Syncs)
		slow = false
		mustClose(t, l)
	})
}

// TestIdleTail: what was committed last is synced within the interval, then
// sealed, once, and then there is silence.
func TestIdleTail(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem, l := create(t, timedOptions())
				var want []rec
				for range 3 {
					r := add(t, l, 1, 40)
					want = append(want, r)
					require.NoError(t, l.Commit(mode))
					serveFor(t, l, interval)
					require.GreaterOrEqual(t, l.Synced(), r.seq, "not synced within the interval")

					serveFor(t, l, 3*interval)
					require.Equal(t, l.Next()-1, l.Synced())
					recs, sc := mustRead(t, mem.CrashWith(noChance(), vfs.DropAll))
					require.Equal(t, want, recs)
					require.True(t, sc.Sealed)
					require.Equal(t, r.seq+1, sc.Last, "one seal")
					ops := mem.Ops()
					serveFor(t, l, time.Hour)
					require.Equal(t, ops, mem.Ops(), "an idle log leaves the disk alone")
				}
				ops := mem.Ops()
				mustClose(t, l)
				require.LessOrEqual(t, mem.Ops()-ops, 1, "nothing but the space ahead is left to do")
			})
		})
	}
}

// TestBusyLogIsNotSealed: seals are for silence only.
func TestBusyLogIsNotSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := create(t, timedOptions())
		for i := range 100 {
			add(t, l, 1, 40)
			require.NoError(t, l.Commit(modes[i%2]))
			serveFor(t, l, interval/10)
		}
		require.Equal(t, uint64(101), l.Next(), "a seal between the records")
		require.LessOrEqual(t, l.Next()-1-l.Synced(), uint64(10))
		mustClose(t, l)
		recs, _ := mustRead(t, mem)
		require.Len(t, recs, 100)
	})
}

// TestIntervalHoldsBesideASlowSync: a commit right after a sync began has to
// wait for the next one, and no longer.
func TestIntervalHoldsBesideASlowSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := timedOptions()
		opts.Commits = 4
		mem, l := create(t, opts)
		mem.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Sync {
				time.Sleep(interval * 2 / 5)
			}
			return nil
		})
		add(t, l, 1, 40)
		require.NoError(t, l.Commit(op.Batched))
		serveFor(t, l, interval/4)
		add(t, l, 1, 40)
		require.NoError(t, l.Commit(op.Batched)) // three quarters of the window: a sync begins
		serveFor(t, l, interval/20)
		r := add(t, l, 1, 40) // and the tick will find it running
		require.NoError(t, l.Commit(op.Batched))
		require.Zero(t, l.Synced())
		serveFor(t, l, interval)
		require.GreaterOrEqual(t, l.Synced(), r.seq)
		mem.SetFault(nil)
		mustClose(t, l)
	})
}

// TestAsync: nothing is written before there is a lot of it, or a tick.
func TestAsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := create(t, timedOptions())
		r := add(t, l, 1, 40)
		ops := mem.Ops()
		require.NoError(t, l.Commit(op.Async))
		require.Equal(t, ops, mem.Ops())
		require.Equal(t, testFrame, l.Buffered())
		recs, _ := mustRead(t, mem.Clone())
		require.Empty(t, recs)
		serveFor(t, l, interval*3/5)
		require.Zero(t, l.Buffered())
		recs, _ = mustRead(t, mem.Clone())
		require.Equal(t, []rec{r}, recs)
		serveFor(t, l, interval/2)
		require.GreaterOrEqual(t, l.Synced(), r.seq)

		syncs := l.Stats().Syncs
		add(t, l, 1, asyncBuffer)
		require.NoError(t, l.Commit(op.Async))
		require.Zero(t, l.Buffered(), "a full buffer is written")
		require.Equal(t, syncs, l.Stats().Syncs, "and not synced")
		mustClose(t, l)
	})
}

// TestSealAfterACrash: what recovery found is covered by a seal as soon as the
// log is idle, though nobody commits.
func TestSealAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := segmentOn(t, unwitnessed(3).b)
		_, l := reopen(t, mem, timedOptions())
		serveFor(t, l, 3*interval)
		disk := mem.CrashWith(noChance(), vfs.DropAll)
		_, sc := mustRead(t, disk)
		require.True(t, sc.Sealed)
		require.NoError(t, disk.Flip(segmentPath(logDir, 1), (at(2)+50)*8))
		requireDamage(t, disk, Bounds{First: 1}, at(2))
		mustClose(t, l)
	})
}

// TestFailureInTheBackground is told although nobody waits for the sync.
func TestFailureInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		opts := timedOptions()
		opts.OnError = func(err error) {
			require.ErrorIs(t, err, errAny)
			told.Add(1)
		}
		mem, l := create(t, opts)
		add(t, l, 1, 40)
		require.NoError(t, l.Commit(op.Batched))
		mem.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Sync {
				return errAny
			}
			return nil
		})
		<-l.Wake()
		require.NoError(t, l.Tick())
		synctest.Wait()
		require.Equal(t, int64(1), told.Load())
		mem.SetFault(nil) // the disk is well again: that helps no more
		ops := mem.Ops()
		require.ErrorIs(t, l.Commit(op.Batched), errAny)
		<-l.Wake() // set before the failure
		require.ErrorIs(t, l.Tick(), errAny)
		select {
		case <-l.Wake():
			t.Error("a failed log has nothing to do")
		case <-time.After(time.Hour):
		}
		_, err := l.Close()
		require.ErrorIs(t, err, errAny)
		require.Equal(t, 1, strings.Count(err.Error(), errAny.Error()), "told once: %v", err)
		require.Equal(t, ops, mem.Ops())
		require.Equal(t, int64(1), told.Load())
	})
}

// TestSealOnDemand: after a flush the caller may want the witness at once.
func TestSealOnDemand(t *testing.T) {
	mem, l := create(t, testOptions())
	want := []rec{add(t, l, 1, 40)}
	require.NoError(t, l.Flush())
	require.NoError(t, l.Seal())
	ops := mem.Ops()
	require.NoError(t, l.Seal())
	require.Equal(t, ops, mem.Ops(), "one seal is enough")
	disk := mem.Clone()
	recs, sc := mustRead(t, disk)
	require.Equal(t, want, recs)
	require.True(t, sc.Sealed)
	require.NoError(t, disk.Flip(segmentPath(logDir, 1), (at(0)+50)*8))
	requireDamage(t, disk, Bounds{First: 1}, at(0))
	mem.SetFault(func(vfs.Op) error { return errAny })
	add(t, l, 1, 40)
	require.ErrorIs(t, l.Flush(), errAny)
	require.ErrorIs(t, l.Seal(), errAny)
	_, err := l.Close()
	require.ErrorIs(t, err, errAny)
}
