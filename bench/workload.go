package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

var (
	callers = []int{1, 16, 256}
	modes   = []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async}
)

// store is an open store with the runs of the data set.
type store struct {
	cfg  *config
	dir  string
	db   *inmem.DB
	runs []kv.Store
	keys []string // of one run; all runs have the same
}

// open makes a new store under a name of its own.
func (cfg *config) open(name string, opts inmem.Options) (*store, error) {
	s := &store{cfg: cfg, dir: filepath.Join(cfg.dir, name)}
	opts.Shards, opts.BatchCommits = cfg.shards, cfg.window
	var err error
	if s.db, err = inmem.Open(s.dir, &opts); err != nil {
		return nil, err
	}
	for range cfg.runs {
		r, err := s.db.BeginRun(context.Background(), run.Meta{})
		if err != nil {
			return nil, err
		}
		s.runs = append(s.runs, r.KV())
	}
	// Made once: formatting a key costs as much as reading it.
	for k := range (cfg.keys + cfg.runs - 1) / cfg.runs {
		s.keys = append(s.keys, fmt.Sprintf("key-%012d", k))
	}
	return s, nil
}

// remove closes the store and deletes its files.
func (s *store) remove() error {
	if err := s.db.Close(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// key returns the n-th key of the data set and the run it is in.
func (s *store) key(n int) (kv.Store, string) {
	return s.runs[n%len(s.runs)], s.keys[n/len(s.runs)]
}

// load puts the keys [0, n) with the given number of callers.
func (s *store) load(n, callers int, opts ...kv.WriteOption) error {
	var next atomic.Int64
	return parallel(callers, func(rng *rand.Rand) error {
		value := s.cfg.newValue(rng)
		for {
			k := int(next.Add(1)) - 1
			if k >= n {
				return nil
			}
			st, key := s.key(k)
			if _, err := st.Put(context.Background(), key, value, opts...); err != nil {
				return err
			}
		}
	})
}

func (cfg *config) newValue(rng *rand.Rand) []byte {
	value := make([]byte, cfg.value)
	for i := range value {
		value[i] = byte(rng.Uint32())
	}
	return value
}

// parallel runs work in n goroutines, each with its own source of randomness,
// and returns the first error.
func parallel(n int, work func(*rand.Rand) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = work(rand.New(rand.NewPCG(uint64(i), 1))) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// operation is what one cell does over and over.
type operation func(s *store, rng *rand.Rand, value []byte) error

func put(s *store, rng *rand.Rand, value []byte) error {
	st, key := s.key(rng.IntN(s.cfg.keys))
	_, err := st.Put(context.Background(), key, value)
	return err
}

func get(s *store, rng *rand.Rand, _ []byte) error {
	st, key := s.key(rng.IntN(s.cfg.keys))
	_, err := st.Get(context.Background(), key)
	return err
}

func mixed(s *store, rng *rand.Rand, value []byte) error {
	if rng.IntN(2) == 0 {
		return put(s, rng, value)
	}
	return get(s, rng, value)
}

// scan reads 100 keys of a run in order.
func scan(s *store, rng *rand.Rand, _ []byte) error {
	perRun := s.cfg.keys / s.cfg.runs
	st := s.runs[rng.IntN(len(s.runs))]
	from := s.keys[rng.IntN(max(1, perRun-100))]
	n := 0
	for _, err := range st.Range(context.Background(), from, "", kv.Limit(100)) {
		if err != nil {
			return err
		}
		n++
	}
	if n < min(100, perRun) {
		return fmt.Errorf("a scan found %d keys", n)
	}
	return nil
}

// measure runs op in n goroutines for the time of a cell, and returns how many
// there were a second.
func (s *store) measure(n int, op operation) (float64, error) {
	var count atomic.Int64
	begun := time.Now()
	end := begun.Add(s.cfg.cell)
	err := parallel(n, func(rng *rand.Rand) error {
		value := s.cfg.newValue(rng)
		done := 0
		defer func() { count.Add(int64(done)) }()
		// The clock is asked once in a while only: it costs as much as a read.
		for batch := 1; time.Now().Before(end); batch = min(batch*2, 64) {
			for range batch {
				if err := op(s, rng, value); err != nil {
					return err
				}
			}
			done += batch
		}
		return nil
	})
	return float64(count.Load()) / time.Since(begun).Seconds(), err
}

// cell is one figure of the report.
type cell struct {
	name    string
	mode    inmem.Durability
	callers int
	op      operation
}

// cells are in the order of their measurement: those that only read come
// first, while nothing that was written keeps the background busy.
func cells() []cell {
	var list []cell
	add := func(name string, mode inmem.Durability, op operation) {
		for _, n := range callers {
			list = append(list, cell{name, mode, n, op})
		}
	}
	add("get", inmem.Batched, get)
	add("scan of 100", inmem.Batched, scan)
	for _, mode := range modes {
		add("put "+mode.String(), mode, put)
	}
	add("50/50", inmem.Batched, mixed)
	return list
}

// throughput measures all cells, in rounds. One store is open at a time: what
// one leaves to do in the background must not be another's cost.
func throughput(cfg *config, table *table) error {
	stop, err := profile(cfg.cpu)
	if err != nil {
		return err
	}
	for round := range cfg.rounds {
		for _, mode := range modes {
			progress("round %d of %d: %s", round+1, cfg.rounds, mode)
			if err := measureMode(cfg, table, mode); err != nil {
				return err
			}
		}
	}
	return stop()
}

// measureMode measures the cells of one mode on a store of its own, loaded and
// at rest.
func measureMode(cfg *config, table *table, mode inmem.Durability) error {
	wanted := slices.DeleteFunc(cells(), func(c cell) bool { return c.mode != mode || !cfg.wants(c.name) })
	if len(wanted) == 0 {
		return nil
	}
	s, err := cfg.open("store", inmem.Options{Durability: mode})
	if err != nil {
		return err
	}
	if err := s.load(cfg.keys, 64, kv.Durability(inmem.Async)); err != nil {
		return err
	}
	if err := errors.Join(s.db.Checkpoint(ctx), s.db.Flush(ctx)); err != nil {
		return err
	}
	for _, c := range wanted {
		rate, err := s.measure(c.callers, c.op)
		if err != nil {
			return err
		}
		table.add(c.name, c.callers, rate)
	}
	return s.remove()
}

// profile begins a CPU profile, if a file is named, and returns what ends it.
func profile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}
