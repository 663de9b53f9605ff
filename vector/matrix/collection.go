package matrix

import (
	"context"
	"encoding/binary"
	"math"

	"inmem/op"
	"inmem/run"
)

// Collection says what is searched.
type Collection struct {
	Name      string // within its run
	Made      uint64 // the version in which it was made; another one is another collection
	Metric    Metric
	Dimension int // at least 1
	// Keys are those of its vectors, under Tag, which all begin with Prefix.
	Tag    op.Tag
	Keys   op.Range
	Prefix string
	// Vector returns the vector of a value, as little-endian float32s: Dimension of
	// them, finite, and not zero under Cosine. An error ends the search.
	Vector func(value []byte) ([]byte, error)
}

// Set is what a cache keeps of one run. The zero Set keeps nothing: every search
// reads all records.
type Set struct {
	cache *Cache
	id    run.ID
	owner Owner
	past  bool
}

// Owner knows whether anything is to be kept of a run.
type Owner interface {
	// Kept reports whether the run is there, and in memory. Cache.Forget is called
	// after that has changed.
	Kept() bool
}

// Of returns what the cache keeps of a run for as long as its owner does.
func (c *Cache) Of(id run.ID, owner Owner) Set { return Set{cache: c, id: id, owner: owner} }

// Past returns what the cache keeps of a run for searches of what it was: they use
// what is there where it helps, and keep nothing themselves.
func (c *Cache) Past(id run.ID) Set { return Set{cache: c, id: id, past: true} }

// Search returns the nearest vectors of a collection in a view: the highest scores
// first, and of equal scores the lowest keys. The first search of a collection
// reads all its vectors, later ones what was changed since. Errors: those of the
// context, of c.Vector and of q.Accept.
func (s Set) Search(ctx context.Context, view op.View, c *Collection, q *Query) ([]Hit, error) {
	x := &search{scan: newScan(ctx, c.Metric, q), set: s, of: c}
	x.below(view)
	if err := x.prepare(); err != nil {
		return nil, err
	}
	total := len(x.changed)
	if x.scan.matrix != nil {
		total += x.scan.matrix.rows()
	} else {
		total = math.MaxInt / 8
	}
	found := newCollector(min(q.K, max(total, 1)))
	err := x.others(found)
	if err == nil && x.scan.matrix != nil {
		first := 0
		if x.scan.graph != nil {
			first, err = x.scan.indexed(found)
		}
		if err == nil {
			err = x.scan.rows(found, first)
		}
	}
	if err != nil {
		return nil, err
	}
	return x.scan.hits(found), nil
}

// search is one search: a scan, and what goes before it.
type search struct {
	*scan
	set Set
	of  *Collection

	view    op.View            // but for what a transaction has written
	base    op.Snapshot        // the same; nil = it cannot be compared
	own     map[string]op.Item // what a transaction has written; version 0 = deleted
	changed map[string]op.Item // what the rows do not have as it is; version 0 = it is gone
}

// below finds the snapshot that a view stands on.
func (s *search) below(view op.View) {
	s.view = view
	switch v := view.(type) {
	case op.Overlay:
		s.own = map[string]op.Item{}
		s.base = v.Under(s.of.Tag, s.of.Keys, func(key string, is *op.Item) {
			it := op.Item{}
			if is != nil {
				it = *is
			}
			s.own[key] = it
		})
		s.view = s.base
	case op.Snapshot:
		s.base = v
	}
	s.find = func(key string) (op.Item, bool) { return s.view.Get(s.of.Tag, s.of.Prefix+key) }
}

// prepare finds the rows to be scanned, which it brings up to date, those of them
// that do not count, and what is in none. Without rows all records are to be read.
func (s *search) prepare() error {
	if s.set.cache == nil || s.base == nil || s.of.Made == op.Uncommitted {
		return nil
	}
	e := s.set.cache.entry(s.set.id, s.of.Name, !s.set.past)
	if e == nil {
		return nil
	}
	if now := e.current.Load(); now != nil && now.made == s.of.Made && now.version == s.base.Version() && len(s.own) == 0 {
		s.use(e, now)
		return nil
	}
	if err := e.take(s.ctx); err != nil {
		return err
	}
	defer e.release()
	defer func() {
		s.set.cache.settle(e)
		if !s.set.past && !s.set.owner.Kept() { // and Forget may have been called already
			s.set.cache.Forget(s.set.id)
		}
	}()
	ready, err := s.update(e)
	if err != nil {
		e.reset()
		return err
	}
	if ready {
		s.overlay(e)
	}
	return nil
}

// update brings the rows of an entry to the search's version, or finds out what is
// not as they have it. It returns false where they are of no use.
func (s *search) update(e *entry) (ready bool, err error) {
	version := s.base.Version()
	if e.rows != nil && e.made != s.of.Made && !s.set.past {
		if version < e.made {
			return false, nil // of a collection that there was before
		}
		e.reset()
	}
	if e.rows == nil {
		if s.set.past || e.unfit && e.made == s.of.Made {
			return false, nil
		}
		return s.build(e)
	}
	if e.made != s.of.Made {
		return false, nil
	}
	if version < e.base.Version() || s.set.past {
		return s.differing(e), nil
	}
	return s.advance(e)
}

