package alone

import (
	"fmt"
	"strconv"
	"testing"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

// putAll puts keys 0 … n-1 into a run, in commits of 1,000.
func putAll(b *testing.B, r *inmem.Run, n int, value func(k int) []byte) {
	b.Helper()
	for k := 0; k < n; {
		var batch kv.Batch
		for end := min(n, k+1000); k < end; k++ {
			batch.Put(fmt.Sprintf("key-%08d", k), value(k))
		}
		_, err := r.KV().Write(ctx, &batch)
		must(b, err)
	}
}

// BenchmarkView views a run: the same, however large it is.
func BenchmarkView(b *testing.B) {
	for _, keys := range sized().view {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := openStore(b, options(inmem.Batched), 1)
			putAll(b, s.runs[0], keys, func(int) []byte { return nil })
			must(b, s.Flush(ctx))
			b.ReportAllocs()
			for b.Loop() {
				must(b, s.runs[0].View(ctx, func(*inmem.Tx) error { return nil }))
			}
		})
	}
}

// BenchmarkAt rebuilds old versions of runs of 1,000 commits. They are asked for
// so that none can be built on one before, and too many are between two requests
// for the same one for it to be kept.
func BenchmarkAt(b *testing.B) {
	const runs, versions = 10, 50
	commits := sized().past
	b.Run(fmt.Sprintf("commits=%d", commits), func(b *testing.B) {
		s := openStore(b, options(inmem.Batched), runs)
		value := newCallers(1)[0].value
		var newest uint64
		for i := range commits - 1 { // beginning the run was one
			for _, r := range s.runs { // their commits lie between each other, as usual
				var err error
				newest, err = r.KV().Put(ctx, strconv.Itoa(i%100), value)
				must(b, err)
			}
		}
		must(b, s.Flush(ctx))
		n := 0
		for b.Loop() {
			version := newest - 1 - uint64(n/runs%versions)
			_, err := s.runs[n%runs].At(ctx, version)
			must(b, err)
			n++
		}
	})
}

// BenchmarkQuery finds 100 runs by a tag.
func BenchmarkQuery(b *testing.B) {
	const hits = 100
	runs := sized().query
	b.Run(fmt.Sprintf("runs=%d", runs), func(b *testing.B) {
		s := openStore(b, options(inmem.Batched), 0)
		groups := runs / hits
		must(b, parallel(16, runs, func(_, n int) error {
			_, err := s.BeginRun(ctx, run.Meta{Tags: map[string]string{"group": strconv.Itoa(n % groups)}})
			return err
		}))
		group := 0
		for b.Loop() {
			group++
			found := 0
			for _, err := range s.Runs(ctx, run.Filter{Tags: map[string]string{"group": strconv.Itoa(group % groups)}}) {
				must(b, err)
				found++
			}
			if found != hits {
				b.Fatalf("a query found %d runs", found)
			}
		}
	})
}

// BenchmarkDiff compares two runs of 1,000 JSON objects, of which 100 are changed
// in one member.
func BenchmarkDiff(b *testing.B) {
	const keys, changed = 1000, 100
	s := openStore(b, options(inmem.Batched), 2)
	for i, r := range s.runs {
		putAll(b, r, keys, func(k int) []byte {
			n := k
			if i == 1 && k%(keys/changed) == 0 {
				n += keys
			}
			value := fmt.Appendf(nil, `{"key":%d,"n":%d,"text":"`, k, n)
			for len(value) < valueSize-2 {
				value = append(value, 'x')
			}
			return append(value, `"}`...)
		})
	}
	p, q := inmem.Point{Run: s.runs[0].ID()}, inmem.Point{Run: s.runs[1].ID()}
	for b.Loop() {
		d, err := s.Diff(ctx, p, q)
		must(b, err)
		if len(d.Keys) != changed {
			b.Fatalf("%d keys differ", len(d.Keys))
		}
	}
}

// BenchmarkFork forks a run of 1,000 keys after a short and after a long history.
// The fork is deleted before the next one.
func BenchmarkFork(b *testing.B) {
	const keys = 1000
	for _, commits := range sized().history {
		b.Run(fmt.Sprintf("commits=%d", commits), func(b *testing.B) {
			s := openStore(b, options(inmem.Batched), 1)
			c, source := newCallers(1)[0], s.runs[0]
			putAll(b, source, keys, func(int) []byte { return c.value })
			for range commits - 2 { // beginning the run was one, putting all another
				_, err := source.KV().Put(ctx, fmt.Sprintf("key-%08d", c.rng.IntN(keys)), c.value, kv.Durability(inmem.Async))
				must(b, err)
			}
			must(b, s.Flush(ctx))
			b.ReportAllocs()
			for b.Loop() {
				fork, err := s.Fork(ctx, source.ID(), 0, run.Meta{})
				must(b, err)
				b.StopTimer()
				must(b, s.DeleteRun(ctx, fork.ID()))
				b.StartTimer()
			}
		})
	}
}
