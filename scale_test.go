package inmem_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// scaleEnv asks for the full sizes of the tests of scale, which take some minutes,
// 4 GB of memory and 25 GB of disk.
const scaleEnv = "INMEM_SCALE"

// scaled returns the full size where it is asked for.
func scaled(t *testing.T, reduced, full int) int {
	if os.Getenv(scaleEnv) == "" {
		t.Logf("reduced to %d; with %s=1 it is %d", reduced, scaleEnv, full)
		return reduced
	}
	return full
}

// took logs how long a part of a test took, and the heap afterwards.
func took(t *testing.T, what string, fn func()) {
	t.Helper()
	begin := time.Now()
	fn()
	after := time.Since(begin).Round(10 * time.Microsecond)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%-40s %12v, heap %6d MB", what, after, m.HeapAlloc>>20)
}

func scaleStore(t *testing.T, change ...func(*inmem.Options)) *store {
	slowAndAlone(t)
	return openStore(t, vfs.OS, t.TempDir(), append(change, func(o *inmem.Options) {
		o.Now, o.Shards = time.Now, 2
	})...)
}

// closed ends the test of a store without the usual pictures of all it has.
func (s *store) closed() {
	require.NoError(s.t, s.Close())
	s.ended = true
}

// TestScaleKeys: a run with a million keys.
func TestScaleKeys(t *testing.T) {
	n := scaled(t, 20_000, 1_000_000)
	s := scaleStore(t)
	r := s.begin()
	name := func(i int) string { return fmt.Sprintf("key-%07d", i) }
	took(t, fmt.Sprint(n, " keys put"), func() {
		var b kv.Batch
		for i := range n {
			b.Put(name(i), append(make([]byte, 0, 256), name(i)...)[:256])
			if b.Len() == 10_000 || i == n-1 {
				_, err := r.KV().Write(ctx, &b)
				require.NoError(t, err)
				b = kv.Batch{}
			}
		}
	})
	digest, version, err := r.Digest()
	require.NoError(t, err)
	took(t, "checkpoint", func() { require.NoError(t, s.Checkpoint(ctx)) })
	took(t, "close", func() { require.NoError(t, s.Close()) })
	took(t, "open", s.open)
	r = s.run(r.ID())
	took(t, "first read", func() { require.Contains(t, get(t, r, name(n/2)), name(n/2)) })
	took(t, "second read", func() { require.Contains(t, get(t, r, name(n/3)), name(n/3)) })
	took(t, "listing", func() {
		i := 0
		for it, err := range r.KV().List(ctx, "", kv.Limit(0)) {
			require.NoError(t, err)
			require.Equal(t, name(i), it.Key)
			i++
		}
		require.Equal(t, n, i)
	})
	took(t, "transaction over all keys", func() {
		require.NoError(t, r.View(ctx, func(tx *inmem.Tx) error {
			for _, err := range tx.KV().List(ctx, "", kv.Limit(0)) {
				require.NoError(t, err)
			}
			return nil
		}))
	})
	var fork *inmem.Run
	took(t, "fork", func() {
		fork, err = s.Fork(ctx, r.ID(), 0, run.Meta{})
		require.NoError(t, err)
	})
	d, v, err := r.Digest()
	require.NoError(t, err)
	require.Equal(t, version, v)
	require.Equal(t, digest, d)
	require.Equal(t, get(t, r, name(1)), get(t, fork, name(1)))
	took(t, "check", func() { require.NoError(t, s.Close()); s.sound() })
	s.ended = true
}