// build makes the rows from the records.
func (s *search) build(e *entry) (bool, error) {
	rows := newBuilder(s.of.Metric, s.of.Dimension)
	var err error
	whole, seen := true, 0
	s.base.Scan(s.of.Tag, s.of.Keys, func(key string, it op.Item) bool {
		if seen++; seen%maxRows == 0 {
			err = s.ctx.Err()
		}
		var vector []byte
		if err == nil {
			vector, err = s.of.Vector(it.Value)
		}
		if err != nil {
			return false
		}
		rows.put(key[len(s.of.Prefix):], vector)
		// What may vanish at any moment, or does not fit, is not kept.
		whole = it.Deadline == 0 && rows.bytes <= s.set.cache.limit
		return whole
	})
	if err != nil {
		return false, err
	}
	e.made, e.unfit = s.of.Made, !whole
	if whole {
		e.rows = rows
		e.show(s.base)
	}
	return whole, nil
}

// show hands the rows out as they are at a version.
func (e *entry) show(base op.Snapshot) {
	e.base = base
	e.current.Store(&current{made: e.made, version: base.Version(), Matrix: e.rows.matrix(), graph: e.graph, rows: e.rows})
}

// use takes the rows, and the index where the search wants one.
func (s *search) use(e *entry, now *current) {
	s.matrix = now.Matrix
	if s.query.Ef > 0 {
		s.set.cache.index(e, now)
		s.graph = now.graph
	}
}

// advance brings the rows to a later version.
func (s *search) advance(e *entry) (bool, error) {
	var err error
	whole, changed := true, false
	s.base.Diff(e.base, s.of.Tag, s.of.Keys, -1, func(key string, _, is *op.Item) bool {
		changed = true
		key = key[len(s.of.Prefix):]
		if is == nil {
			e.rows.remove(key)
			return true
		}
		var vector []byte
		if vector, err = s.of.Vector(is.Value); err != nil {
			return false
		}
		e.rows.put(key, vector)
		whole = is.Deadline == 0
		return whole
	})
	if err != nil {
		return false, err
	}
	if !whole {
		e.reset()
		e.unfit = true
		return false, nil
	}
	if e.rows.wasteful() {
		e.rows, e.graph = e.rows.compacted(), nil // the index is of other numbers
	}
	if changed || e.current.Load() == nil {
		e.show(s.base)
	} else {
		now := *e.current.Load()
		now.version = s.base.Version()
		e.base = s.base
		e.current.Store(&now)
	}
	return true, nil
}

// differing finds out what another version has that the rows have not, if that
// takes less than reading everything.
func (s *search) differing(e *entry) bool {
	s.changed = map[string]op.Item{}
	whole := true
	ready := s.base.Diff(e.base, s.of.Tag, s.of.Keys, 64+len(e.rows.places)/8, func(key string, _, is *op.Item) bool {
		it := op.Item{}
		if is != nil {
			it = *is
		}
		s.changed[string([]byte(key))] = it
		whole = it.Deadline == 0
		return whole
	})
	return ready && whole
}

// overlay takes the rows, and marks those that do not count for this search.
func (s *search) overlay(e *entry) {
	s.use(e, e.current.Load())
	if len(s.own) > 0 && s.changed == nil {
		s.changed = map[string]op.Item{}
	}
	for key, it := range s.own {
		s.changed[key] = it
	}
	for key := range s.changed {
		if at, ok := e.rows.places[key[len(s.of.Prefix):]]; ok {
			if s.without == nil {
				s.without = map[place]struct{}{}
			}
			s.without[at] = struct{}{}
		}
	}
}

// others looks at the vectors that are in no row: all of them where there are no
// rows.
func (s *search) others(found *collector) error {
	vector := make([]float32, s.of.Dimension)
	one := func(key string, it op.Item) error {
		b, err := s.of.Vector(it.Value)
		if err != nil {
			return err
		}
		for i := range vector {
			vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return s.scan.outside(found, key[len(s.of.Prefix):], it, vector)
	}
	if s.matrix != nil {
		for key, it := range s.changed {
			if it.Version == 0 {
				continue
			}
			if err := one(key, it); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	seen := 0
	s.view.Scan(s.of.Tag, s.of.Keys, func(key string, it op.Item) bool {
		if _, own := s.own[key]; own {
			return true
		}
		if seen++; seen%256 == 0 {
			err = s.ctx.Err()
		}
		if err == nil {
			err = one(key, it)
		}
		return err == nil
	})
	for key, it := range s.own {
		if err == nil && it.Version != 0 {
			err = one(key, it)
		}
	}
	return err
}
