package inmem_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

// A hundred goroutines write a thousand times each, to runs of their own and to
// one they share. Nothing is lost, and every run's versions have no gaps.
func TestHundredGoroutines(t *testing.T) {
	goroutines, writes := 100, 1000
	if testing.Short() {
		writes = 100
	}
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 1 << 20; o.CheckpointBytes = 1 << 20; o.Shards = 4 })
	shared := s.begin()
	own := make([]*inmem.Run, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			r, err := s.BeginRun(ctx, metaNamed(fmt.Sprint(g)))
			if !assert.NoError(t, err) {
				return
			}
			own[g] = r
			last := uint64(0)
			for i := range writes {
				target, k := r, key(i%100)
				if i%10 == 0 {
					target, k = shared, fmt.Sprint(g, "/", i)
				}
				v, err := target.KV().Put(ctx, k, fmt.Append(nil, i))
				if err != nil || target == r && v <= last {
					t.Errorf("goroutine %d, write %d: version %d after %d, %v", g, i, v, last, err)
					return
				}
				if target == r {
					last = v
				}
				if i%50 == 7 { // what was acknowledged can be read at once
					got, err := target.KV().Get(ctx, k)
					if err != nil || string(got) != fmt.Sprint(i) {
						t.Errorf("goroutine %d reads %q of write %d, %v", g, got, i, err)
						return
					}
				}
			}
		})
	}
	ends(t, "writers", all.Wait)
	info, err := shared.Info()
	require.NoError(t, err)
	assert.Equal(t, uint64(1+goroutines*writes/10), info.LastVersion)
	assert.Len(t, list(t, shared, ""), goroutines*writes/10)
	for g, r := range own {
		info, err := r.Info()
		require.NoError(t, err)
		assert.Equal(t, uint64(1+writes-writes/10), info.LastVersion, g)
	}
	var commits uint64
	for _, m := range s.Metrics().Shards {
		commits += m.Commits
	}
	assert.Equal(t, uint64(1+goroutines+goroutines*writes), commits)
}

// Two keys that are always written together are always equal, whichever way
// they are read, and versions never go back.
func TestReadersSeeWholeCommits(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStore(t, func(o *inmem.Options) { o.Durability = mode })
			r := s.begin()
			stop := make(chan struct{})
			var writers, readers sync.WaitGroup
			var next atomic.Uint64
			write := func() {
				value := binary.BigEndian.AppendUint64(nil, next.Add(1))
				var b kv.Batch
				b.Put("a", value)
				b.Put("m", value)
				b.Put("z", value)
				_, err := r.KV().Write(ctx, &b)
				assert.NoError(t, err)
			}
			write()
			for range 4 {
				writers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							write()
						}
					}
				})
			}
			for range 4 {
				readers.Go(func() {
					last := uint64(0)
					for range 500 {
						items := list(t, r, "")
						if !assert.Len(t, items, 3) {
							return
						}
						assert.Equal(t, items[0].Value, items[1].Value)
						assert.Equal(t, items[0].Value, items[2].Value)
						assert.GreaterOrEqual(t, items[0].Version, last)
						last = items[0].Version
						it, err := r.KV().GetItem(ctx, "m")
						assert.NoError(t, err)
						assert.GreaterOrEqual(t, it.Version, last)
						last = it.Version
						_, v, err := r.Digest()
						assert.NoError(t, err)
						assert.GreaterOrEqual(t, v, last)
					}
				})
			}
			readers.Wait()
			close(stop)
			writers.Wait()
		})
	}
}

// Callers who give up at every possible moment leave a store that is whole: a
// write that failed so happened once or not at all.
func TestAbandonedCalls(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Durability = inmem.Strict })
	r := s.begin()
	var all sync.WaitGroup
	var acked atomic.Uint64
	var unknown atomic.Uint64
	for g := range 16 {
		all.Go(func() {
			for i := range 200 {
				short, cancel := context.WithTimeout(ctx, time.Duration(i%20)*5*time.Microsecond)
				_, err := r.KV().Put(short, fmt.Sprint(g, "/", i), []byte("v"))
				cancel()
				if err == nil {
					acked.Add(1)
				} else if assert.ErrorIs(t, err, context.DeadlineExceeded) {
					unknown.Add(1)
				}
			}
		})
	}
	ends(t, "callers", all.Wait)
	require.NoError(t, s.Flush(ctx))
	n := uint64(len(list(t, r, "")))
	assert.GreaterOrEqual(t, n, acked.Load())
	assert.LessOrEqual(t, n, acked.Load()+unknown.Load())
	info, err := r.Info()
	require.NoError(t, err)
	assert.Equal(t, n+1, info.LastVersion, "each write is one commit")
}

// Everything at once, for the race detector.
func TestEverythingAtOnce(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 32 << 10; o.CheckpointBytes = 16 << 10 })
	shared, err := s.Space(ctx, someNamespace)
	require.NoError(t, err)
	stop := make(chan struct{})
	var all sync.WaitGroup
	loop := func(fn func(i int)) {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					fn(i)
				}
			}
		})
	}
	for g := range 3 {
		loop(func(i int) {
			r, err := s.BeginRun(ctx, metaNamed(fmt.Sprint(g, i)))
			assert.NoError(t, err)
			for k := range 20 {
				_, err := r.KV().Put(ctx, key(k), big(i%500), kv.TTL(time.Duration(1+k)*time.Minute))
				assert.NoError(t, err)
			}
			assert.NoError(t, r.End(ctx, run.Completed))
			if i%2 == 0 {
				assert.NoError(t, s.DeleteRun(ctx, r.ID()))
			}
		})
	}
	loop(func(i int) { _, err := shared.KV().Put(ctx, key(i%100), big(i%1000)); assert.NoError(t, err) })
	loop(func(int) { assert.NoError(t, s.DB.Checkpoint(ctx)) })
	loop(func(int) { assert.NoError(t, s.Flush(ctx)); _ = s.Metrics() })
	loop(func(int) {
		for info, err := range s.Runs(ctx, run.Filter{Reverse: true, Limit: 20, Spaces: true}) {
			if !assert.NoError(t, err) {
				return
			}
			r, err := s.Run(info.ID)
			if err == nil {
				for _, err := range r.History(ctx, 0) {
					if err != nil {
						assert.ErrorIs(t, err, inmem.ErrRunNotFound)
					}
				}
			}
		}
	})
	loop(func(int) { list(t, shared, "key-") })
	for range 20 {
		s.wall.move(10 * time.Second)
		time.Sleep(10 * time.Millisecond) // how long the others have, no more
	}
	close(stop)
	ends(t, "all", all.Wait)
}
