package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	coder "github.com/coder/hnsw"

	"inmem/vector"
	"inmem/vector/hnsw"
)

// efs are the numbers of candidates of the curves.
var efs = []int{10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800}

// approximate measures graphs: how they are built, and what is recalled how
// fast.
func (b *bench) approximate(ctx context.Context, d *split, base *baseline) error {
	b.line("\n### Approximate, recall of the nearest %d, one processor\n", nearest)
	b.line("“× exact” is how many times more queries a second than inmem's exact search on one processor.\n")
	b.line("| graph | vectors/s built | MB of graph | ef | recall@%d | µs a query | queries/s | × exact |", nearest)
	b.line("|---|---|---|---|---|---|---|---|")
	if err := b.face(ctx, d, base); err != nil {
		return err
	}
	if b.cfg.alone {
		return b.loaded(ctx, d, base)
	}
	for _, int8 := range []bool{false, true} {
		if err := b.graph(ctx, d, base, int8); err != nil {
			return err
		}
	}
	if d.n > b.cfg.peer {
		b.line("\ncoder/hnsw is left out: see -peer.")
		return b.loaded(ctx, d, base)
	}
	for _, links := range strings.Split(b.cfg.coder, ",") {
		m, err := strconv.Atoi(links)
		if err != nil {
			return fmt.Errorf("-coder: %w", err)
		}
		if err := b.coder(ctx, d, base, m); err != nil {
			return err
		}
	}
	return b.loaded(ctx, d, base)
}

// loaded measures how long it takes, once the store is opened again, until there is
// an index, and makes sure that it finds the same.
func (b *bench) loaded(ctx context.Context, d *split, base *baseline) error {
	b.say("inmem, opened again, %d vectors", d.n)
	saved := base.db.Metrics().Indexes
	find := func() (found [][]int, err error) {
		for i := range d.queries() {
			list, err := base.find(ctx, d.query(i), vector.Approximate(0))
			if err != nil {
				return nil, err
			}
			found = append(found, list)
		}
		return found, nil
	}
	before, err := find()
	if err != nil {
		return err
	}
	var took [3]time.Duration
	for i, step := range []func() error{
		func() error { return base.reopen(ctx) },
		func() error { return base.vectors.Prepare(ctx, words) },
		func() error { return base.vectors.Prepare(ctx, words, vector.Approximate(0)) },
	} {
		begun := time.Now()
		if err := step(); err != nil {
			return err
		}
		took[i] = time.Since(begun)
	}
	after, err := find()
	if err != nil {
		return err
	}
	same := 0
	for i := range before {
		if slices.Equal(before[i], after[i]) {
			same++
		}
	}
	m := base.db.Metrics()
	b.line("\nThe index takes %.1f MB on disk. Opened again (%d ms), the vectors were copied in %d ms and the index loaded in %d ms (loaded %d, made %d); with ef %d, %d of %d queries find the same as before. Copies and index take %.0f MB of memory.",
		float64(saved.Bytes)/1e6, took[0].Milliseconds(), took[1].Milliseconds(), took[2].Milliseconds(), m.Indexes.Loaded, m.Indexes.Made,
		vector.DefaultEf, same, len(before), float64(m.Memory.Vectors)/1e6)
	return nil
}

// face measures the index of a collection, through a run.
func (b *bench) face(ctx context.Context, d *split, base *baseline) (err error) {
	b.say("inmem, approximate, %d vectors", d.n)
	before, begun := heap(), time.Now()
	if err := base.vectors.Prepare(ctx, words, vector.Approximate(0)); err != nil {
		return err
	}
	built := time.Since(begun)
	first := fmt.Sprintf("inmem, through a run | %.0f | %.0f", float64(d.n)/built.Seconds(), float64(heap()-before)/1e6)
	var failed error
	err = b.curve(ctx, d, base, first, func(ef int, q []float32) []int {
		found, err := base.find(ctx, q, vector.Approximate(ef))
		if err != nil {
			failed = err
		}
		return found
	})
	return errors.Join(err, failed)
}

