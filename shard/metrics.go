package shard

import (
	"sync"
	"sync/atomic"

	"inmem/retention"
)

// counters are written by the owner and read by anybody.
type counters struct {
	commits, batches, commands, largest atomic.Uint64
	lent                                atomic.Uint64
	expired, checkpoints, loads         atomic.Uint64
	listed                              atomic.Uint64 // changes of metadata
	runs                                atomic.Int64

	removed, compacted, freed, rewritten atomic.Uint64
	dead                                 atomic.Int64

	keys                         keyCount
	bytes, cold, untold, cutting atomic.Int64 // of all runs, as published
}

// shown counts a run that is published, nil for one that is not any more or was
// not before, and returns how many bytes more it takes.
func (c *counters) shown(h *Handle, before, now *Snapshot) (bytes int64) {
	if more := present(now) - present(before); more != 0 {
		c.runs.Add(more)
	}
	was, is := before.tally(), now.tally()
	if was.keys != is.keys || was.loose != is.loose {
		c.keys.change(h, &was, &is)
	}
	for _, x := range [...]struct {
		sum  *atomic.Int64
		more int64
	}{{&c.bytes, is.bytes - was.bytes}, {&c.cold, is.cold - was.cold}, {&c.untold, is.untold - was.untold}} {
		if x.more != 0 {
			x.sum.Add(x.more)
		}
	}
	if before == nil || now == nil || before.Info != now.Info { // seldom
		if more := now.cutting() - before.cutting(); more != 0 {
			c.cutting.Add(more)
		}
	}
	return is.bytes - was.bytes
}

// present is 1 if there is a run.
func present(s *Snapshot) int64 {
	if s == nil {
		return 0
	}
	return 1
}

// tally is what a run adds to the figures of its shard.
type tally struct {
	keys, bytes int64
	loose       bool  // counting keys takes time, for what was put lately: keys is 0
	cold        int64 // 1 if it is
	untold      int64 // deadlines that ttl has not been told of
}

func (s *Snapshot) tally() (t tally) {
	switch {
	case s == nil:
		return t
	case s.cold != nil:
		if t.cold = 1; s.cold.earliest != 0 {
			t.untold = int64(s.Deadlines) - 1
		}
	case !s.keys.Settled():
		t.loose = true
	}
	if t.bytes = s.bytes; !t.loose {
		t.keys = int64(s.Len())
	}
	return t
}

// keyCount counts keys. Those of runs with puts that are not settled are counted
// when somebody asks: a put does not know whether its key is new.
type keyCount struct {
	mu    sync.Mutex
	sum   int64 // of the other runs
	loose map[*Handle]struct{}
}

func (k *keyCount) change(h *Handle, was, is *tally) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sum += is.keys - was.keys
	switch {
	case is.loose && !was.loose:
		if k.loose == nil {
			k.loose = map[*Handle]struct{}{}
		}
		k.loose[h] = struct{}{}
	case was.loose && !is.loose:
		delete(k.loose, h)
	}
}

// count returns how many there are. A run that is in the set is not in the sum,
// whatever was published of it meanwhile.
func (k *keyCount) count() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.sum
	for h := range k.loose {
		if snap := h.newest(); snap != nil {
			n += int64(snap.Len())
		}
	}
	return n
}

// cutting is 1 if the run's own setting keeps less than its whole history.
func (s *Snapshot) cutting() int64 {
	if s == nil {
		return 0
	}
	if text, own := s.Info.Tags[retention.TagHistory]; own && text != retention.AllVersions.String() {
		return 1
	}
	return 0
}

// swept counts what a sweep did.
func (c *counters) swept(out *Swept) {
	c.removed.Add(uint64(out.Removed))
	c.compacted.Add(uint64(out.Compacted))
	c.freed.Add(uint64(max(out.Freed, 0)))
	c.rewritten.Add(uint64(out.Written))
	c.dead.Store(max(out.DeadBytes-out.Freed, 0))
}

// batch counts a batch of n commands, of which some made a commit.
func (c *counters) batch(n, commits int) {
	c.batches.Add(1)
	c.commands.Add(uint64(n))
	c.commits.Add(uint64(commits))
	if uint64(n) > c.largest.Load() {
		c.largest.Store(uint64(n))
	}
}

// Metrics are a shard's figures: counts since the store was opened, but for
// QueueDepth, Runs and Keys, which are as of now.
type Metrics struct {
	Commits      uint64 // logged
	Batches      uint64 // one write of the log each
	Commands     uint64 // in all batches: Commands / Batches is the mean batch
	LargestBatch uint64 // commands
	Lent         uint64 // commands that their callers carried out themselves
	QueueDepth   int    // commands waiting in the mailbox
	LogBytes     uint64 // handed to the operating system
	LogSyncs     uint64
	LogSegments  uint64 // begun
	Runs         int64  // live, spaces included
	Keys         int64  // live, of all tags
	Expired      uint64 // keys removed because their deadline passed
	Checkpoints  uint64
	Bytes        int64  // of memory that the runs take, those on disk with what is known of them, and the newest of the log
	ColdRuns     int64  // of Runs, those whose keys are only on disk
	Loads        uint64 // of such runs into memory

	// What retention did to the log: see inmem.DB.Prune.
	SegmentsRemoved   uint64 // files that were given back as a whole
	SegmentsCompacted uint64 // files that were made anew without what is not kept
	FreedBytes        uint64 // given back by both …
	RewrittenBytes    uint64 // … and written for it
	DeadBytes         int64  // left as of the last sweep, in segments of which more is kept than not
}

// Metrics returns the shard's figures.
func (s *Shard) Metrics() Metrics {
	m := Metrics{
		Commits: s.metrics.commits.Load(), Batches: s.metrics.batches.Load(),
		Commands: s.metrics.commands.Load(), LargestBatch: s.metrics.largest.Load(), Lent: s.metrics.lent.Load(),
		Runs:    s.metrics.runs.Load(),
		Expired: s.metrics.expired.Load(), Checkpoints: s.metrics.checkpoints.Load(),
		Loads: s.metrics.loads.Load(),
		Keys:  s.metrics.keys.count(), Bytes: s.metrics.bytes.Load() + s.catalog.size.Load(), ColdRuns: s.metrics.cold.Load(),
		SegmentsRemoved: s.metrics.removed.Load(), SegmentsCompacted: s.metrics.compacted.Load(),
		FreedBytes: s.metrics.freed.Load(), RewrittenBytes: s.metrics.rewritten.Load(), DeadBytes: s.metrics.dead.Load(),
	}
	if !s.readOnly() {
		log := s.log.Stats()
		m.QueueDepth = s.mailbox.Len()
		m.Bytes += log.Memory
		m.LogBytes, m.LogSyncs, m.LogSegments = log.Bytes, log.Syncs, log.Segments
	}
	return m
}

// Untold returns how many deadlines ttl does not know of: those of runs that were
// not in memory yet, but for one each, which stands for them.
func (s *Shard) Untold() int { return int(s.metrics.untold.Load()) }

// Listed returns how often the metadata of runs changed, deletions included.
func (s *Shard) Listed() uint64 { return s.metrics.listed.Load() }

// CutsHistory reports whether some run's own setting keeps less than its whole
// history.
func (s *Shard) CutsHistory() bool { return s.metrics.cutting.Load() > 0 }
