package shard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/ttl"
	"inmem/vfs"
	"inmem/wal"
)

func TestPlaceIsStableAndEven(t *testing.T) {
	id, err := run.ParseID("01890a5d-ac96-774b-bcce-b302099a8057")
	require.NoError(t, err)
	// Stored data depends on it: these never change.
	assert.Equal(t, []int{0, 1, 1, 1}, []int{Place(id, 1), Place(id, 2), Place(id, 4), Place(id, 8)})
	counts := make([]int, 8)
	for range 8000 {
		id, err := run.NewID()
		require.NoError(t, err)
		counts[Place(id, 8)]++
	}
	for i, n := range counts {
		assert.InDelta(t, 1000, n, 200, "shard %d", i)
	}
}

// What the state decided, what the shard published and what a replay of its
// log gives are equal, with and without a checkpoint in between.
func TestReopenedShardIsEqual(t *testing.T) {
	r := newRig(t, func(o *rigOptions) { o.segmentSize = 4 << 10 })
	for i := range 5 {
		h := r.begin()
		for k := range 50 {
			r.put(h, fmt.Sprint("k", k%20), fmt.Sprint(i, k))
		}
		_, err := r.Commit(ctx, h.ID, &op.Request{Writes: []op.Write{{Kind: op.Delete, Tag: op.KV, Key: "k3"}}})
		require.NoError(t, err)
		if i == 2 {
			require.NoError(t, r.Drop(ctx, h.ID, op.Default))
			assert.Nil(t, h.snapshot.Load(), "a handle of a run that is gone")
		}
	}
	want := r.digests()
	require.Len(t, want, 4)
	again := r.reopen()
	assert.Equal(t, want, again.digests(), "a replay")
	require.NoError(t, again.Checkpoint(ctx))
	third := again.reopen()
	assert.Equal(t, want, third.digests(), "a checkpoint")
	assert.Len(t, third.state.deleted, 1)
	fourth := third.reopen()
	assert.Equal(t, want, fourth.digests(), "a checkpoint, and a log that has nothing behind it")
}

// Runs that change often are written once, and values of one request do not mix.
func TestManyWritesOfOneRequest(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	values := []string{"first", "", "third is longer", "4"}
	for range 3 {
		req := &op.Request{}
		for i, v := range values {
			req.Writes = append(req.Writes, put(fmt.Sprint(i), v).Writes...)
		}
		_, err := r.Commit(ctx, h.ID, req)
		require.NoError(t, err)
	}
	for i, v := range values {
		assert.Equal(t, v, value(h, fmt.Sprint(i)))
	}
	require.NoError(t, r.Checkpoint(ctx))
	assert.Equal(t, 1, r.checkpoints()[0].Runs)
}

// Strict is synced when it is acknowledged; Batched is with the operating
// system; Async is in memory. The disk tells.
func TestDurabilityOfOneCommit(t *testing.T) {
	crashed := func(mode op.Durability, left func(*vfs.Mem) *vfs.Mem) string {
		r := newRig(t, func(o *rigOptions) { o.interval = time.Hour })
		h := r.begin()
		require.NoError(t, r.Flush(ctx))
		req := put("k", "v")
		req.Durability = mode
		_, err := r.Commit(ctx, h.ID, req)
		require.NoError(t, err)
		require.Equal(t, "v", value(h, "k"))
		again := openRig(t, left(r.fs))
		found, err := again.Find(h.ID)
		require.NoError(t, err)
		return value(found, "k")
	}
	loseAll := func(m *vfs.Mem) *vfs.Mem { return m.CrashWith(rand.New(rand.NewPCG(1, 2)), vfs.DropAll) }
	assert.Equal(t, "v", crashed(op.Strict, loseAll))
	assert.Equal(t, "", crashed(op.Batched, loseAll))
	assert.Equal(t, "v", crashed(op.Batched, (*vfs.Mem).Clone))
	assert.Equal(t, "", crashed(op.Async, (*vfs.Mem).Clone))
}

