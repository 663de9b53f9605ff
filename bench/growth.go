package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"inmem/bench/child"
	"inmem/bench/report"
	"inmem/bench/store"
	"inmem/bench/workload"
)

// curves is the name of their section.
const curves = "curves"

// sizes returns the data sets of the curves: more and more keys, then more and
// more runs.
func (b *bench) sizes() []workload.Size {
	if !b.cfg.wants(curves) {
		return nil
	}
	most := b.cfg.Keys
	if !b.cfg.quick {
		most *= 10
	}
	var list []workload.Size
	for keys := max(1, b.cfg.Keys/100); keys <= most; keys *= 10 {
		if keys < 4*b.cfg.Runs {
			continue // a run would have next to nothing
		}
		list = append(list, workload.Size{Keys: keys, Runs: b.cfg.Runs, Value: b.cfg.Value})
	}
	for runs := 10; runs <= min(100_000, b.cfg.Keys/4); runs *= 10 {
		if b.cfg.quick && runs > 10 {
			break
		}
		if runs != b.cfg.Runs { // that one is there already
			list = append(list, workload.Size{Keys: b.cfg.Keys, Runs: runs, Value: b.cfg.Value})
		}
	}
	return list
}

// growing is how long the cells of a size take.
func (b *bench) growing(s workload.Size) time.Duration {
	return 500*time.Millisecond + time.Duration(s.Keys)*3*time.Microsecond + time.Duration(3*b.cfg.rounds)*b.timed()
}

// grows are the cells of the curves.
func grows() []workload.Cell {
	var list []workload.Cell
	for _, name := range []string{workload.Get, workload.Put, workload.Half} {
		list = append(list, workload.Cell{Name: name, Class: store.Batched, Callers: 1})
	}
	return list
}

// growth measures what operations of ours cost with more and more in the store.
func (b *bench) growth(ctx context.Context) error {
	i := slices.IndexFunc(b.kinds, func(k store.Kind) bool { return k.Name == report.Ours })
	if i < 0 {
		return nil
	}
	for _, size := range b.sizes() {
		b.progress.step(b.growing(size), "%s: %d keys in %d runs", curves, size.Keys, size.Runs)
		err := b.grown(ctx, b.kinds[i], size)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.results.Problems = append(b.results.Problems, fmt.Sprintf("%d keys in %d runs: %v", size.Keys, size.Runs, err))
		}
	}
	return nil
}

func (b *bench) grown(ctx context.Context, k store.Kind, size workload.Size) error {
	s := &subject{kind: k, class: store.Batched, dir: filepath.Join(b.dir, curves)}
	defer b.end(s)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	var err error
	if s.process, err = child.Start(b.program); err != nil {
		return err
	}
	opened := child.Store{Kind: k.Name, Class: s.class, Dir: filepath.Join(s.dir, "store"), Size: size, Seed: b.cfg.seed}
	if _, err := s.process.Open(ctx, opened); err != nil {
		return err
	}
	if err := s.process.Load(ctx, b.cfg.seed); err != nil {
		return err
	}
	for range b.cfg.rounds {
		for _, c := range grows() {
			if err := b.quiet(ctx, []*subject{s}); err != nil {
				return err
			}
			s.atRest = false
			reply, err := s.process.Cell(ctx, c, b.cfg.cell, b.cfg.cell/4, b.rng.Uint64(), "")
			if err != nil {
				return err
			}
			b.point(c, size, 1e9/reply.Result.Rate())
		}
	}
	return s.err
}

// point writes down a figure in each curve that it is on.
func (b *bench) point(c workload.Cell, size workload.Size, ns float64) {
	add := func(over string, x int) {
		p := b.results.Point(c.Name, over, float64(x))
		p.Values = append(p.Values, ns)
	}
	if size.Runs == b.cfg.Runs {
		add(fmt.Sprintf("keys, in %d runs", size.Runs), size.Keys)
	}
	if size.Keys == b.cfg.Keys {
		add(fmt.Sprintf("runs, with %d keys", size.Keys), size.Runs)
	}
}
