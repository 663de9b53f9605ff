package shard

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/actor"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

func strict(o *rigOptions) { o.durability = op.Strict }

// everything makes one call of each kind and returns the errors.
func (r *rig) everything(id run.ID) map[string]error {
	_, commit := r.Commit(ctx, id, put("k", "v"))
	_, begin := r.Begin(ctx, &run.Info{Meta: run.Meta{ID: run.ID{9}}}, op.Default)
	_, history := r.History(ctx)
	return map[string]error{
		"commit": commit, "begin": begin, "history": history,
		"status": r.SetStatus(ctx, id, run.Paused, op.Expect{}, op.Default), "drop": r.Drop(ctx, id, op.Default),
		"flush": r.Flush(ctx), "checkpoint": r.Checkpoint(ctx),
	}
}

// requirePoisoned checks that the store stopped because of cause, whatever is
// asked of it, and that what was published can still be read.
func (r *rig) requirePoisoned(h *Handle, cause error, key, want string) {
	r.t.Helper()
	answered(r.t, "calls on a poisoned shard", func() {
		for name, err := range r.everything(h.ID) {
			assert.ErrorIs(r.t, err, op.ErrPoisoned, name)
			assert.ErrorIs(r.t, err, cause, name)
		}
	})
	assert.Equal(r.t, want, value(h, key), "what was published")
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Len(r.t, r.causes, 1, "the first failure is told, once")
}

func TestFailedWriteOrSyncPoisons(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.Write, vfs.Sync} {
		t.Run(kind.String(), func(t *testing.T) {
			r := newRig(t, strict)
			h := r.begin()
			r.put(h, "k", "kept")
			before := h.snapshot.Load().Digest()
			r.failOn(kind, ".wal")

			var wg sync.WaitGroup
			answered(t, "writers", func() {
				for i := range 50 {
					wg.Go(func() {
						_, err := r.Commit(ctx, h.ID, put(fmt.Sprint(i), "lost"))
						assert.ErrorIs(t, err, op.ErrPoisoned)
						assert.ErrorIs(t, err, errFault)
					})
				}
				wg.Wait()
			})
			assert.Equal(t, before, h.snapshot.Load().Digest(), "nothing of it is published")
			r.requirePoisoned(h, errFault, "k", "kept")
			answered(t, "Close", func() {
				_, err := r.end()
				assert.ErrorIs(t, err, errFault)
			})

			r.fs.SetFault(nil)
			again := openRig(t, r.fs)
			found, err := again.Find(h.ID)
			require.NoError(t, err)
			assert.Equal(t, "kept", value(found, "k"))
			again.put(found, "k", "on")
		})
	}
}

// A failure in the background has nobody to answer to but the next caller.
func TestFailedSyncInTheBackgroundPoisons(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	r.put(h, "k", "v")
	r.failOn(vfs.Sync, ".wal")
	soon(t, func() bool { return r.health.Err() != nil })
	r.requirePoisoned(h, errFault, "k", "v")
}

// What a full disk does to a write with reserved space, or to a sync, is no
// ErrDiskFull: nobody knows what is on the disk.
func TestFullDiskInASyncPoisons(t *testing.T) {
	r := newRig(t, strict)
	h := r.begin()
	r.put(h, "k", "v")
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync {
			return syscall.ENOSPC
		}
		return nil
	})
	_, err := r.Commit(ctx, h.ID, put("k", "lost"))
	assert.ErrorIs(t, err, op.ErrPoisoned)
	assert.NotErrorIs(t, err, op.ErrDiskFull)
}

// panicking is a wall clock that panics on demand.
type panicking struct{ on atomic.Bool }

func (p *panicking) now() time.Time {
	if p.on.Load() {
		panic("the clock is broken")
	}
	return time.UnixMilli(1000)
}

func TestPanicPoisons(t *testing.T) {
	var clock panicking
	r := newRig(t, func(o *rigOptions) { o.wall = clock.now })
	h := r.begin()
	r.put(h, "k", "kept")
	clock.on.Store(true)
	answered(t, "writers", func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := r.Commit(ctx, h.ID, put("k", "lost"))
				assert.ErrorIs(t, err, op.ErrPoisoned)
				var p *actor.PanicError
				if assert.ErrorAs(t, err, &p) {
					assert.Equal(t, "the clock is broken", p.Value)
					assert.Contains(t, string(p.Stack), "process")
				}
			})
		}
		wg.Wait()
	})
	assert.Equal(t, "kept", value(h, "k"))
	// The clock still panics: Close must not ask it.
	answered(t, "Close", func() {
		_, err := r.end()
		assert.NoError(t, err, "the log itself is sound")
	})
	clock.on.Store(false)
	again := openRig(t, r.fs)
	found, err := again.Find(h.ID)
	require.NoError(t, err)
	assert.Equal(t, "kept", value(found, "k"))
}