// A caller alone carries out its commands itself, but those that wait for the
// disk: its context could not end that.
func TestLending(t *testing.T) {
	r := newRig(t, func(o *rigOptions) { o.interval = time.Hour })
	h := r.begin()
	require.NoError(t, r.Flush(ctx)) // reserves space, and answers only after the turn was given back
	lent := func(mode op.Durability) uint64 {
		before := r.Metrics().Lent
		req := put("k", "v")
		req.Durability = mode
		_, err := r.Commit(ctx, h.ID, req)
		require.NoError(t, err)
		return r.Metrics().Lent - before
	}
	assert.EqualValues(t, 0, lent(op.Strict))
	func() {
		r.turn.Lock() // once the goroutine has given it back
		defer r.turn.Unlock()
	}()
	assert.EqualValues(t, 1, lent(op.Batched))
	assert.EqualValues(t, 1, lent(op.Async))

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.Commit(ended, h.ID, put("k", "never"))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, "v", value(h, "k"))

	_, err = r.end()
	require.NoError(t, err)
	_, err = r.Commit(ctx, h.ID, put("k", "closed"))
	require.ErrorIs(t, err, op.ErrClosed)
}

// A caller who gives up while the mailbox is full changed nothing; one who
// gives up later gets an error that says that nobody knows.
func TestCancelledCalls(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 10)
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	r := newRig(t, strict)
	h := r.begin()
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync {
			entered <- struct{}{}
			<-hold
		}
		return nil
	})
	done, cancelDone := context.WithCancel(ctx)
	cancelDone()
	_, err := r.Commit(done, h.ID, put("never", "x"))
	assert.ErrorIs(t, err, context.Canceled)

	accepted, cancel := context.WithCancel(ctx)
	errs := make(chan error, 1)
	value1 := []byte("accepted")
	go func() {
		_, err := r.Commit(accepted, h.ID, &op.Request{Writes: []op.Write{{Kind: op.Put, Tag: op.KV, Key: "k", Value: value1}}})
		errs <- err
	}()
	<-entered // the owner syncs, so the call was accepted
	cancel()
	err = <-errs
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "outcome is unknown")
	copy(value1, "changed!") // the caller's again, whatever becomes of the call

	var waiting sync.WaitGroup
	for i := range mailboxSize {
		waiting.Go(func() {
			_, err := r.Commit(ctx, h.ID, put(fmt.Sprint("fill", i), ""))
			assert.NoError(t, err)
		})
	}
	soon(t, func() bool { return r.mailbox.Len() == mailboxSize })
	full, cancelFull := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancelFull()
	for name, err := range map[string]error{
		"flush": r.Flush(full), "drop": r.Drop(full, h.ID, op.Default), "expire": r.Expire(full, h.ID, nil),
	} {
		assert.ErrorIs(t, err, context.DeadlineExceeded, name)
		assert.NotContains(t, err.Error(), "unknown", name)
	}
	_, err = r.History(full)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	release()
	answered(t, "those who filled the mailbox", waiting.Wait)
	assert.Equal(t, "accepted", value(h, "k"), "it was carried out, with the value of then")
	_, ok := h.snapshot.Load().Get(op.KV, "never")
	assert.False(t, ok)
	assert.Equal(t, 2+mailboxSize, int(h.snapshot.Load().Version))
}

func TestCancelledBeginAndHistoryAfterAcceptance(t *testing.T) {
	r := newRig(t, strict)
	h := r.begin()
	for range 2 {
		short, cancel := context.WithCancel(ctx)
		r.fs.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Sync {
				cancel()
				time.Sleep(time.Millisecond) // let the caller go first, mostly
			}
			return nil
		})
		id, err := run.NewID()
		require.NoError(t, err)
		if _, err := r.Begin(short, &run.Info{Meta: run.Meta{ID: id}}, op.Default); err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
		r.fs.SetFault(nil)
		require.NoError(t, r.Flush(ctx))
		_, err = r.Find(id)
		assert.NoError(t, err, "it was carried out")
		cancel()
	}
	r.put(h, "k", "v")
}

func TestCloseAnswersEverybody(t *testing.T) {
	r := newRig(t, strict)
	h := r.begin()
	var callers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			for k := 0; ; k++ {
				_, err := r.Commit(ctx, h.ID, put(fmt.Sprint(i), fmt.Sprint(k)))
				if err != nil {
					assert.ErrorIs(t, err, op.ErrClosed)
					return
				}
			}
		})
		callers.Go(func() {
			if err := r.Checkpoint(ctx); err != nil {
				assert.ErrorIs(t, err, op.ErrClosed)
			}
		})
	}
	soon(t, func() bool { return h.snapshot.Load().Version > 100 })
	answered(t, "Close", func() {
		_, err := r.end()
		assert.NoError(t, err)
	})
	answered(t, "callers", callers.Wait)
	want := r.digests()
	assert.Equal(t, want, openRig(t, r.fs).digests(), "what was acknowledged is there, and nothing else")
	for name, err := range r.everything(h.ID) {
		assert.ErrorIs(t, err, op.ErrClosed, name)
	}
	assert.ErrorContains(t, r.Expire(ctx, h.ID, nil), "closed")
}

