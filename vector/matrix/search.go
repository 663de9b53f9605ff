package matrix

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"sync"

	"inmem/op"
	"inmem/vector/distance"
	"inmem/vector/hnsw"
)

// Query is what is searched for.
type Query struct {
	Vector []float32 // finite, as long as the collection's dimension says; not zero under Cosine
	K      int       // how many; at least 1
	// Accept chooses which vectors count, by their key and item; nil = all of them.
	// It is asked only about those that may be among the nearest, from one goroutine
	// at a time. An error ends the search.
	Accept func(key string, it op.Item) (bool, error)
	// Ef lets the index of a large collection be used, where there is one, which keeps
	// so many candidates; 0 = the search is exact. Rows that the index does not know
	// yet are looked at one by one.
	Ef int
	// Workers is how many goroutines scan at the same time; 0 and 1: the caller's.
	Workers int
}

// Hit is one of the nearest.
type Hit struct {
	Key   string
	Score float64
	Item  op.Item // its value is the store's
}

// candidate is a vector that may be among the nearest. Its figure, higher for
// nearer vectors, lies between low and high.
type candidate struct {
	key       string
	item      op.Item // of a vector that is in no row
	vector    []float32
	low, high float64
}

// collector gathers candidates.
type collector struct {
	k         int
	best      []float64 // the k highest lows, a heap with the lowest on top
	list      []candidate
	tidyAt    int
	threshold float64 // what k candidates reach for certain
}

func newCollector(k int) *collector {
	return &collector{k: k, threshold: math.Inf(-1), tidyAt: 2*k + 256}
}

func (c *collector) add(x candidate) {
	c.list = append(c.list, x)
	c.reach(x.low)
	if len(c.list) >= c.tidyAt {
		c.tidy()
		c.tidyAt = max(c.tidyAt, 2*len(c.list))
	}
}

// tidy drops the candidates that are out by now.
func (c *collector) tidy() {
	c.list = slices.DeleteFunc(c.list, func(x candidate) bool { return x.high < c.threshold })
}

// reach notes that a candidate reaches a figure for certain.
func (c *collector) reach(low float64) {
	if len(c.best) < c.k {
		c.best = append(c.best, low)
		for i := len(c.best) - 1; i > 0 && c.best[i] < c.best[(i-1)/2]; i = (i - 1) / 2 {
			c.best[i], c.best[(i-1)/2] = c.best[(i-1)/2], c.best[i]
		}
	} else if low > c.best[0] {
		c.best[0] = low
		for i := 0; ; {
			least := 2*i + 1
			if least+1 < len(c.best) && c.best[least+1] < c.best[least] {
				least++
			}
			if least >= len(c.best) || c.best[i] <= c.best[least] {
				break
			}
			c.best[i], c.best[least] = c.best[least], c.best[i]
			i = least
		}
	}
	if len(c.best) == c.k {
		c.threshold = c.best[0]
	}
}

// merge takes over what another collector found.
func (c *collector) merge(other *collector) {
	c.list = append(c.list, other.list...)
	for _, low := range other.best {
		c.reach(low)
	}
}

// scan is a search under way: what is common to all who work on it.
type scan struct {
	ctx     context.Context
	matrix  *Matrix
	graph   *hnsw.Graph // of the first rows; nil = there is none, or none is wanted
	query   *Query
	scorer  scorer
	unit    []float32 // the query as the kernels get it: a unit vector, but under Euclidean
	find    func(key string) (op.Item, bool)
	without map[place]struct{} // rows that do not count

	accepting sync.Mutex // Accept is not asked twice at a time
}

func newScan(ctx context.Context, metric Metric, q *Query) *scan {
	s := &scan{ctx: ctx, query: q, scorer: scorer{metric, q.Vector, norm(metric, q.Vector)}, unit: q.Vector}
	if metric == Euclidean {
		return s
	}
	if n := distance.Norm(q.Vector); n > 0 {
		s.unit = make([]float32, len(q.Vector))
		for i, x := range q.Vector {
			s.unit[i] = float32(float64(x) / n)
		}
	}
	return s
}