// A panic behind the reply, when the next checkpoint is considered, must free
// those who wait for that checkpoint.
func TestPanicBehindTheReplyFreesWhoeverWaitsForACheckpoint(t *testing.T) {
	var clock panicking
	var calls atomic.Int32
	r := newRig(t, func(o *rigOptions) {
		o.wall = func() time.Time {
			if calls.Add(1) == 0 {
				panic("the clock is broken")
			}
			return clock.now()
		}
	})
	h := r.begin()
	r.put(h, "k", "v")
	calls.Store(-2) // the batch reads the clock once, and the checkpoint once more
	answered(t, "Checkpoint", func() {
		assert.ErrorIs(t, r.Checkpoint(ctx), op.ErrPoisoned)
	})
	assert.Equal(t, "v", value(h, "k"))
}

func TestFailedCheckpointPoisonsAndAnswers(t *testing.T) {
	for _, c := range []struct {
		kind   vfs.OpKind
		suffix string
	}{
		{vfs.Create, ".ckpt.tmp"}, {vfs.Write, ".tmp"}, {vfs.Sync, ".ckpt.tmp"}, {vfs.Rename, ""},
		{vfs.SyncDir, ""}, {vfs.Sync, "MANIFEST.tmp"}, {vfs.Rename, "MANIFEST"},
	} {
		t.Run(c.kind.String()+" "+c.suffix, func(t *testing.T) {
			r := newRig(t)
			h := r.begin()
			r.put(h, "k", "v")
			if c.suffix == ".ckpt.tmp" {
				c.suffix = ".tmp"
			}
			r.failOn(c.kind, c.suffix)
			answered(t, "Checkpoint", func() {
				err := r.Checkpoint(ctx)
				assert.ErrorIs(t, err, op.ErrPoisoned)
				assert.ErrorIs(t, err, errFault)
			})
			r.requirePoisoned(h, errFault, "k", "v")
			answered(t, "Close", func() { _, _ = r.end() }) // what it returns is another test's
			r.fs.SetFault(nil)
			again := openRig(t, r.fs)
			found, err := again.Find(h.ID)
			require.NoError(t, err)
			assert.Equal(t, "v", value(found, "k"))
		})
	}
}

// A full disk where nobody knows what it holds any more is no ErrDiskFull.
func TestFullDiskInTheSyncOfACheckpointPoisons(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	r.put(h, "k", "v")
	require.NoError(t, r.Flush(ctx))
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync && strings.HasSuffix(o.Name, ".tmp") {
			return syscall.ENOSPC
		}
		return nil
	})
	answered(t, "Checkpoint", func() {
		err := r.Checkpoint(ctx)
		assert.ErrorIs(t, err, op.ErrPoisoned)
		assert.ErrorIs(t, err, syscall.ENOSPC)
	})
}

func TestPanicInACheckpointPoisonsAndAnswers(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	r.put(h, "k", "v")
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Create {
			panic("the disk is broken")
		}
		return nil
	})
	answered(t, "Checkpoint", func() {
		err := r.Checkpoint(ctx)
		assert.ErrorIs(t, err, op.ErrPoisoned)
		assert.ErrorContains(t, err, "the disk is broken")
	})
	r.fs.SetFault(nil)
	answered(t, "Close", func() { _, _ = r.end() })
}

// A command that was refused must not be answered twice: the second answer
// would go to whoever gets the command from the pool next.
func TestRefusedCheckpointIsAnsweredOnce(t *testing.T) {
	r := newRig(t, strict)
	h := r.begin()
	r.failOn(vfs.Sync, "") // of the log and of checkpoints
	answered(t, "callers", func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.ErrorIs(t, r.Checkpoint(ctx), op.ErrPoisoned) })
			wg.Go(func() {
				_, err := r.Commit(ctx, h.ID, put("k", "v"))
				assert.ErrorIs(t, err, op.ErrPoisoned)
			})
		}
		wg.Wait()
	})
	_, _ = r.end()
	for range 100 {
		c := r.newCommand(flush, run.ID{})
		assert.Empty(t, c.done, "a command in the pool that was answered already")
		defer r.release(c)
	}
}

func TestGivenUpCallOnAPoisonedShard(t *testing.T) {
	r := newRig(t, strict)
	h := r.begin()
	short, cancel := context.WithCancel(ctx)
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync {
			cancel()
			return errFault
		}
		return nil
	})
	answered(t, "Commit", func() {
		_, err := r.Commit(short, h.ID, put("k", "v"))
		assert.Error(t, err)
	})
	r.requirePoisoned(h, errFault, "k", "")
}
