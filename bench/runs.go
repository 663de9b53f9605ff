package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

// scratch makes a store with so many runs, hands it to use, and removes it.
func scratch(cfg *config, name string, runs int, use func(*store) error) error {
	s, err := cfg.open(name, inmem.Options{})
	if err != nil {
		return err
	}
	if err := s.begin(runs); err != nil {
		return err
	}
	if err := use(s); err != nil {
		return err
	}
	return s.remove()
}

// median is the middle of what fn takes in n calls.
func median(n int, fn func() error) (time.Duration, error) {
	var took []time.Duration
	for range n {
		begun := time.Now()
		if err := fn(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took[n/2], nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// viewing measures that a view of a run costs the same, however large it is.
func viewing(cfg *config, table *table) error {
	const name, few = "view of a run", 10
	if !cfg.wants(name) {
		return nil
	}
	return scratch(cfg, "view", 2, func(s *store) error {
		for i, keys := range []int{few, cfg.sizes.view} {
			for k := range keys {
				if _, err := s.runs[i].KV().Put(ctx, strconv.Itoa(k), nil, kv.Durability(inmem.Async)); err != nil {
					return err
				}
			}
		}
		if err := s.db.Flush(ctx); err != nil {
			return err
		}
		for round := range cfg.rounds {
			progress("round %d of %d: %s", round+1, cfg.rounds, name)
			var ns [2]float64
			for range turns {
				for i, r := range s.runs {
					view := func(*store, *caller) error { return r.View(ctx, func(*inmem.Tx) error { return nil }) }
					n, took, err := s.measure(cfg.callers(1), cfg.cell/turns/2, view)
					if err != nil {
						return err
					}
					ns[i] += float64(took.Nanoseconds()) / float64(n) / turns
				}
			}
			table.add(fmt.Sprintf("%s, %d keys, ns", name, few), 0, ns[0])
			table.add(fmt.Sprintf("%s, %d keys, ns", name, cfg.sizes.view), 0, ns[1])
			table.add(fmt.Sprintf("%s, %d keys / %d keys", name, cfg.sizes.view, few), 0, ns[1]/ns[0])
		}
		return nil
	})
}

// past measures how long it takes to rebuild an old version of a run. Each is
// asked for once, and none that is older than the one before could be built on
// it, so nothing that is kept helps.
func past(cfg *config, table *table) error {
	name := fmt.Sprintf("version of a run of %d commits", cfg.sizes.commits)
	if !cfg.wants(name) {
		return nil
	}
	return scratch(cfg, "past", 10, func(s *store) error {
		c := cfg.callers(1)[0]
		var version uint64
		for i := range cfg.sizes.commits - 1 { // beginning the run was one
			for _, r := range s.runs { // their commits lie between each other, as usual
				var err error
				if version, err = r.KV().Put(ctx, strconv.Itoa(i%100), c.value); err != nil {
					return err
				}
			}
		}
		for round := range cfg.rounds {
			progress("round %d of %d: %s", round+1, cfg.rounds, name)
			took, err := median(10, func() error {
				version--
				_, err := s.runs[0].At(ctx, version)
				return err
			})
			if err != nil {
				return err
			}
			table.add(name+", ms", 0, milliseconds(took))
		}
		return nil
	})
}

// querying measures how long it takes to find a few of many runs by a tag.
func querying(cfg *config, table *table) error {
	const hits = 100
	name := fmt.Sprintf("query by tag, %d of %d runs", hits, cfg.sizes.query)
	if !cfg.wants(name) {
		return nil
	}
	return scratch(cfg, "query", 0, func(s *store) error {
		groups := cfg.sizes.query / hits
		tag := func(i int) map[string]string { return map[string]string{"group": strconv.Itoa(i % groups)} }
		err := parallel(16, func(n int) error {
			for i := n; i < cfg.sizes.query; i += 16 {
				if _, err := s.db.BeginRun(ctx, run.Meta{Tags: tag(i)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		group := 0
		for round := range cfg.rounds {
			progress("round %d of %d: %s", round+1, cfg.rounds, name)
			took, err := median(20, func() error {
				group++
				found := 0
				for _, err := range s.db.Runs(ctx, run.Filter{Tags: tag(group)}) {
					if err != nil {
						return err
					}
					found++
				}
				if found != hits {
					return fmt.Errorf("a query found %d runs", found)
				}
				return nil
			})
			if err != nil {
				return err
			}
			table.add(name+", ms", 0, milliseconds(took))
		}
		return nil
	})
}
