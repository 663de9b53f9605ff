package inmem_test

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// fillRuns makes some runs with what runs have.
func fillRuns(t testing.TB, s *store, n int) (runs []*inmem.Run) {
	for i := range n {
		// Always the same IDs, so that every shard has some of them.
		id := someNamespace.DeriveID(fmt.Sprint(i))
		r := s.begin(run.Meta{ID: id, Name: fmt.Sprint(i), Tags: map[string]string{"i": fmt.Sprint(i)}})
		for k := range 20 {
			put(t, r, key(k), string(big(i*k)))
		}
		put(t, r, "ttl", "v", kv.TTL(time.Hour))
		_, err := r.KV().Delete(ctx, key(3))
		require.NoError(t, err)
		runs = append(runs, r)
	}
	require.NoError(t, runs[0].Pause(ctx))
	return runs
}

// A checkpoint and the log behind it give what the log alone gives.
func TestCheckpointAndLogEqualTheLogAlone(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 8 << 10; o.CheckpointBytes = -1 })
	runs := fillRuns(t, s, 12)
	require.NoError(t, s.DeleteRun(ctx, runs[5].ID()))
	logOnly := s.mem.Clone() // of all that was written by now …
	require.NoError(t, s.DB.Checkpoint(ctx))
	change := func(s *store) {
		put(t, s.run(runs[1].ID()), "later", "v")
		require.NoError(t, s.run(runs[2].ID()).End(ctx, run.Failed))
		require.NoError(t, s.DeleteRun(ctx, runs[3].ID()))
	}
	change(s)
	alone := openStore(t, logOnly, s.dir, func(o *inmem.Options) { o.CheckpointBytes = -1 })
	change(alone) // … and the same once more, without the checkpoint
	s.reopen()
	alone.reopen()
	for i := range s.Recovery().Shards {
		a, b := s.Recovery().Shards[i], alone.Recovery().Shards[i]
		assert.NotZero(t, a.Checkpoint)
		assert.Zero(t, b.Checkpoint)
		assert.Less(t, a.Commits, b.Commits)
	}
	alone.same(s.pictures())
}

func TestRepeatedCheckpointsKeepFewFiles(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Shards = 1 })
	runs := fillRuns(t, s, 10)
	for i := range 30 {
		put(t, runs[1+i%9], "k", string(big(5000)))
		require.NoError(t, s.DB.Checkpoint(ctx))
	}
	images := 0
	for _, name := range s.mem.Files() {
		if strings.Contains(name, "shard-") && !strings.HasSuffix(name, ".wal") {
			images++
		}
	}
	assert.Positive(t, images)
	assert.LessOrEqual(t, images, 12, "%v", s.mem.Files())
}

func TestCheckpointsHappenByThemselves(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.CheckpointBytes = 16 << 10; o.Shards = 1 })
	r := s.begin()
	for i := range 500 {
		put(t, r, key(i%10), string(big(500)))
	}
	soon(t, "a checkpoint", func() bool { return s.Metrics().Shards[0].Checkpoints > 0 })
	s.reopen()
	assert.NotZero(t, s.Recovery().Shards[0].Checkpoint)
	assert.Less(t, s.Recovery().Shards[0].Commits, uint64(500))
}

func TestCheckpointWhileWritersRun(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 32 << 10 })
	var writers sync.WaitGroup
	for g := range 6 {
		r := s.begin()
		writers.Go(func() {
			for i := range 300 {
				_, err := r.KV().Put(ctx, key(i%40), fmt.Append(big(i), g))
				assert.NoError(t, err)
			}
		})
	}
	for range 3 {
		writers.Go(func() {
			for range 10 {
				assert.NoError(t, s.DB.Checkpoint(ctx))
			}
		})
	}
	ends(t, "writers and checkpoints", writers.Wait)
	s.reopen()
}

// No space for a checkpoint is no reason to stop.
func TestCheckpointOnAFullDisk(t *testing.T) {
	var events sync.Map
	s := newStore(t, func(o *inmem.Options) {
		o.OnEvent = func(e inmem.Event) {
			if c, ok := e.(inmem.CheckpointDone); ok && c.Err != nil {
				events.Store("refused", c)
			}
		}
	})
	runs := fillRuns(t, s, 9)
	s.mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Write && strings.HasSuffix(o.Name, ".tmp") {
			return vfs.ShortWrite{N: 10, Err: syscall.ENOSPC}
		}
		return nil
	})
	assert.ErrorIs(t, s.DB.Checkpoint(ctx), inmem.ErrDiskFull)
	put(t, runs[1], "still", "at work")
	soon(t, "the event", func() bool { _, ok := events.Load("refused"); return ok })
	e, _ := events.Load("refused")
	assert.Contains(t, e.(inmem.CheckpointDone).String(), "no checkpoint: inmem: disk full")
	s.mem.SetFault(nil)
	s.reopen()
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
}
