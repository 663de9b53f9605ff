package shard

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"inmem/run"
)

// catalog is the index of a shard's runs, for those who list them. It is made of
// what the owner has published, when somebody asks for it first, and brought up to
// date when somebody asks again: a tree that is shown after each change has to be
// copied path by path, which costs more than the change itself, and runs begin and
// end far more often than somebody lists them.
//
// The owner only notes what changed and waits for nobody. Those who list wait for
// each other, while one of them brings the index up to date.
type catalog struct {
	active  atomic.Bool // there is an index, or one is being made
	mu      sync.Mutex  // of pending; held for a moment
	pending []listed    // what the index does not know yet, in order

	reading sync.Mutex // of index: one changes it at a time
	index   run.Index
	size    atomic.Int64 // bytes of memory that it takes
	memory  *Memory      // is told of them; nil = there is no budget
}

// listed is a change of a run's metadata that was published.
type listed struct {
	info *run.Info
	gone bool // the run was deleted
}

const (
	// maxPending is how many changes wait for somebody to list runs.
	maxPending = 1024
	// catchUp is how many of them the owner takes over for each one beyond that.
	catchUp = 2
)

// note is told by the owner what it has published. Before there is an index it is
// nobody's matter: who makes it looks at what is published.
func (c *catalog) note(changes []listed) {
	if !c.active.Load() {
		return
	}
	c.mu.Lock()
	c.pending = append(c.pending, changes...)
	long := len(c.pending) > maxPending
	c.mu.Unlock()
	if long && c.reading.TryLock() { // else somebody is at it
		c.apply(catchUp * len(changes))
		c.reading.Unlock()
	}
}

// snapshot returns the index as it is now. published calls its argument with all
// runs that are published.
func (c *catalog) snapshot(published func(func(*run.Info))) *run.Index {
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.active.Load() {
		c.active.Store(true) // from here on changes are noted, so none is missed
		var list []*run.Info
		published(func(info *run.Info) { list = append(list, info) })
		c.index.Load(list)
	}
	c.apply(-1)
	return c.index.Snapshot()
}

// apply takes over the oldest changes: so many of them, or with -1 all.
func (c *catalog) apply(n int) {
	c.mu.Lock()
	if n < 0 || n > len(c.pending) {
		n = len(c.pending)
	}
	list := c.pending[:n:n]
	if c.pending = c.pending[n:]; len(c.pending) == 0 {
		c.pending = nil
	}
	c.mu.Unlock()
	defer c.weigh()
	if n > c.index.Len() { // as after an opening: it is quicker to make it anew
		c.remake(list)
		return
	}
	for _, x := range list {
		if x.gone {
			c.index.Remove(x.info)
		} else {
			c.index.Put(x.info)
		}
	}
}

// weigh notes how much memory the index takes.
func (c *catalog) weigh() {
	now := int64(c.index.Len()) * bytesPerListed
	if more := now - c.size.Swap(now); more != 0 && c.memory != nil {
		c.memory.add(more)
	}
}

// remake makes the index anew, of what is in it and the changes.
func (c *catalog) remake(list []listed) {
	runs := map[run.ID]*run.Info{}
	c.index.Scan(&run.Filter{Spaces: true}, func(info *run.Info) bool {
		runs[info.ID] = info
		return true
	})
	for _, x := range list {
		if x.gone {
			delete(runs, x.info.ID)
		} else {
			runs[x.info.ID] = x.info
		}
	}
	c.index = run.Index{}
	c.index.Load(slices.Collect(maps.Values(runs)))
}

// Runs returns the index of the shard's runs as it is now.
func (s *Shard) Runs() *run.Index {
	return s.catalog.snapshot(s.infos)
}
