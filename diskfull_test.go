package inmem_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// With a disk too small to create a store in, Open says so; with a larger one
// it works, whatever the attempts before left behind.
func TestFullDiskAtCreation(t *testing.T) {
	disk := vfs.NewMem()
	opts := inmem.Options{FS: disk, Shards: 2}
	refused := 0
	for capacity := int64(1); ; capacity += 16 {
		disk.SetCapacity(capacity)
		db, err := inmem.Open("/store", &opts)
		if err == nil {
			// There may be no room for a second manifest beside the first.
			if err := db.Close(); err != nil {
				require.ErrorIs(t, err, inmem.ErrDiskFull)
			}
			break
		}
		require.ErrorIs(t, err, inmem.ErrDiskFull, "%d bytes", capacity)
		refused++
	}
	assert.Greater(t, refused, 10)
	disk.SetCapacity(0)
	s := openStore(t, disk, "/store", func(o *inmem.Options) { o.Shards = 2 })
	put(t, s.begin(), "k", "v")
}

// While the disk is full writes get ErrDiskFull and reads go on; with space it
// goes on without reopening; nothing that was acknowledged is lost.
func TestFullDiskWhileRunning(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStore(t, func(o *inmem.Options) { o.Durability = mode; o.SegmentSize = 64 << 10; o.Shards = 2 })
			a, b := s.begin(), s.begin()
			put(t, a, "first", "v")
			s.mem.SetCapacity(300 << 10)
			acked := map[string]int{}
			var mu sync.Mutex
			var writers sync.WaitGroup
			for w := range 4 {
				r := []*inmem.Run{a, b}[w%2]
				writers.Go(func() {
					for i := range 400 {
						k, n := fmt.Sprint(w, "/", i), 100+i*5
						_, err := r.KV().Put(ctx, k, big(n))
						if err != nil {
							assert.ErrorIs(t, err, inmem.ErrDiskFull)
							continue
						}
						mu.Lock()
						acked[k] = n
						mu.Unlock()
					}
				})
			}
			ends(t, "writers", writers.Wait)
			require.Less(t, len(acked), 1600, "the disk must have been full")
			refused := map[string]error{"checkpoint": s.DB.Checkpoint(ctx)}
			_, refused["begin"] = s.BeginRun(ctx, run.Meta{Tags: map[string]string{"k": string(big(1)) + fmt.Sprint(big(1000))}})
			var batch kv.Batch
			for i := range 50 {
				batch.Put(key(i), big(2000))
			}
			_, refused["batch"] = a.KV().Write(ctx, &batch)
			requireAll(t, refused, inmem.ErrDiskFull)
			assert.Equal(t, "v", get(t, a, "first"), "reads go on")
			assert.NoError(t, s.Flush(ctx))

			s.mem.SetCapacity(0)
			put(t, a, "after", "v")
			_, err := b.KV().Write(ctx, &batch)
			require.NoError(t, err)
			require.NoError(t, s.DB.Checkpoint(ctx))
			for k, n := range acked {
				r := a
				if k[0]%2 == 1 {
					r = b
				}
				v, err := r.KV().Get(ctx, k)
				require.NoError(t, err)
				require.Equal(t, big(n), v)
			}
			for _, r := range []*inmem.Run{a, b} {
				next := uint64(1)
				for _, c := range history(t, r, 0) {
					require.Equal(t, next, c.Version)
					next++
				}
			}
		})
	}
}

// A store that closes while the disk is full loses nothing.
func TestCloseOnAFullDisk(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Shards = 1 })
	r := s.begin()
	put(t, r, "k", "v")
	s.mem.SetCapacity(1)
	if err := s.Close(); err != nil {
		assert.ErrorIs(t, err, inmem.ErrDiskFull)
	}
	_, err := r.KV().Get(ctx, "k")
	assert.ErrorIs(t, err, inmem.ErrClosed)
	s.mem.SetCapacity(0)
	s.open()
	assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
}

// TestCloseAfterAFullDiskIsClean: a seal that there was no space for is made
// up for once there is.
func TestCloseAfterAFullDiskIsClean(t *testing.T) {
	one := func(o *inmem.Options) { o.Shards = 1 }
	s := newStore(t, one)
	put(t, s.begin(), "k", "v")
	left := openStore(t, s.mem.Clone(), s.dir, one) // its log has no space reserved ahead
	left.mem.SetCapacity(1)
	require.NoError(t, left.Flush(ctx), "there is no space for a seal, which is no error")
	left.mem.SetCapacity(0)
	require.NoError(t, left.Close())
	left.open()
	require.Equal(t, inmem.VerdictClean, left.Recovery().Verdict)
}