// TestScaleHistory: a run with 10 GB of history, of which few are live.
func TestScaleHistory(t *testing.T) {
	const size = 64 << 10
	n := scaled(t, 200, 160_000)
	s := scaleStore(t, func(o *inmem.Options) {
		if n < 1000 {
			o.SegmentSize = 1 << 20
		}
	})
	r := s.begin()
	value := largeValue(1, size)
	took(t, fmt.Sprint(n, " values of 64 KiB put"), func() {
		for i := range n {
			copy(value, fmt.Sprintf("%10d", i))
			_, err := r.KV().Put(ctx, key(i%100), value)
			require.NoError(t, err)
		}
	})
	took(t, "close", func() { require.NoError(t, s.Close()) })
	took(t, "open", s.open)
	r = s.run(r.ID())
	took(t, "first read", func() { require.Contains(t, get(t, r, key((n-1)%100)), fmt.Sprint(n-1)) })
	took(t, "an early version", func() {
		past, err := r.At(ctx, uint64(n/100))
		require.NoError(t, err)
		b, err := past.KV().Get(ctx, key((n/100-2)%100))
		require.NoError(t, err)
		require.Contains(t, string(b[:10]), fmt.Sprint(n/100-2))
	})
	took(t, "all of the history", func() {
		commits := 0
		for _, err := range r.History(ctx, 0) {
			require.NoError(t, err)
			commits++
		}
		require.Equal(t, n+1, commits)
	})
	took(t, "history off, and pruned", func() {
		require.NoError(t, r.SetHistory(ctx, inmem.NoVersions))
		_, err := s.Prune(ctx, &inmem.PruneOptions{Everything: true})
		require.NoError(t, err)
	})
	var left int64
	require.NoError(t, filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, err := d.Info()
			require.NoError(t, err)
			left += info.Size()
		}
		return err
	}))
	require.Less(t, left, int64(n*size)/2+100*size*2)
	t.Logf("%d MB on disk", left>>20)
	require.Contains(t, get(t, r, key((n-1)%100)), fmt.Sprint(n-1))
	s.closed()
	s.sound()
}

// TestScaleRuns: a million runs.
func TestScaleRuns(t *testing.T) {
	n := scaled(t, 5_000, 1_000_000)
	s := scaleStore(t)
	ids := make([]run.ID, n)
	took(t, fmt.Sprint(n, " runs begun, put into and ended"), func() {
		work := make(chan int)
		ends := make(chan struct{})
		const workers = 16
		for range workers {
			go func() {
				defer func() { ends <- struct{}{} }()
				for i := range work {
					r, err := s.BeginRun(ctx, run.Meta{Tags: map[string]string{"part": fmt.Sprint(i % 1000)}})
					if err == nil {
						ids[i] = r.ID()
						_, err = r.KV().Put(ctx, "number", fmt.Append(nil, i))
					}
					if err == nil {
						err = r.End(ctx, run.Completed)
					}
					if err != nil {
						t.Error(err)
					}
				}
			}()
		}
		for i := range n {
			work <- i
		}
		close(work)
		for range workers {
			<-ends
		}
	})
	took(t, "close", func() { require.NoError(t, s.Close()) })
	took(t, "open", s.open)
	took(t, "first read of a run", func() { require.Equal(t, fmt.Sprint(n/2), get(t, s.run(ids[n/2]), "number")) })
	took(t, "runs of a tag", func() {
		found := 0
		for _, err := range s.Runs(ctx, run.Filter{Tags: map[string]string{"part": "7"}}) {
			require.NoError(t, err)
			found++
		}
		require.Equal(t, n/1000, found)
	})
	took(t, "all runs", func() {
		found := 0
		for _, err := range s.Runs(ctx, run.Filter{}) {
			require.NoError(t, err)
			found++
		}
		require.Equal(t, n, found)
	})
	took(t, "a run begun and put into", func() { put(t, s.begin(), "key", "value") })
	took(t, "metrics", func() {
		runs := 0
		for _, sh := range s.Metrics().Shards {
			runs += int(sh.Runs)
		}
		require.Equal(t, n+1, runs)
	})
	took(t, "checkpoint", func() { require.NoError(t, s.Checkpoint(ctx)) })
	s.closed()
	took(t, "check", s.sound)
}
