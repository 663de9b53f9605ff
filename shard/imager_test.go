package shard

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

func (r *rig) checkpoints() []CheckpointDone {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]CheckpointDone(nil), r.taken...)
}

// images counts the checkpoint files on the disk.
func (r *rig) images() int {
	n := 0
	for _, name := range r.fs.Files() {
		if !hasSuffix(name, ".wal") && !hasSuffix(name, "MANIFEST") && !hasSuffix(name, "LOCK") {
			n++
		}
	}
	return n
}

func TestCheckpointWritesWhatChanged(t *testing.T) {
	r := newRig(t)
	a, b := r.begin(), r.begin()
	require.NoError(t, r.Checkpoint(ctx))
	r.put(a, "k", "v")
	require.NoError(t, r.Checkpoint(ctx))
	require.NoError(t, r.Flush(ctx))
	taken := r.checkpoints()
	assert.Equal(t, []int{2, 1}, []int{taken[0].Runs, taken[1].Runs})
	assert.Positive(t, taken[1].Bytes)
	assert.Equal(t, uint64(2), r.Metrics().Checkpoints)
	require.NoError(t, r.Drop(ctx, b.ID, op.Default))
	require.NoError(t, r.Checkpoint(ctx))
	want := r.digests()
	again := r.reopen()
	assert.Equal(t, want, again.digests())
	_, err := again.Find(b.ID)
	assert.Error(t, err)
}

// A checkpoint when nothing was logged since the last one writes no file.
func TestCheckpointOfNothingNew(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	r.put(h, "k", "v")
	require.NoError(t, r.Checkpoint(ctx))
	ops := r.fs.Ops()
	require.NoError(t, r.Checkpoint(ctx))
	assert.Equal(t, ops, r.fs.Ops())
	assert.Equal(t, uint64(1), r.Metrics().Checkpoints)
}

// However often a run is written anew, the files of the checkpoints before
// go, once most of what they hold is of no use any more.
func TestRepeatedCheckpointsCompact(t *testing.T) {
	r := newRig(t)
	idle := r.begin()
	for k := range 100 {
		r.put(idle, fmt.Sprint("idle", k), "some value that is there from the beginning")
	}
	busy := r.begin()
	for i := range 40 {
		for k := range 20 {
			r.put(busy, fmt.Sprint(k), fmt.Sprint("value ", i))
		}
		require.NoError(t, r.Checkpoint(ctx))
		assert.LessOrEqual(t, r.images(), 3, "after checkpoint %d", i)
	}
	want := r.digests()
	assert.Equal(t, want, r.reopen().digests())
}

func TestCheckpointBytesBeginsCheckpoints(t *testing.T) {
	r := newRig(t, func(o *rigOptions) { o.checkpointBytes = 8 << 10 })
	h := r.begin()
	for i := range 2000 {
		r.put(h, fmt.Sprint(i%10), "some value, of some length, that fills the log")
	}
	require.NoError(t, r.Flush(ctx))
	r.reopen()
	taken := len(r.checkpoints())
	assert.Greater(t, taken, 2)
	assert.Less(t, taken, 200, "not at every batch")
}

func TestCheckpointsWhileWritersRun(t *testing.T) {
	r := newRig(t, func(o *rigOptions) { o.segmentSize = 16 << 10 })
	var writers sync.WaitGroup
	for w := range 4 {
		h := r.begin()
		writers.Go(func() {
			for i := range 500 {
				_, err := r.Commit(ctx, h.ID, put(fmt.Sprint(i%50), fmt.Sprint(w, i)))
				assert.NoError(t, err)
			}
		})
	}
	for range 5 {
		writers.Go(func() {
			for range 5 {
				assert.NoError(t, r.Checkpoint(ctx))
			}
		})
	}
	answered(t, "writers and checkpoints", writers.Wait)
	want := r.digests()
	assert.Equal(t, want, r.reopen().digests())
}