// graph measures our graph alone.
func (b *bench) graph(ctx context.Context, d *split, base *baseline, int8 bool) error {
	name := fmt.Sprintf("inmem, M %d, construction %d", b.cfg.m, b.cfg.ef)
	if int8 {
		name += ", int8"
	}
	b.say("%s, %d vectors", name, d.n)
	p := hnsw.DefaultParams(hnsw.Cosine, d.dim)
	p.M, p.EfConstruction, p.Int8 = b.cfg.m, b.cfg.ef, int8
	builder, err := hnsw.New(p)
	if err != nil {
		return err
	}
	rows := hnsw.Contiguous{Elements: d.elements, Dimension: d.dim}
	begun := time.Now()
	if err := builder.Insert(ctx, rows, d.n, b.cfg.workers); err != nil {
		return err
	}
	g := builder.Graph(rows)
	built := time.Since(begun)
	first := fmt.Sprintf("%s, %d workers | %.0f | %.0f", name, b.cfg.workers, float64(d.n)/built.Seconds(), float64(g.Memory())/1e6)
	var found []int
	return b.curve(ctx, d, base, first, func(ef int, q []float32) []int {
		found = found[:0]
		for _, r := range g.Search(rows, q, nearest, ef, nil) {
			found = append(found, int(r.ID))
		}
		return found
	})
}

// coder measures coder/hnsw. Its search ends when a step finds nothing nearer
// and it has as many results as it was asked for, so EfSearch alone hardly makes
// it find more: it is asked for ef results, and the nearest of these are taken.
func (b *bench) coder(ctx context.Context, d *split, base *baseline, m int) error {
	b.say("coder/hnsw, M %d, %d vectors", m, d.n)
	before := heap()
	g := coder.NewGraph[int]()
	g.Rng, g.M, g.EfSearch = rand.New(rand.NewSource(1)), m, b.cfg.ef
	begun := time.Now()
	for i := range d.n {
		if err := ctx.Err(); err != nil {
			return err
		}
		g.Add(coder.MakeNode(i, d.row(i)))
	}
	built := time.Since(begun)
	first := fmt.Sprintf("coder/hnsw, M %d, EfSearch %d | %.0f | %.0f", m, b.cfg.ef, float64(d.n)/built.Seconds(), float64(heap()-before)/1e6)
	var found []int
	type near struct {
		key      int
		distance float32
	}
	var all []near
	err := b.curve(ctx, d, base, first, func(ef int, q []float32) []int {
		g.EfSearch = ef
		all, found = all[:0], found[:0]
		for _, n := range g.Search(q, max(ef, nearest)) {
			all = append(all, near{n.Key, coder.CosineDistance(q, n.Value)})
		}
		slices.SortFunc(all, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
		for _, n := range all[:min(nearest, len(all))] {
			found = append(found, n.key)
		}
		return found
	})
	runtime.KeepAlive(g)
	return err
}

// curve measures a search for each number of candidates.
func (b *bench) curve(ctx context.Context, d *split, base *baseline, first string, search func(ef int, q []float32) []int) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, ef := range efs {
		hits, right := 0, 0
		for i := range d.queries() {
			found := search(ef, d.query(i))
			right += len(base.right[i])
			for _, n := range base.right[i] {
				if slices.Contains(found, n) {
					hits++
				}
			}
		}
		t, err := b.each(ctx, d, func(q []float32) error {
			search(ef, q)
			return nil
		})
		if err != nil {
			return err
		}
		b.line("| %s | %d | %.4f | %v | %.0f | %.1f |", first, ef, float64(hits)/float64(max(1, right)), t,
			float64(time.Second)/float64(t.median()), float64(base.search.median())/float64(t.median()))
		first = " | | "
	}
	return nil
}
