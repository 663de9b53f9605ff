package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/philippgille/chromem-go"

	"inmem"
	inrun "inmem/run"
	"inmem/vector"
	"inmem/vector/distance"
)

const nearest = 10 // how many are looked for

// answers are what is right: for each query the numbers of the nearest.
type answers [][]int

// exact measures exact search; base is told what it found and how long a query
// took with us, on one processor.
func (b *bench) exact(ctx context.Context, d *split, base *baseline) error {
	b.line("\n### Exact, the nearest %d by cosine\n", nearest)
	b.line("| | ingest, vectors/s | first search, ms | µs a query, one processor | µs a query, all | MB |")
	b.line("|---|---|---|---|---|---|")
	if err := b.ours(ctx, d, base); err != nil {
		return fmt.Errorf("inmem: %w", err)
	}
	if b.cfg.alone {
		return nil
	}
	if err := b.chromem(ctx, d, base); err != nil {
		return fmt.Errorf("chromem-go: %w", err)
	}
	dots := make([]float32, d.n)
	t, err := b.each(ctx, d, func(q []float32) error {
		distance.Dots(dots, q, d.elements)
		return nil
	})
	if err != nil {
		return err
	}
	b.line("| dot products alone | | | %v | | %.0f |", t, float64(4*len(d.elements))/1e6)
	b.line("\ninmem is durable: its vectors are in a log on the disk when they are acknowledged (mode Batched, 500 a commit). chromem-go v0.7.0 is in memory only here. On one processor inmem takes %.1f times less than chromem-go.",
		float64(base.chromem)/float64(base.search.median()))
	return nil
}

// baseline is what exact search takes, and finds.
type baseline struct {
	search  times // ours, on one processor
	chromem time.Duration
	right   answers

	// The store, which is open until all was measured.
	dir     string
	db      *inmem.DB
	vectors vector.Store
}

// ours measures the face of a run, and leaves its store open.
func (b *bench) ours(ctx context.Context, d *split, base *baseline) error {
	b.say("inmem, exact, %d vectors", d.n)
	before := heap()
	if err := base.open(ctx, b.cfg.dir); err != nil {
		return err
	}
	s := base.vectors
	if _, err := s.Create(ctx, words, vector.Config{Dimension: d.dim, Metric: vector.Cosine}); err != nil {
		return err
	}
	begun := time.Now()
	for i := 0; i < d.n; i += 500 {
		var list []vector.New
		for j := i; j < min(i+500, d.n); j++ {
			list = append(list, vector.New{Key: strconv.Itoa(j), Vector: d.row(j)})
		}
		if _, err := s.UpsertBatch(ctx, words, list); err != nil {
			return err
		}
	}
	ingest := time.Since(begun)
	search := func(q []float32) error {
		_, err := s.Search(ctx, words, q, nearest, vector.Workers(runtime.GOMAXPROCS(0)))
		return err
	}
	begun = time.Now()
	if err := search(d.query(0)); err != nil {
		return err
	}
	first := time.Since(begun)
	memory := heap() - before
	if err := onOne(func() (err error) {
		base.search, err = b.each(ctx, d, search)
		return err
	}); err != nil {
		return err
	}
	all, err := b.each(ctx, d, search)
	if err != nil {
		return err
	}
	b.line("| inmem | %.0f | %d | %v | %v | %.0f |", float64(d.n)/ingest.Seconds(), first.Milliseconds(), base.search, all, float64(memory)/1e6)
	for i := range d.queries() {
		right, err := base.find(ctx, d.query(i))
		if err != nil {
			return err
		}
		base.right = append(base.right, right)
	}
	return nil
}

// words is the collection.
const words = "words"

// open makes a store with a run.
func (base *baseline) open(ctx context.Context, parent string) (err error) {
	if base.dir, err = os.MkdirTemp(parent, "vectors-"); err != nil {
		return err
	}
	return base.reopen(ctx)
}

// reopen opens the store, again or for the first time.
func (base *baseline) reopen(ctx context.Context) (err error) {
	if base.db != nil {
		if err := base.db.Close(); err != nil {
			return err
		}
	}
	if base.db, err = inmem.Open(base.dir, nil); err != nil {
		return err
	}
	r, err := base.db.Space(ctx, inrun.Namespace{Tenant: "bench", App: "bench", Agent: "bench"})
	if err != nil {
		return err
	}
	base.vectors = r.Vectors()
	return nil
}

func (base *baseline) close() error {
	var err error
	if base.db != nil {
		err = base.db.Close()
	}
	return errors.Join(err, os.RemoveAll(base.dir))
}

// find returns the numbers of what a search finds.
func (base *baseline) find(ctx context.Context, query []float32, opts ...vector.SearchOption) ([]int, error) {
	hits, err := base.vectors.Search(ctx, words, query, nearest, opts...)
	if err != nil {
		return nil, err
	}
	found := make([]int, len(hits))
	for i, h := range hits {
		if found[i], err = strconv.Atoi(h.Key); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// chromem measures chromem-go.
func (b *bench) chromem(ctx context.Context, d *split, base *baseline) error {
	b.say("chromem-go, %d vectors", d.n)
	before := heap()
	c, err := chromem.NewDB().CreateCollection("words", nil, func(context.Context, string) ([]float32, error) {
		return nil, errors.New("vectors are given")
	})
	if err != nil {
		return err
	}
	list := make([]chromem.Document, d.n)
	for i := range list {
		list[i] = chromem.Document{ID: strconv.Itoa(i), Embedding: d.row(i)}
	}
	begun := time.Now()
	if err := c.AddDocuments(ctx, list, runtime.NumCPU()); err != nil {
		return err
	}
	ingest := time.Since(begun)
	clear(list)
	memory := heap() - before
	search := func(q []float32) error {
		_, err := c.QueryEmbedding(ctx, q, nearest, nil, nil)
		return err
	}
	begun = time.Now()
	if err := search(d.query(0)); err != nil {
		return err
	}
	first := time.Since(begun)
	var one times
	if err := onOne(func() (err error) {
		one, err = b.each(ctx, d, search)
		return err
	}); err != nil {
		return err
	}
	all, err := b.each(ctx, d, search)
	if err != nil {
		return err
	}
	base.chromem = one.median()
	b.line("| chromem-go | %.0f | %d | %v | %v | %.0f |", float64(d.n)/ingest.Seconds(), first.Milliseconds(), one, all, float64(memory)/1e6)
	return nil
}
