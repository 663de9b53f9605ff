package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"inmem"
	"inmem/kv"
)

func (cfg *config) wants(name string) bool { return strings.Contains(name, cfg.only) }

// reopening measures how long Open takes when all of a store is in its log,
// and when all of it is in checkpoints.
func reopening(cfg *config, table *table) error {
	for _, commits := range cfg.reopen {
		for _, from := range []string{"log", "checkpoint"} {
			name := fmt.Sprintf("reopen, %d commits in the %s", commits, from)
			if !cfg.wants(name) {
				continue
			}
			if err := reopen(cfg, table, name, commits, from == "checkpoint"); err != nil {
				return err
			}
		}
	}
	return nil
}

func reopen(cfg *config, table *table, name string, commits int, checkpoint bool) error {
	opts := inmem.Options{CheckpointBytes: -1}
	s, err := cfg.openSet("reopen", opts)
	if err != nil {
		return err
	}
	if err := s.load(commits, 64, kv.Durability(inmem.Async)); err != nil {
		return err
	}
	if checkpoint {
		if err := s.db.Checkpoint(ctx); err != nil {
			return err
		}
	}
	for round := range cfg.rounds {
		if err := s.db.Close(); err != nil {
			return err
		}
		s.db = nil
		runtime.GC() // the store before is garbage: not this one's to collect
		progress("round %d of %d: %s", round+1, cfg.rounds, name)
		begun := time.Now()
		if s.db, err = inmem.Open(s.dir, &opts); err != nil {
			return err
		}
		took := time.Since(begun)
		table.add(name+", ms", 0, float64(took.Microseconds())/1000)
		if !checkpoint {
			table.add(name+", commits/s", 0, float64(commits)/took.Seconds())
		}
	}
	return s.remove()
}

// memory measures what the data set costs in memory, beyond an empty process.
func memory(cfg *config, table *table) error {
	const name = "memory"
	if !cfg.wants(name) {
		return nil
	}
	progress("loading %d keys to measure memory", cfg.keys)
	before := heap()
	s, err := cfg.openSet("memory", inmem.Options{})
	if err != nil {
		return err
	}
	if err := s.load(cfg.keys, 16); err != nil {
		return err
	}
	used := heap() - before
	perKey := float64(used) / float64(cfg.keys)
	data := float64(len("key-000000000000") + cfg.value)
	table.add(name+": bytes of heap a key", 0, perKey)
	table.add(name+": bytes a key in relation to key + value", 0, perKey/data)
	if rss, err := resident(); err == nil {
		table.add(name+": MB resident", 0, rss/1e6)
	}
	return s.remove()
}

// heap returns the bytes that are live after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resident returns the bytes the process has in memory, where /proc tells.
func resident() (float64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, rss float64
	if _, err := fmt.Sscan(string(b), &size, &rss); err != nil {
		return 0, err
	}
	return rss * float64(os.Getpagesize()), nil
}
