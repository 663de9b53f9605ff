package main

import (
	"fmt"
	"time"

	"inmem"
	"inmem/kv"
)

// The runs to be compared: so many keys, of so many bytes, and how many of them
// are not the same.
const (
	diffKeys    = 1000
	diffValue   = 256
	diffChanged = 100
)

// diffing measures how long it takes to compare two runs.
func diffing(cfg *config, table *table) error {
	name := fmt.Sprintf("diff of two runs of %d keys of %d B, %d changed, ms", diffKeys, diffValue, diffChanged)
	if !cfg.wants(name) {
		return nil
	}
	return scratch(cfg, "diff", 2, func(s *store) error {
		for i, r := range s.runs {
			if err := fillDiff(r, i == 1); err != nil {
				return err
			}
		}
		a, b := inmem.Point{Run: s.runs[0].ID()}, inmem.Point{Run: s.runs[1].ID()}
		for round := range cfg.rounds {
			progress("round %d of %d: %s", round+1, cfg.rounds, name)
			var took time.Duration
			calls := 0
			for begun := time.Now(); calls == 0 || took < cfg.cell; took = time.Since(begun) {
				d, err := s.db.Diff(ctx, a, b)
				if err != nil {
					return err
				}
				if len(d.Keys) != diffChanged {
					return fmt.Errorf("%d keys differ", len(d.Keys))
				}
				calls++
			}
			table.add(name, 0, milliseconds(took)/float64(calls))
		}
		return nil
	})
}

// fillDiff puts the keys into a run, all at once: JSON objects, of which some are
// changed in one member.
func fillDiff(r *inmem.Run, changed bool) error {
	var batch kv.Batch
	for k := range diffKeys {
		n := k
		if changed && k%(diffKeys/diffChanged) == 0 {
			n += diffKeys
		}
		value := fmt.Appendf(nil, `{"key":%d,"n":%d,"text":"`, k, n)
		for len(value) < diffValue-2 {
			value = append(value, 'x')
		}
		batch.Put(fmt.Sprintf("key-%04d", k), append(value, `"}`...))
	}
	_, err := r.KV().Write(ctx, &batch)
	return err
}
