package alone

import (
	"fmt"
	"runtime"
	"testing"

	"inmem"
	"inmem/kv"
)

// BenchmarkReopen opens a store all of which is in its log, or in checkpoints.
func BenchmarkReopen(b *testing.B) {
	for _, from := range []string{"log", "checkpoint"} {
		for _, commits := range sized().reopen {
			b.Run(fmt.Sprintf("%s/commits=%d", from, commits), func(b *testing.B) {
				reopen(b, commits, from == "checkpoint")
			})
		}
	}
}

func reopen(b *testing.B, commits int, checkpoint bool) {
	opts := options(inmem.Batched)
	opts.CheckpointBytes = -1
	s := openSet(b, opts, commits, 64, kv.Durability(inmem.Async))
	if checkpoint {
		must(b, s.Checkpoint(ctx))
	}
	must(b, s.Close())
	runtime.GC() // the store before is garbage: not this one's to collect
	for b.Loop() {
		db, err := inmem.Open(s.dir, opts)
		must(b, err)
		b.StopTimer()
		must(b, db.Close())
		db = nil
		runtime.GC()
		b.StartTimer()
	}
	if !checkpoint {
		b.ReportMetric(float64(commits)*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	}
}

// BenchmarkMemory tells what the data set costs in memory, beyond what was there
// before: bytes of heap a key, and in relation to the bytes of keys and values.
func BenchmarkMemory(b *testing.B) {
	keys := sized().keys
	b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
		used := int64(0)
		for b.Loop() {
			before := heap()
			s := openSet(b, options(inmem.Batched), keys, 16)
			used += heap() - before
			must(b, s.Close())
		}
		perKey := float64(used) / float64(b.N) / float64(keys)
		b.ReportMetric(0, "ns/op") // it would be how long loading takes
		b.ReportMetric(perKey, "heap-B/key")
		b.ReportMetric(perKey/float64(len("key-000000000000")+valueSize), "heap/data")
	})
}

// heap returns the bytes that are live after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
