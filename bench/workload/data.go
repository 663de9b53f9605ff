// Package workload says what is done to a store in each cell, and holds a store
// to what it was given while it is done. It times nothing itself.
package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"inmem/bench/store"
)

// Size is how large the data set is. Each run has Keys/Runs keys, or one more.
type Size struct {
	Keys  int `json:"keys"`
	Runs  int `json:"runs"`
	Value int `json:"value"` // bytes
}

// Data is the data set: the names of its keys, and random bytes to put there. It
// belongs to one store, and counts what was added to it.
type Data struct {
	Size
	names    []string // of the keys of any run, in order
	missing  []string // keys that no run has: one right before each tenth of its keys
	pool     []byte   // values are pieces of it
	inserted sequence // keys beyond the set, by the cells that insert
	begun    int      // runs beyond the set
}

// poolSize is 4 MiB: pieces that begin anywhere in it seldom overlap, so that no
// store finds anything to compress in a block.
const poolSize = 4 << 20

// NewData makes the keys, before anything is timed. The same seed gives the same
// values.
func NewData(size Size, seed uint64) *Data {
	perRun := (size.Keys + size.Runs - 1) / size.Runs
	d := &Data{Size: size, pool: make([]byte, poolSize+size.Value), begun: size.Runs}
	for i := range 2*perRun + 1000 { // with room for those that will be inserted
		d.names = append(d.names, fmt.Sprintf("key-%012d", i))
	}
	for i := 0; i < perRun; i += 10 { // between neighbours there are no others of 16 B
		d.missing = append(d.missing, fmt.Sprintf("key-%011d!", i/10))
	}
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	rand.NewChaCha8(key).Read(d.pool)
	return d
}

// Key returns the n-th key and the run that it is in.
func (d *Data) Key(n int) (run int, key string) {
	run, i := n%d.Runs, n/d.Runs
	if i < len(d.names) {
		return run, d.names[i]
	}
	return run, fmt.Sprintf("key-%012d", i)
}

// perRun is how many keys each run has at least.
func (d *Data) perRun() int { return d.Keys / d.Runs }

// value returns random bytes that nobody may change.
func (d *Data) value(rng *rand.Rand) []byte {
	at := rng.IntN(poolSize)
	return d.pool[at : at+d.Value]
}

// newRand returns the random numbers of a goroutine.
func newRand(seed uint64, number int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(number)))
}

// loadBatch is how many pairs of a run one commit of a load has.
const loadBatch = 100

// Load puts the whole set into a store that has none of it, in commits of 100
// keys by 64 goroutines, and flushes it. It is no cell: it has to be quick also
// where each commit is synced.
func (d *Data) Load(ctx context.Context, st store.Store, seed uint64) error {
	if err := d.writeAll(ctx, st, seed, loadBatch); err != nil {
		return err
	}
	return st.Flush()
}

// overwriteBatch is how many pairs a commit of Overwrite has.
const overwriteBatch = 10

// Overwrite puts each key of the set once more, in commits of 10 keys.
func (d *Data) Overwrite(ctx context.Context, st store.Store, seed uint64) error {
	return d.writeAll(ctx, st, seed, overwriteBatch)
}

// writeAll writes each key once; neighbours in a run are in one commit, and the
// commits of all runs lie between each other.
func (d *Data) writeAll(ctx context.Context, st store.Store, seed uint64, batch int) error {
	perRun := (d.Keys + d.Runs - 1) / d.Runs
	batches := (perRun + batch - 1) / batch * d.Runs
	var next atomic.Int64
	return each(64, func(number int) error {
		rng, pairs := newRand(seed, number), make([]store.Pair, 0, batch)
		for {
			n := int(next.Add(1)) - 1
			if n >= batches || ctx.Err() != nil {
				return context.Cause(ctx)
			}
			pairs = pairs[:0]
			run, from := n%d.Runs, n/d.Runs*batch
			for i := from; i < min(from+batch, perRun) && i*d.Runs+run < d.Keys; i++ {
				pairs = append(pairs, store.Pair{Key: d.names[i], Value: d.value(rng)})
			}
			if len(pairs) == 0 {
				continue
			}
			if err := st.Write(run, pairs); err != nil {
				return fmt.Errorf("write of %d keys: %w", len(pairs), err)
			}
		}
	})
}

// each calls work in n goroutines, which it numbers.
func each(n int, work func(number int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = work(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// sequence gives numbers, and knows up to which one all are done.
type sequence struct {
	next, done atomic.Int64
	mu         sync.Mutex
	ahead      map[int64]struct{} // done, but one before is not
}

// take returns the next number: 0, 1, 2 …
func (s *sequence) take() int64 { return s.next.Add(1) - 1 }

// finish says that the insert of a number was acknowledged.
func (s *sequence) finish(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ahead == nil {
		s.ahead = map[int64]struct{}{}
	}
	s.ahead[n] = struct{}{}
	done := s.done.Load()
	for {
		if _, ok := s.ahead[done]; !ok {
			break
		}
		delete(s.ahead, done)
		done++
	}
	s.done.Store(done)
}