// accept asks whether a vector counts.
func (s *scan) accept(key string, it op.Item) (bool, error) {
	if s.query.Accept == nil {
		return true, nil
	}
	s.accepting.Lock()
	defer s.accepting.Unlock()
	return s.query.Accept(key, it)
}

// outside adds a vector that is in no row, with its exact figure.
func (s *scan) outside(c *collector, key string, it op.Item, v []float32) error {
	if s.highest(v) < c.threshold {
		return nil
	}
	x := s.candidate(key, v)
	x.item = it
	if x.high < c.threshold {
		return nil
	}
	ok, err := s.accept(key, it)
	if ok && err == nil {
		x.key, x.vector = strings.Clone(key), slices.Clone(v)
		c.add(x)
	}
	return err
}

// highest returns a bound of a vector's figure, computed in float32; +Inf where that
// says nothing. It spares most vectors the exact one.
func (s *scan) highest(v []float32) float64 {
	high := math.Inf(1)
	if s.scorer.metric == Euclidean {
		squared := distance.SquaredEuclidean(s.query.Vector, v)
		high = distance.SquaredEuclideanError(len(v), squared) - float64(squared)
	} else if square := float64(distance.Dot(v, v)); square > leastNorm*leastNorm && square < greatestNorm*greatestNorm {
		// The norm has a relative error below the bound, too.
		norm, bound := math.Sqrt(square), 4*distance.DotError(len(v)+roundings, 1, 1)
		high = float64(distance.Dot(s.unit, v)) + bound*norm
		if s.scorer.metric == Cosine {
			high /= norm
		}
	}
	if math.IsNaN(high) {
		return math.Inf(1)
	}
	return high
}

// candidate returns a vector with its exact figure.
func (s *scan) candidate(key string, v []float32) candidate {
	figure := s.scorer.score(v)
	switch s.scorer.metric {
	case Dot: // the figures of rows are those of a query of length 1
		if n := distance.Norm(s.query.Vector); n > 0 {
			figure /= n
		}
	case Euclidean:
		figure = -distance.SquaredEuclideanFloat64(s.query.Vector, v)
	}
	rounding := 0x1p-40 * math.Abs(figure)
	return candidate{key: key, vector: v, low: figure - rounding, high: figure + rounding}
}

// rows scans the rows of the matrix from a number on.
func (s *scan) rows(c *collector, first int) error {
	from, parts := 0, len(s.matrix.parts)
	if first > 0 {
		from = int(s.matrix.layout.place(first).part)
	}
	workers := min(s.query.Workers, parts-from)
	if workers <= 1 {
		w := worker{scan: s, collector: c}
		return w.scanParts(from, parts, first)
	}
	team := make([]worker, workers)
	errs := make([]error, workers)
	var all sync.WaitGroup
	for i := range team {
		w := &team[i]
		*w = worker{scan: s, collector: newCollector(c.k)}
		n := parts - from
		all.Go(func() { errs[i] = w.scanParts(from+i*n/workers, from+(i+1)*n/workers, first) })
	}
	all.Wait()
	for i := range team {
		c.merge(team[i].collector)
	}
	return cmp.Or(errs...)
}

// hits computes the candidates that are left exactly and returns the nearest.
func (s *scan) hits(c *collector) []Hit {
	c.tidy()
	list := make([]Hit, len(c.list))
	for i := range c.list {
		x := &c.list[i]
		list[i] = Hit{Key: x.key, Score: s.scorer.score(x.vector), Item: x.item}
	}
	slices.SortFunc(list, func(a, b Hit) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Key, b.Key)) })
	list = list[:min(len(list), s.query.K)]
	for i := range list {
		if h := &list[i]; h.Item.Version == 0 {
			h.Item, _ = s.find(h.Key)
		}
	}
	return list
}
