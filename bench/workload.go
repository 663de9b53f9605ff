package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
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

// store is an open store.
type store struct {
	cfg  *config
	dir  string
	db   *inmem.DB
	runs []*inmem.Run
	keys []string // of one run of the data set; all its runs have the same
}

// open makes a new store under a name of its own.
func (cfg *config) open(name string, opts inmem.Options) (*store, error) {
	s := &store{cfg: cfg, dir: filepath.Join(cfg.dir, name)}
	opts.Shards, opts.BatchCommits = cfg.shards, cfg.window
	var err error
	s.db, err = inmem.Open(s.dir, &opts)
	return s, err
}

// begin begins runs.
func (s *store) begin(n int) error {
	for range n {
		r, err := s.db.BeginRun(ctx, run.Meta{})
		if err != nil {
			return err
		}
		s.runs = append(s.runs, r)
	}
	return nil
}

// openSet makes a new store with the runs of the data set.
func (cfg *config) openSet(name string, opts inmem.Options) (*store, error) {
	s, err := cfg.open(name, opts)
	if err != nil {
		return nil, err
	}
	// Made once: formatting a key costs as much as reading it.
	for k := range (cfg.keys + cfg.runs - 1) / cfg.runs {
		s.keys = append(s.keys, fmt.Sprintf("key-%012d", k))
	}
	return s, s.begin(cfg.runs)
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
	return s.runs[n%len(s.runs)].KV(), s.keys[n/len(s.runs)]
}

// load puts the keys [0, n) with the given number of callers.
func (s *store) load(n, callers int, opts ...kv.WriteOption) error {
	var next atomic.Int64
	list := s.cfg.callers(callers)
	return parallel(callers, func(i int) error {
		for {
			k := int(next.Add(1)) - 1
			if k >= n {
				return nil
			}
			st, key := s.key(k)
			if _, err := st.Put(ctx, key, list[i].value, opts...); err != nil {
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

// parallel runs work in n goroutines, which it numbers, and returns the first
// error.
func parallel(n int, work func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = work(i) })
	}
	all.Wait()
	return cmp.Or(errs...)
}

// caller is a goroutine of a cell.
type caller struct {
	rng    *rand.Rand
	value  []byte
	object []byte // a JSON object as long as value, if there is room
	number int    // among the callers: 0, 1, 2 …
	calls  int    // made so far
}

func (cfg *config) callers(n int) []*caller {
	list := make([]*caller, n)
	for i := range list {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		text := strings.Repeat("x", max(0, cfg.value-len(`{"data":""}`)))
		list[i] = &caller{rng: rng, value: cfg.newValue(rng), object: []byte(`{"data":"` + text + `"}`), number: i}
	}
	return list
}

// operation is what one cell does over and over.
type operation func(s *store, c *caller) error

func put(s *store, c *caller) error {
	st, key := s.key(c.rng.IntN(s.cfg.keys))
	_, err := st.Put(ctx, key, c.value)
	return err
}

func get(s *store, c *caller) error {
	st, key := s.key(c.rng.IntN(s.cfg.keys))
	_, err := st.Get(ctx, key)
	return err
}

func mixed(s *store, c *caller) error {
	if c.rng.IntN(2) == 0 {
		return put(s, c)
	}
	return get(s, c)
}

// scan reads 100 keys of a run in order.
func scan(s *store, c *caller) error {
	perRun := s.cfg.keys / s.cfg.runs
	st := s.runs[c.rng.IntN(len(s.runs))].KV()
	from := s.keys[c.rng.IntN(max(1, perRun-100))]
	n := 0
	for _, err := range st.Range(ctx, from, "", kv.Limit(100)) {
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

// measure lets the callers do an operation for a while, each at least once, and
// returns how often they did it, and in what time.
func (s *store) measure(list []*caller, d time.Duration, op operation) (int, time.Duration, error) {
	var count atomic.Int64
	begun := time.Now()
	end := begun.Add(d)
	err := parallel(len(list), func(i int) error {
		c, before := list[i], list[i].calls
		defer func() { count.Add(int64(c.calls - before)) }()
		// The clock is asked once in a while only: it costs as much as a read.
		for batch := 1; ; batch = min(batch*2, 64) {
			for range batch {
				if err := op(s, c); err != nil {
					return err
				}
				c.calls++
			}
			if !time.Now().Before(end) {
				return nil
			}
		}
	})
	return int(count.Load()), time.Since(begun), err
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
	compared := slices.DeleteFunc(pairs(), func(p pair) bool { return p.mode != mode || !cfg.wants(p.name()) })
	if len(wanted)+len(compared) == 0 {
		return nil
	}
	s, err := cfg.openSet("store", inmem.Options{Durability: mode})
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
		n, took, err := s.measure(cfg.callers(c.callers), cfg.cell, c.op)
		if err != nil {
			return err
		}
		table.add(c.name, c.callers, float64(n)/took.Seconds())
	}
	for _, p := range compared {
		ratio, err := s.compare(p)
		if err != nil {
			return err
		}
		table.add(p.name(), 0, ratio)
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