// A checkpoint that the disk has no space for changes nothing; the next one
// has what it could not write.
func TestCheckpointOnAFullDisk(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	r.put(h, "k", "v")
	require.NoError(t, r.Checkpoint(ctx))
	gone, later := r.begin(), r.begin()
	r.put(h, "k", "w")
	require.NoError(t, r.Drop(ctx, gone.ID, op.Default))
	for _, kind := range []vfs.OpKind{vfs.Create, vfs.Write} {
		r.fs.SetFault(func(o vfs.Op) error {
			if o.Kind == kind && hasSuffix(o.Name, ".tmp") {
				return syscall.ENOSPC
			}
			return nil
		})
		err := r.Checkpoint(ctx)
		assert.ErrorIs(t, err, op.ErrDiskFull, kind)
		assert.ErrorIs(t, err, syscall.ENOSPC, kind)
		require.NoError(t, r.health.Err())
		r.put(h, "still", "at work")
	}
	r.fs.SetFault(nil)
	// What a failed checkpoint would have written may be gone by the next one.
	require.NoError(t, r.Drop(ctx, later.ID, op.Default))
	require.NoError(t, r.Checkpoint(ctx))
	taken := r.checkpoints()
	assert.Equal(t, 1, taken[len(taken)-1].Runs)
	want := r.digests()
	again := r.reopen()
	assert.Equal(t, want, again.digests())
	assert.Contains(t, again.state.deleted, gone.ID, "a deletion that a failed checkpoint had taken")
	assert.Contains(t, again.state.deleted, later.ID)
}

// A checkpoint that is under way when the shard closes ends as it ends, and
// says so; one that has not begun does not begin.
func TestCloseDuringACheckpoint(t *testing.T) {
	for _, failure := range []error{nil, syscall.ENOSPC, errFault} {
		t.Run(fmt.Sprint(failure), func(t *testing.T) {
			r := newRig(t)
			h := r.begin()
			r.put(h, "k", "v")
			entered, hold := make(chan struct{}), make(chan struct{})
			var once sync.Once
			r.fs.SetFault(func(o vfs.Op) error {
				if o.Kind != vfs.Create || !hasSuffix(o.Name, ".tmp") {
					return nil
				}
				err := error(nil)
				once.Do(func() {
					close(entered)
					<-hold
					err = failure
				})
				return err
			})
			first, second, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
			go func() { first <- r.Checkpoint(ctx) }()
			<-entered
			go func() { second <- r.Checkpoint(ctx) }()
			soon(t, func() bool { return r.Metrics().Commands >= 4 })
			go func() { _, err := r.end(); closed <- err }()
			soon(t, func() bool { return r.Expire(ctx, h.ID, nil) != nil })
			close(hold)
			answered(t, "all", func() {
				switch failure {
				case nil:
					assert.NoError(t, <-first)
					assert.ErrorIs(t, <-second, op.ErrClosed)
				case syscall.ENOSPC:
					assert.ErrorIs(t, <-first, op.ErrDiskFull)
					assert.ErrorIs(t, <-second, op.ErrClosed)
				default:
					assert.ErrorIs(t, <-first, op.ErrPoisoned)
					assert.ErrorIs(t, <-second, op.ErrPoisoned)
				}
				assert.NoError(t, <-closed)
			})
		})
	}
}

// What a checkpoint would write is known without looking at every run that changed.
func TestDirtyBytes(t *testing.T) {
	r := newRig(t)
	check := func(what string) int64 {
		t.Helper()
		r.turn.Lock()
		defer r.turn.Unlock()
		var want int64
		for _, run := range r.state.dirty {
			if !run.dropped {
				want += run.keys.Bytes() - run.keys.LargeBytes()
			}
		}
		require.Equal(t, want, r.state.dirtyBytes, what)
		return want
	}
	a, b := r.begin(), r.begin()
	for i := range 50 {
		r.put(a, fmt.Sprint(i), "some value")
	}
	_, err := r.Commit(ctx, b.ID, put("large", string(make([]byte, 2*op.Large))))
	require.NoError(t, err)
	require.Less(t, check("two runs"), int64(op.Large))
	require.NoError(t, r.Drop(ctx, b.ID, op.Default))
	check("one of them dropped")
	require.NoError(t, r.Checkpoint(ctx))
	require.Zero(t, check("nothing is dirty"))
	r.put(a, "more", "value")
	require.Positive(t, check("dirty again"))
}
