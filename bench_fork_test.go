package inmem_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// forkSource is a store on the real disk with a run of 1,000 keys of 256 bytes
// that has so many commits behind it.
func forkSource(b testing.TB, commits int) (*store, *inmem.Run) {
	s := openStore(b, vfs.OS, b.TempDir(), func(o *inmem.Options) { o.Now, o.Shards = time.Now, 2 })
	r, err := s.BeginRun(ctx, run.Meta{Name: "source"})
	require.NoError(b, err)
	value := make([]byte, 256)
	for from := 0; from < 1000; from += 100 {
		var batch kv.Batch
		for i := range 100 {
			batch.Put(fmt.Sprintf("key-%08d", from+i), value)
		}
		_, err := r.KV().Write(ctx, &batch)
		require.NoError(b, err)
	}
	for i := range commits - 10 {
		_, err := r.KV().Put(ctx, fmt.Sprintf("key-%08d", rand.IntN(1000)), fmt.Appendf(value[:0], "%256d", i))
		require.NoError(b, err)
	}
	return s, r
}

// BenchmarkFork forks a run of 1,000 keys of 256 bytes, after a short and after a
// long history, and tells what a fork takes in memory.
func BenchmarkFork(b *testing.B) {
	for _, commits := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("1000keys-%dcommits", commits), func(b *testing.B) {
			s, r := forkSource(b, commits)
			var forks []*inmem.Run
			before := liveHeap()
			b.ReportAllocs()
			for b.Loop() {
				f, err := s.Fork(ctx, r.ID(), 0, run.Meta{})
				if err != nil {
					b.Fatal(err)
				}
				forks = append(forks, f)
			}
			b.ReportMetric(float64(liveHeap()-before)/float64(len(forks)), "heap-B/fork")
			s.abandon()
		})
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
