package alone

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

var ctx = context.Background()

// store is an open store with runs.
type store struct {
	*inmem.DB
	dir     string
	runs    []*inmem.Run
	keys    []string // of each run of the data set, in order
	missing []string // that no run has: one right before each tenth key
}

// options returns those of a mode, and what the flags say.
func options(mode inmem.Durability) *inmem.Options {
	return &inmem.Options{Durability: mode, Shards: *shards, BatchCommits: *window}
}

// openStore makes a store with so many runs, which is closed in the end.
func openStore(b *testing.B, opts *inmem.Options, runs int) *store {
	b.Helper()
	dir := b.TempDir()
	db, err := inmem.Open(dir, opts)
	must(b, err)
	s := &store{DB: db, dir: dir}
	b.Cleanup(func() { must(b, s.Close()) }) // closing twice is no error
	begun := make([]*inmem.Run, runs)
	must(b, parallel(64, runs, func(_, n int) (err error) {
		begun[n], err = db.BeginRun(ctx, run.Meta{})
		return err
	}))
	s.runs = begun
	return s
}

// openSet makes a store with the runs of a data set of so many keys, and loads it
// with so many callers.
func openSet(b *testing.B, opts *inmem.Options, keys, callers int, put ...kv.WriteOption) *store {
	b.Helper()
	s := openStore(b, opts, sized().runs)
	// Made once: formatting a key costs as much as reading it.
	for k := range (keys + len(s.runs) - 1) / len(s.runs) {
		s.keys = append(s.keys, fmt.Sprintf("key-%012d", k))
		if k%10 == 0 {
			s.missing = append(s.missing, fmt.Sprintf("key-%011d!", k/10))
		}
	}
	list := newCallers(callers)
	must(b, parallel(callers, keys, func(c, n int) error {
		_, err := s.runs[n%len(s.runs)].KV().Put(ctx, s.keys[n/len(s.runs)], list[c].value, put...)
		return err
	}))
	return s
}

// loaded makes a store of a mode with the data set, all of it in a checkpoint and
// on the device.
func loaded(b *testing.B, mode inmem.Durability) *store {
	b.Helper()
	s := openSet(b, options(mode), sized().keys, 64, kv.Durability(inmem.Async))
	must(b, s.Checkpoint(ctx))
	must(b, s.Flush(ctx))
	return s
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Helper() // here, as it takes longer than what some benchmarks measure
		b.Fatal(err)
	}
}

// parallel calls do with the numbers below n, from so many goroutines, which it
// numbers too. It returns the first error that one of them met.
func parallel(goroutines, n int, do func(goroutine, n int) error) error {
	// Numbers are taken in pieces: the counter is wanted by all.
	piece := max(1, min(64, n/(64*goroutines)))
	var next atomic.Int64
	errs := make(chan error, goroutines)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for {
				end := int(next.Add(int64(piece)))
				for i := end - piece; i < end; i++ {
					if i >= n {
						return
					}
					if err := do(g, i); err != nil {
						errs <- err
						return
					}
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// caller is a goroutine that calls a store.
type caller struct {
	rng    *rand.Rand
	value  []byte
	number int // among the callers: 0, 1, 2 …
	calls  int // made so far
}

func newCallers(n int) []*caller {
	list := make([]*caller, n)
	for i := range list {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		value := make([]byte, valueSize)
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		list[i] = &caller{rng: rng, value: value, number: i}
	}
	return list
}

// object is a JSON object of the size of a value.
var object = []byte(`{"data":"` + strings.Repeat("x", valueSize-len(`{"data":""}`)) + `"}`)

// concurrently has the callers do b.N operations; a figure for each operation is
// the time of all divided by their number, not what a caller waits.
func concurrently(b *testing.B, s *store, callers int, op func(s *store, c *caller) error) {
	b.Helper()
	must(b, s.Flush(ctx)) // what was written before is not to be synced meanwhile
	list := newCallers(callers)
	b.ReportAllocs()
	b.ResetTimer()
	err := parallel(callers, b.N, func(i, _ int) error {
		c := list[i]
		c.calls++
		return op(s, c)
	})
	b.StopTimer()
	must(b, err)
}

var allCallers = []int{1, 16, 256}

// byCallers is a benchmark for each number of callers.
func byCallers(b *testing.B, s *store, op func(s *store, c *caller) error) {
	for _, callers := range allCallers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { concurrently(b, s, callers, op) })
	}
}
