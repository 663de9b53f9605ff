package matrix

import (
	"context"
	"math"
	"runtime"

	"inmem/op"
	"inmem/run"
	"inmem/vector/distance"
	"inmem/vector/hnsw"
)

// The index of a collection is a graph over the first of its rows. It is made from
// a Matrix in the background, and only where somebody searches for what is about the
// nearest; nobody waits for it. It is as good as the rows: who compacts them drops
// it. Where there is a Shelf it is saved there, and loaded when it is wanted again.

const (
	// leastIndexed is how many rows are worth an index: below that, looking at all of
	// them takes about as long.
	leastIndexed = 8192
	// tailShare of the indexed rows may follow them before the index is extended, and
	// in any case leastShare of those that are worth an index: 2,048.
	tailShare  = 10
	leastShare = 4
	// refusedShare of the indexed rows may be refused by a filter before all rows are
	// looked at instead, and leastRefused in any case.
	refusedShare = 32
	leastRefused = 1024
)

// indexing is the making of an index.
type indexing struct{ done chan struct{} }

// wantsIndex reports whether an index is to be made, or extended.
func (c *Cache) wantsIndex(now *current) bool {
	rows, indexed := now.Matrix.rows(), 0
	if now.graph != nil {
		indexed = now.graph.Len()
	}
	switch {
	case rows < c.least || rows > hnsw.MaxLen || now.rows.wild > 0:
		return false
	case indexed > 0:
		return rows-indexed > max(c.tail, indexed/tailShare)
	}
	// About what it will take: if that is too much, the rows had to go for it.
	return now.rows.bytes+paramsOf(now.Matrix).Memory(rows) <= c.limit
}

// paramsOf returns what an index of m is made with.
func paramsOf(m *Matrix) hnsw.Params {
	p := hnsw.DefaultParams(hnsw.Metric(m.metric), m.dimension)
	p.Int8 = true // a third faster for a quarter of the memory that the rows take
	return p
}

// workers is how many goroutines make an index: half of the processors are left to
// those who search and write.
func workers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// IndexKind says what became of an index.
type IndexKind uint8

// What becomes of an index.
const (
	Made   IndexKind = iota + 1 // or extended
	Saved                       // on the shelf; with Err it was not
	Loaded                      // from there; with Err it is made anew
)

// IndexEvent tells what became of an index.
type IndexEvent struct {
	Run        run.ID
	Collection string
	Kind       IndexKind
	Rows       int
	Bytes      int64 // on the shelf
	Err        error
}

func (c *Cache) tell(e IndexEvent) {
	if c.told != nil {
		c.told(e)
	}
}

// index begins to make an index, or to extend it, where there is one to be made. It
// returns what is being made, nil for nothing.
func (c *Cache) index(e *entry, now *current) *indexing {
	if x := e.indexing.Load(); x != nil {
		return x
	}
	if !c.wantsIndex(now) {
		return nil
	}
	x := &indexing{done: make(chan struct{})}
	if !e.indexing.CompareAndSwap(nil, x) {
		return e.indexing.Load()
	}
	end := func() {
		e.indexing.Store(nil)
		close(x.done)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || e.place == nil {
		end()
		return nil
	}
	c.work.Go(func() {
		defer end()
		c.guard(func() { c.makeIndex(e, now) })
	})
	return x
}

// makeIndex is what happens in the background. It ends early when the entry is
// dropped or the cache is closed.
func (c *Cache) makeIndex(e *entry, now *current) {
	if now.graph == nil && c.load(e, now) {
		return
	}
	select {
	case c.worker <- struct{}{}:
	case <-e.ctx.Done():
		return
	}
	defer func() { <-c.worker }()
	graph := now.build(e.ctx)
	if graph == nil {
		return
	}
	c.tell(IndexEvent{Run: e.id, Collection: e.name, Kind: Made, Rows: graph.Len()})
	c.publish(e, now, graph)
	// Whatever became of the entry: what was made is good for the vectors that stay.
	c.save(e, now.Matrix, graph)
}

// build makes an index of all rows, or extends what there is of it; nil = it was
// ended, or there is no index of such vectors.
func (now *current) build(ctx context.Context) *hnsw.Graph {
	var b *hnsw.Builder
	if now.graph != nil {
		b = now.graph.Extend()
	} else {
		var err error
		if b, err = hnsw.New(paramsOf(now.Matrix)); err != nil {
			return nil
		}
	}
	if b.Insert(ctx, now.Matrix, now.Matrix.rows(), workers()) != nil {
		return nil
	}
	for at := range now.parts {
		p := &now.parts[at]
		for row := range p.n {
			if p.isDead(row) {
				b.Delete(uint32(now.layout.first(at) + row))
			}
		}
	}
	return b.Graph(now.Matrix)
}

// publish lets searches use an index.
func (c *Cache) publish(e *entry, now *current, graph *hnsw.Graph) {
	if e.take(e.ctx) != nil {
		return
	}
	defer e.release()
	if e.rows != now.rows {
		return // the rows have other numbers by now
	}
	e.graph = graph
	newest := *e.current.Load()
	newest.graph = graph
	e.current.Store(&newest)
	c.settle(e)
}

// indexed adds what the index finds, and returns how many rows it has looked among:
// none where a filter refuses so many that it is of no use.
func (s *scan) indexed(c *collector) (rows int, err error) {
	m, g := s.matrix, s.graph
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	query := s.unit // which has the same order, and no norm that is too large
	if m.metric == Euclidean && !(distance.Norm(query) < greatestNorm) || c.k > g.Len()/4 {
		return 0, nil
	}
	refused := 0
	most := max(leastRefused, g.Len()/refusedShare)
	accept := func(id uint32) bool {
		if err != nil || refused > most {
			return true // it is in vain: let it end
		}
		at := m.layout.place(int(id))
		if _, out := s.without[at]; out || m.parts[at.part].isDead(int(at.row)) {
			return false
		}
		if s.query.Accept == nil {
			return true
		}
		key := m.parts[at.part].keys[at.row]
		it, ok := s.find(key)
		if ok {
			ok, err = s.accept(key, it)
		}
		if !ok {
			refused++
		}
		return ok
	}
	found := g.Search(m, query, c.k, min(max(s.query.Ef, c.k), math.MaxInt32), accept)
	if err != nil || refused > most {
		return 0, err
	}
	for _, r := range found {
		at := m.layout.place(int(r.ID))
		c.add(s.candidate(m.parts[at.part].keys[at.row], m.Row(r.ID)))
	}
	return g.Len(), nil
}

// Prepare makes what searches of a collection want: its rows, and with index the
// index, where that makes sense; and waits for it. Errors: those of the context and
// of c.Vector.
func (s Set) Prepare(ctx context.Context, view op.View, c *Collection, index bool) error {
	// What was made may have to go at once, for others; it is not tried for ever.
	for range 3 {
		x := &search{scan: newScan(ctx, Euclidean, &Query{K: 1}), set: s, of: c}
		x.below(view)
		if err := x.prepare(); err != nil || x.matrix == nil || !index {
			return err
		}
		e := s.cache.entry(s.id, c.Name, false)
		if e == nil {
			return nil
		}
		now := e.current.Load()
		if now == nil {
			return nil
		}
		making := s.cache.index(e, now)
		if making == nil {
			return nil
		}
		select {
		case <-making.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
