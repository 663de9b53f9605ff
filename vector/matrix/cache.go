package matrix

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"sync/atomic"

	"inmem/op"
	"inmem/run"
	"inmem/vector/hnsw"
)

// Cache keeps the vectors of collections as searches want them, within a bound of
// memory: those that were not searched for longest go first. A nil Cache keeps
// nothing.
type Cache struct {
	limit  int64
	least  int               // rows that are worth an index
	tail   int               // rows that are worth extending it
	charge func(bytes int64) // told of what is taken, and let go of

	ctx    context.Context // of what is at work in the background
	stop   context.CancelFunc
	guard  func(fn func())
	work   sync.WaitGroup
	worker chan struct{} // room for one: one index is made at a time
	loader chan struct{} // the same for what is loaded, which takes little
	shelf  Shelf         // nil = indexes are kept nowhere else
	told   func(IndexEvent)

	mu      sync.Mutex
	closed  bool
	entries map[run.ID]map[string]*entry
	order   list.List // of *entry, the one that was used last in front
	used    int64
}

// entry is what is kept of one collection.
type entry struct {
	id   run.ID
	name string

	// turn is held by who makes the rows or brings them up to date.
	turn chan struct{}
	made uint64 // the version of the collection's record
	base op.Snapshot
	rows *builder // nil = there are none
	// graph is the index of the first of the rows; nil = there is none.
	graph *hnsw.Graph
	// unfit: the collection is larger than the cache, or not all of it stays.
	unfit bool

	current  atomic.Pointer[current]
	indexing atomic.Pointer[indexing]
	dropped  atomic.Bool     // with its collection
	ctx      context.Context // ends when the entry is dropped
	cancel   context.CancelFunc

	// Guarded by the cache.
	bytes int64
	place *list.Element // nil = it is kept no more
}

// current is a collection at one version.
type current struct {
	made    uint64
	version uint64
	*Matrix
	graph *hnsw.Graph
	rows  *builder // by which the Matrix was made: their numbers are the same
}

// Config is what a Cache is made with.
type Config struct {
	// Limit is how many bytes it takes at most; 0 or less = there is no cache.
	Limit int64
	// Charge is told of each change of what it takes, and must not call it.
	Charge func(bytes int64)
	// Guard is what calls what works in the background: it deals with a panic.
	Guard func(fn func())
	// Least is how many rows are worth an index; 0 = 8,192.
	Least int
	// Shelf keeps indexes; nil = each is made anew.
	Shelf Shelf
	// Told hears what becomes of indexes; nil = nobody does. It must not call the
	// cache.
	Told func(IndexEvent)
}

// NewCache returns a cache, nil where it is to take nothing.
func NewCache(cfg Config) *Cache {
	if cfg.Limit <= 0 {
		return nil
	}
	c := &Cache{
		limit: cfg.Limit, least: cmp.Or(cfg.Least, leastIndexed), charge: cfg.Charge, guard: cfg.Guard, shelf: cfg.Shelf, told: cfg.Told,
		worker: make(chan struct{}, 1), loader: make(chan struct{}, 1), entries: map[run.ID]map[string]*entry{},
	}
	c.tail = c.least / leastShare
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.order.Init()
	return c
}

// Close lets go of everything, and ends what is at work in the background, but for
// an index that is being saved: it has taken long to make. Searches
// go on, and keep nothing that works there.
func (c *Cache) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
	c.Clear()
}

// Used returns how many bytes are taken.
func (c *Cache) Used() int64 {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

// Forget lets go of what is kept of a run.
func (c *Cache) Forget(id run.ID) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries[id] {
		c.drop(e)
	}
}

// Drop lets go of what is kept of a collection that was dropped, in memory or
// elsewhere.
func (c *Cache) Drop(id run.ID, collection string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	if e := c.entries[id][collection]; e != nil {
		e.dropped.Store(true)
		c.drop(e)
	}
	c.mu.Unlock()
	if c.shelf != nil {
		c.shelf.Remove(id, collection)
	}
}

// Clear lets go of everything.
func (c *Cache) Clear() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.order.Len() > 0 {
		c.drop(c.order.Back().Value.(*entry))
	}
}

// drop lets go of an entry. Whoever is at work on it finishes with what is his
// alone then. mu is held.
func (c *Cache) drop(e *entry) {
	if e.place == nil {
		return
	}
	c.order.Remove(e.place)
	e.place = nil
	e.cancel()
	c.resize(e, 0)
	of := c.entries[e.id]
	if delete(of, e.name); len(of) == 0 {
		delete(c.entries, e.id)
	}
}

// resize notes what an entry takes. mu is held.
func (c *Cache) resize(e *entry, bytes int64) {
	if delta := bytes - e.bytes; delta != 0 {
		c.used += delta
		e.bytes = bytes
		c.charge(delta)
	}
}

// entry returns what is kept of a collection, used just now; where there is
// nothing yet it is made, if that is wanted.
func (c *Cache) entry(id run.ID, name string, create bool) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[id][name]; e != nil {
		c.order.MoveToFront(e.place)
		return e
	}
	if !create {
		return nil
	}
	e := &entry{id: id, name: name, turn: make(chan struct{}, 1)}
	e.ctx, e.cancel = context.WithCancel(c.ctx)
	e.place = c.order.PushFront(e)
	if c.entries[id] == nil {
		c.entries[id] = map[string]*entry{}
	}
	c.entries[id][name] = e
	return e
}

// settle accounts for an entry that was worked on, and makes room.
func (c *Cache) settle(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.place == nil {
		return
	}
	bytes := int64(entryBytes)
	if e.rows != nil {
		bytes += e.rows.bytes
	}
	if e.graph != nil {
		bytes += int64(e.graph.Memory())
	}
	c.resize(e, bytes)
	for c.used > c.limit && c.order.Len() > 0 {
		c.drop(c.order.Back().Value.(*entry))
	}
}

// entryBytes is what an entry takes beside its rows.
const entryBytes = 512

// take waits for the turn at an entry.
func (e *entry) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *entry) release() { <-e.turn }

// reset forgets the rows. The turn is held.
func (e *entry) reset() {
	e.rows, e.graph, e.base = nil, nil, nil
	e.current.Store(nil)
}
