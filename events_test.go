package inmem_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// heard collects events.
type heard struct {
	mu   sync.Mutex
	list []inmem.Event
}

func (h *heard) hear(e inmem.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, e)
}

func (h *heard) all() []inmem.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]inmem.Event(nil), h.list...)
}

func eventsOf[E inmem.Event](h *heard) (list []E) {
	for _, e := range h.all() {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

func TestEvents(t *testing.T) {
	var h heard
	var log bytes.Buffer
	s := newStore(t, func(o *inmem.Options) {
		o.OnEvent = h.hear
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		o.SegmentSize, o.Shards = 4<<10, 1
	})
	r := s.begin()
	for i := range 50 {
		put(t, r, key(i), string(big(500)))
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	require.NoError(t, s.Close())
	s.ended = true

	list := h.all()
	first, ok := list[0].(inmem.Recovered)
	require.True(t, ok, "the first of all is what was found")
	assert.Equal(t, recovery.Created, first.Report.Verdict)
	begun, sealed := map[uint64]bool{}, map[uint64]bool{}
	last := uint64(0)
	for _, e := range eventsOf[inmem.Segment](&h) {
		if e.Sealed {
			sealed[e.First] = true
			continue
		}
		assert.Greater(t, e.First, last, "in order")
		last = e.First
		begun[e.First] = true
		_, err := s.fs.Stat(e.Path)
		assert.NoError(t, err)
	}
	assert.Greater(t, len(begun), 3)
	assert.Len(t, sealed, len(begun), "every one before the last")
	checkpoints := eventsOf[inmem.CheckpointDone](&h)
	require.Len(t, checkpoints, 1)
	assert.Equal(t, 1, checkpoints[0].Runs)
	assert.Positive(t, checkpoints[0].Bytes)
	assert.Empty(t, eventsOf[inmem.Poisoned](&h))

	text := log.String()
	assert.Equal(t, len(list), strings.Count(text, "\n"), "a line for each")
	for _, e := range list {
		assert.Contains(t, text, e.String())
	}
	assert.Contains(t, text, "level=INFO msg=\"opened: created, 1 shards, 0 commits replayed")
	assert.Contains(t, text, "level=DEBUG msg=\"shard 0: began segment")
}

func TestPoisonedEvent(t *testing.T) {
	var h heard
	var log bytes.Buffer
	s := newStore(t, func(o *inmem.Options) {
		o.OnEvent = h.hear
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Durability = inmem.Strict
	})
	runs := []*inmem.Run{s.begin(), s.begin(), s.begin()}
	s.failing(vfs.Sync)
	for _, r := range runs {
		_, err := r.KV().Put(ctx, "k", nil)
		assert.ErrorIs(t, err, inmem.ErrPoisoned)
	}
	s.abandon()
	told := eventsOf[inmem.Poisoned](&h)
	require.Len(t, told, 1, "once, whoever fails after the first")
	assert.ErrorIs(t, told[0].Err, errDisk)
	assert.Contains(t, log.String(), "level=ERROR msg=\"the store stopped: ")
}

// A listener may use the store, and a slow one holds nobody up.
func TestListenerMayCallTheStore(t *testing.T) {
	var s *store
	ready, slow := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	calls.Add(1)
	once := sync.OnceFunc(calls.Done)
	s = newStore(t, func(o *inmem.Options) {
		o.OnEvent = func(e inmem.Event) {
			<-ready
			if _, ok := e.(inmem.CheckpointDone); !ok {
				return
			}
			r, err := s.BeginRun(ctx, metaNamed("by the listener"))
			if assert.NoError(t, err) {
				_, err = r.KV().Put(ctx, "k", []byte("v"))
				assert.NoError(t, err)
				assert.NoError(t, s.Flush(ctx))
			}
			<-slow
			once()
		}
		o.Shards = 1
	})
	close(ready)
	r := s.begin()
	put(t, r, "k", "v")
	require.NoError(t, s.DB.Checkpoint(ctx))
	soon(t, "the listener's run", func() bool { return len(names(t, s, run.Filter{Name: "by the listener"})) == 1 })
	for i := range 100 {
		put(t, r, key(i), "nobody waits for the listener")
	}
	close(slow)
	ends(t, "the listener", calls.Wait)
}

func TestMetricsAddUp(t *testing.T) {
	s := newStore(t)
	assert.Equal(t, s.Recovery(), s.Metrics().Recovery)
	runs := []*inmem.Run{s.begin(), s.begin(), s.begin(), s.begin()}
	for i, r := range runs {
		for k := range 10 * (i + 1) {
			put(t, r, key(k), "v")
		}
	}
	_, err := runs[0].KV().PutIf(ctx, "none", nil, 9)
	require.ErrorIs(t, err, inmem.ErrWrongVersion)
	_, err = runs[3].KV().Delete(ctx, key(0))
	require.NoError(t, err)
	require.NoError(t, s.DeleteRun(ctx, runs[1].ID()))
	require.NoError(t, s.Flush(ctx))
	m := s.Metrics()
	require.Len(t, m.Shards, 3)
	var sum inmem.ShardMetrics
	for _, x := range m.Shards {
		sum.Commits += x.Commits
		sum.Commands += x.Commands
		sum.Batches += x.Batches
		sum.Runs += x.Runs
		sum.Keys += x.Keys
		sum.LogBytes += x.LogBytes
		sum.LogSyncs += x.LogSyncs
		assert.LessOrEqual(t, x.LargestBatch, x.Commands)
		assert.Zero(t, x.QueueDepth)
	}
	assert.Equal(t, uint64(4+100+1+1), sum.Commits, "begun, put, deleted, deleted")
	assert.Equal(t, uint64(4+100+1+1+1+3), sum.Commands, "and what was refused, and the flushes")
	assert.LessOrEqual(t, sum.Batches, sum.Commands)
	assert.Equal(t, int64(3), sum.Runs)
	assert.Equal(t, int64(3+10+30+40-1), sum.Keys, "with a key of metadata for each run")
	assert.Positive(t, sum.LogSyncs)
	var onDisk int64
	for _, name := range s.mem.Files() {
		if strings.HasSuffix(name, ".wal") {
			onDisk++
		}
	}
	assert.Equal(t, int64(3), onDisk)
	assert.Greater(t, sum.LogBytes, uint64(106*40), fmt.Sprint(sum))
}