func TestExpireIsLogged(t *testing.T) {
	var wall int64 = 1000
	var mu sync.Mutex
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.UnixMilli(wall) }
	r := newRig(t, func(o *rigOptions) { o.wall = now })
	h := r.begin()
	_, err := r.Commit(ctx, h.ID, putTTL("k", "v", time.Second))
	require.NoError(t, err)
	require.Equal(t, []ttl.Change{{Run: h.ID, Key: "\x01k", Version: 2, Deadline: 2000}}, r.timers)
	mu.Lock()
	wall = 2000
	mu.Unlock()
	due := []ttl.Due{{Key: "\x01k", Version: 2}}
	require.NoError(t, r.Expire(ctx, h.ID, due))
	require.NoError(t, r.Expire(ctx, h.ID, due), "a message too many is harmless")
	require.NoError(t, r.Flush(ctx))
	assert.Equal(t, uint64(3), h.snapshot.Load().Version)
	assert.Zero(t, h.snapshot.Load().Deadlines)
	assert.Equal(t, uint64(1), r.Metrics().Expired)
	history, err := r.History(ctx)
	require.NoError(t, err)
	var kinds []op.Kind
	require.NoError(t, history.Stream(ctx, h.ID, h.snapshot.Load().FirstSeq, h.snapshot.Load().LastSeq, func(f wal.Frame) error {
		c, err := op.DecodeCommit(f.Payload)
		kinds = append(kinds, c.Ops[0].Kind)
		return err
	}))
	assert.Equal(t, []op.Kind{op.Put, op.Put, op.Expire}, kinds)
	require.NoError(t, r.Drop(ctx, h.ID, op.Default))
	assert.Equal(t, []run.ID{h.ID}, r.forgot)
}

// Without space an expiration is asked for once more, later.
func TestExpireOnAFullDisk(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	_, err := r.Commit(ctx, h.ID, putTTL("k", "v", time.Second))
	require.NoError(t, err)
	r.fill(h)
	r.mu.Lock()
	r.timers = nil
	r.mu.Unlock()
	r.clock.Raise(5000)
	require.NoError(t, r.Expire(ctx, h.ID, []ttl.Due{{Key: "\x01k", Version: 2}}))
	require.NoError(t, r.Flush(ctx))
	assert.Equal(t, []ttl.Change{{Run: h.ID, Key: "\x01k", Version: 2, Deadline: 5000 + expireRetry}}, r.timers)
	r.fs.SetCapacity(0)
	require.NoError(t, r.Expire(ctx, h.ID, []ttl.Due{{Key: "\x01k", Version: 2}}))
	require.NoError(t, r.Flush(ctx))
	_, ok := h.snapshot.Load().Get(op.KV, "k")
	assert.False(t, ok)
}

// fill puts until the disk is full.
func (r *rig) fill(h *Handle) (puts int) {
	r.fs.SetCapacity(256 << 10)
	for size := 64 << 10; size >= 8; {
		_, err := r.Commit(ctx, h.ID, put(fmt.Sprint("fill", puts), string(make([]byte, size))))
		if err == nil {
			puts++
			continue
		}
		require.ErrorIs(r.t, err, op.ErrDiskFull)
		size /= 2
	}
	return puts
}

func TestFullDisk(t *testing.T) {
	r := newRig(t, func(o *rigOptions) { o.segmentSize = 128 << 10 })
	h := r.begin()
	r.put(h, "k", "v")
	puts := r.fill(h)
	version := h.snapshot.Load().Version
	assert.Equal(t, puts+2, int(version), "what was refused left no trace")
	big := string(make([]byte, 64<<10))
	_, err := r.Commit(ctx, h.ID, put("big", big))
	assert.ErrorIs(t, err, op.ErrDiskFull)
	assert.ErrorIs(t, r.Checkpoint(ctx), op.ErrDiskFull)
	assert.NoError(t, r.Flush(ctx))
	assert.NoError(t, r.health.Err())
	assert.Equal(t, "v", value(h, "k"), "reads go on")

	r.fs.SetCapacity(0)
	assert.Equal(t, version+1, r.put(h, "big", big), "once there is space it goes on, without a gap")
	assert.NoError(t, r.Checkpoint(ctx), "with what the one before could not hold")
	want := r.digests()
	assert.Equal(t, want, r.reopen().digests())
}
