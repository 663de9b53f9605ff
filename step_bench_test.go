package inmem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

// BenchmarkDo is one step more, and one put beside it.
func BenchmarkDo(b *testing.B) {
	for _, mode := range []inmem.Durability{inmem.Async, inmem.Batched, inmem.Strict} {
		db, err := inmem.Open(b.TempDir(), &inmem.Options{Durability: mode})
		require.NoError(b, err)
		r, err := db.BeginRun(ctx, run.Meta{})
		require.NoError(b, err)
		b.Run(fmt.Sprint("step/", mode), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				_, err := inmem.Do(ctx, r, "step", i, func(context.Context) (int, error) { return i, nil })
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprint("put/", mode), func(b *testing.B) {
			for range b.N {
				_, err := r.KV().Put(ctx, "key", []byte("value"))
				require.NoError(b, err)
			}
		})
		require.NoError(b, db.Close())
	}
}

// BenchmarkResume is an agent that finds 10,000 steps recorded.
func BenchmarkResume(b *testing.B) {
	db, err := inmem.Open(b.TempDir(), &inmem.Options{Durability: inmem.Async})
	require.NoError(b, err)
	defer db.Close()
	begun, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(b, err)
	agent := func(r *inmem.Run) {
		for i := range 10_000 {
			_, err := inmem.Do(ctx, r, "step", i, func(context.Context) (int, error) { return i, nil })
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	agent(begun)
	b.ResetTimer()
	for range b.N {
		r, err := db.Resume(ctx, begun.ID())
		require.NoError(b, err)
		agent(r)
	}
}

// BenchmarkWaiting is the memory of agents that sleep or await.
func BenchmarkWaiting(b *testing.B) {
	const agents = 10_000
	for name, wait := range map[string]func(context.Context, *inmem.Run) error{
		"sleep": func(ctx context.Context, r *inmem.Run) error { return r.Sleep(ctx, time.Hour) },
		"await": func(ctx context.Context, r *inmem.Run) error { _, err := inmem.Await[int](ctx, r, "go"); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				db, err := inmem.Open(b.TempDir(), &inmem.Options{Durability: inmem.Async})
				require.NoError(b, err)
				db.Agents().Register("waits", func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) { return nil, wait(ctx, r) })
				inUse := func() uint64 {
					runtime.GC()
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					return m.HeapInuse + m.StackInuse
				}
				before := inUse()
				for range agents {
					_, err := db.Agents().Start(ctx, "waits", run.Meta{}, nil)
					require.NoError(b, err)
				}
				time.Sleep(500 * time.Millisecond) // all of them wait
				b.ReportMetric(float64(inUse()-before)/agents, "B/agent")
				require.NoError(b, db.Close())
			}
		})
	}
}
