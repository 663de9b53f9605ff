package shard

import (
	"cmp"
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"inmem/actor"
	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
)

// Memory keeps the runs of a store within a budget: those that were not used for
// longest leave it, ended ones first, if their images on disk are what they are.
// It only chooses; a run's owner lets go of it, and only if nothing happened to
// the run since. A nil Memory has no bounds.
type Memory struct {
	budget int64
	used   atomic.Int64
	// onTheWay is what of that was loaded, and has not arrived at its owner.
	onTheWay atomic.Int64
	// epoch is what a run is stamped with that is used. It goes on when all have
	// been looked through that were in memory when it began, so a stamp costs a
	// reader a write once in a while, not each time.
	epoch atomic.Uint32

	shards []*Shard
	actors []*actor.Actor
	wake   chan struct{} // room for one
	spare  func()        // lets go of what can be made anew
	ctx    context.Context
	stop   context.CancelFunc

	making sync.Mutex // one makes room at a time
	queue  []candidate
	stuck  stuck

	cycles      uint64         // of the collector, when it was last asked to come
	collections sync.WaitGroup // that were asked for
	logged      uint64         // bytes of all logs when images were last taken to make room

	evictions, refusals atomic.Uint64
}

// candidate is a run that could leave memory.
type candidate struct {
	shard   *Shard
	handle  *Handle // and not the snapshot, which would stay in memory as long
	version uint64
	stamp   uint32
	ended   bool
	bytes   int64
}

// stuck is where things stood when there was no room to be made.
type stuck struct {
	used   int64 // 0 = it never came to that
	logged uint64
}

// Shares of the budget.
const (
	// roomShare is kept free, so that writers and readers seldom wait for room,
	// and again as much is made in one go.
	roomShare = 16
	// imageShare is how much is logged at least between images that are taken
	// only to make room.
	imageShare = 16
	// newsShare is how much must have changed before it is tried again to make
	// room where there was none.
	newsShare = 64
	// garbageShare is how much the heap may grow before its garbage is collected.
	garbageShare = 4
	// garbageEvery is how often that is looked at.
	garbageEvery = 20 * time.Millisecond
	// evictTogether bounds the runs of one message, and so how long it takes.
	evictTogether = 64
)

// NewMemory returns the memory of a store with a budget, in bytes; nil for 0.
func NewMemory(budget int64) *Memory {
	if budget == 0 {
		return nil
	}
	m := &Memory{budget: budget, wake: make(chan struct{}, 1)}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.epoch.Store(1)
	return m
}

// Start begins to keep the shards within the budget. Where runs that leave are not
// enough, spare is called: it lets go of what was accounted for by Charge.
func (m *Memory) Start(shards []*Shard, spare func(), onPanic func(error)) {
	if m == nil {
		return
	}
	m.shards, m.spare = shards, spare
	panicked := func(p *actor.PanicError) { onPanic(p) }
	m.actors = []*actor.Actor{actor.Go("memory", m.loop, panicked)}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // else the collector knows better when to come
		m.actors = append(m.actors, actor.Go("garbage", m.sweep, panicked))
	}
	m.nudge()
}

// Stop ends that.
func (m *Memory) Stop() {
	if m == nil {
		return
	}
	m.stop()
	for _, a := range m.actors {
		a.Wait()
	}
	m.collections.Wait()
}

// Charge accounts for memory that is taken beside the runs, for what is made from
// them, or let go of. It waits for nobody.
func (m *Memory) Charge(bytes int64) {
	if m != nil {
		m.add(bytes)
	}
}

// coming accounts for a run that is on its way to its owner, or with fewer than no
// bytes, for one that arrived.
func (m *Memory) coming(bytes int64) {
	if m != nil {
		m.onTheWay.Add(bytes)
		m.add(bytes)
	}
}

// Counts returns how many runs left memory, and how many writes found no room.
func (m *Memory) Counts() (evictions, refusals uint64) {
	if m == nil {
		return 0, 0
	}
	return m.evictions.Load(), m.refusals.Load()
}

// touch notes that a run is used.
func (m *Memory) touch(h *Handle) {
	if e := m.epoch.Load(); h.used.Load() != e {
		h.used.Store(e)
	}
}

// add accounts for memory that a shard took, or let go of.
func (m *Memory) add(n int64) {
	if m.used.Add(n) > m.budget-m.budget/roomShare && n > 0 {
		m.nudge()
	}
}

func (m *Memory) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// full reports whether so many bytes more are too many.
func (m *Memory) full(need int64) bool { return m != nil && m.used.Load()+need > m.budget }

func (m *Memory) loop() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.wake:
		}
		m.making.Lock()
		if !m.hopeless() {
			m.makeRoom(m.ctx, m.budget/roomShare, m.budget/imageShare)
		}
		m.making.Unlock()
	}
}

// sweep lets the garbage collector come in time.
func (m *Memory) sweep() {
	look := time.NewTicker(garbageEvery)
	defer look.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-look.C:
			m.collect()
		}
	}
}

// room makes room for what a reader is about to load. Where there is none to be
// made the reader goes on all the same.
func (m *Memory) room(need int64) {
	if !m.full(need) {
		return
	}
	m.making.Lock()
	defer m.making.Unlock()
	if m.hopeless() {
		return
	}
	m.makeRoom(m.ctx, need, never)
}

// relieve makes room for what a writer is about to add, also by taking images,
// or returns the *op.MemoryLimitError.
func (m *Memory) relieve(ctx context.Context, need int64) error {
	m.making.Lock()
	defer m.making.Unlock()
	if need <= m.budget {
		m.makeRoom(ctx, need, 1)
	}
	if m.full(need) {
		m.refusals.Add(1)
		return &op.MemoryLimitError{Used: m.used.Load(), Needed: need, Budget: m.budget}
	}
	return nil
}

// hopeless reports whether it was tried in vain to make room, and little has
// changed since.
func (m *Memory) hopeless() bool {
	news := m.budget / newsShare
	used := m.used.Load()
	return m.stuck.used != 0 && used > m.stuck.used-news && used < m.stuck.used+news &&
		m.sumLogged() < m.stuck.logged+uint64(news)
}

const never = math.MaxInt64

// makeRoom lets runs go until so many bytes are free, and some more. If there is
// no other way it makes runs clean that are not, where at least so much was logged
// since it did so last. making is held.
func (m *Memory) makeRoom(ctx context.Context, need, logged int64) {
	if !m.full(need) {
		return
	}
	target := m.budget - max(need, m.budget/roomShare) - m.budget/roomShare
	m.evict(target)
	if m.full(need) {
		m.spare()
	}
	if now := m.sumLogged(); m.full(need) && now-m.logged >= uint64(logged) {
		m.logged = now
		for _, s := range m.shards {
			if err := s.Checkpoint(ctx); err != nil {
				break // it is told elsewhere
			}
		}
		m.evict(target)
	}
	m.stuck = stuck{}
	if m.full(need) && m.onTheWay.Load() == 0 { // what arrives may leave again
		m.stuck = stuck{m.used.Load(), m.sumLogged()}
	}
}

func (m *Memory) sumLogged() (n uint64) {
	for _, s := range m.shards {
		n += s.log.Stats().Bytes
	}
	return n
}

// evict lets runs go until no more than so many bytes are used.
func (m *Memory) evict(target int64) {
	for fresh := false; m.used.Load() > target; {
		if len(m.queue) == 0 {
			if fresh {
				return // all have been asked
			}
			m.queue, fresh = m.candidates(), true
		}
		n, bytes := 0, int64(0)
		for n < len(m.queue) && n < evictTogether && bytes < m.used.Load()-target {
			if m.queue[n].shard != m.queue[0].shard && n > 0 {
				break
			}
			bytes += m.queue[n].bytes
			n++
		}
		if n == 0 {
			return
		}
		gone, err := m.queue[0].shard.evict(m.ctx, m.queue[:n])
		m.queue = m.queue[n:]
		m.evictions.Add(uint64(gone))
		if err != nil {
			return
		}
	}
}

// candidates returns the runs that could leave now, those that should first
// first: what was not used lately, ended runs before others, and then the same of
// what was.
func (m *Memory) candidates() (list []candidate) {
	epoch := m.epoch.Load()
	for _, s := range m.shards {
		list = s.candidates(list)
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(
			compareBool(a.stamp == epoch, b.stamp == epoch),
			compareBool(b.ended, a.ended),
			cmp.Compare(a.stamp, b.stamp),
			cmp.Compare(a.shard.cfg.Number, b.shard.cfg.Number),
		)
	})
	m.epoch.Add(1)
	return list
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// candidates appends the runs that are in memory and on disk as they are now.
func (s *Shard) candidates(list []candidate) []candidate {
	images := s.index.Load()
	for _, v := range s.handles.Range {
		h := v.(*Handle)
		snap := h.snapshot.Load()
		if snap == nil || snap == atRest || h.pins.Load() > 0 {
			continue
		}
		if e, ok := images.Find(h.ID); !ok || e.Version != snap.Version {
			continue
		}
		list = append(list, candidate{
			shard: s, handle: h, version: snap.Version, stamp: h.used.Load(),
			ended: snap.Info.Status.Ended(), bytes: snap.bytes,
		})
	}
	return list
}

// evict asks the owner to let go of runs, and returns how many went.
func (s *Shard) evict(ctx context.Context, list []candidate) (gone int, err error) {
	c := s.newCommand(evict, list[0].handle.ID)
	c.evict = list
	mine, err := s.do(ctx, c)
	if !mine {
		return 0, err
	}
	gone = c.gone
	s.release(c)
	return gone, err
}

// evicted is the owner's part. Whatever was used or changed since it was chosen
// stays.
func (s *Shard) evicted(c *command) {
	for i := range c.evict {
		x := &c.evict[i]
		r := s.state.runs[x.handle.ID]
		if r == nil || r.dirty || r.changed || r.version != x.version ||
			x.handle.used.Load() != x.stamp || x.handle.pins.Load() > 0 {
			continue
		}
		s.state.rest(r)
		s.showAtRest(r.handle)
		s.cfg.Left(x.handle.ID)
		c.gone++
	}
}

// show publishes a run as it is now, and accounts for it.
func (s *Shard) show(r *liveRun) {
	before, snap := r.handle.newest(), r.snapshot()
	r.handle.snapshot.Store(snap)
	if !r.handle.told.Load() {
		r.handle.told.Store(true) // or is about to be
	}
	s.count(r.handle, before, snap)
}

// weighLog accounts for what the log keeps in memory.
func (s *Shard) weighLog() {
	if s.memory == nil {
		return
	}
	now := s.log.Stats().Memory
	s.memory.add(now - s.logMemory)
	s.logMemory = now
}

// showAtRest publishes that a run is at rest.
func (s *Shard) showAtRest(h *Handle) {
	before := h.newest()
	h.snapshot.Store(atRest)
	s.count(h, before, h.newest())
}

// count counts a run as it is published; nil = it was not before, or is not any more.
func (s *Shard) count(h *Handle, before, now *Snapshot) {
	more := s.metrics.shown(h, before, now)
	if s.memory != nil {
		s.memory.touch(h)
		if more != 0 {
			s.memory.add(more)
		}
	}
}

// collect lets the garbage collector come. By itself it comes when the heap has
// doubled, which is far beyond the budget. Where the heap is not the store's for the
// most part it is left alone.
func (m *Memory) collect() {
	sample := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(sample)
	objects, live, cycles := sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()
	if cycles == m.cycles || int64(objects-live) < m.budget/garbageShare || int64(live) > 2*m.used.Load() {
		return
	}
	m.cycles = cycles
	// It has done its work long before it returns: then it helps with what is
	// everybody's, and lets everybody else go first.
	m.collections.Go(runtime.GC)
}

// Pin keeps a run in memory until Unpin.
func (h *Handle) Pin() { h.pins.Add(1) }

// Unpin ends what Pin began.
func (h *Handle) Unpin() { h.pins.Add(-1) }

// fits lets a command fail for which there is no room.
func (s *Shard) fits(c *command) bool {
	if s.memory == nil {
		return true
	}
	need := c.grows()
	if need == 0 || !s.memory.full(need) {
		return true
	}
	c.err = &fullError{need}
	return false
}

// fullError says that there is no room for what a command needs. It stays within
// the package: the caller makes room and asks again.
type fullError struct{ need int64 }

func (e *fullError) Error() string { return "shard: the memory budget is used up" }

// What a run takes beside its keys, in bytes. Measured, see docs/decisions/0021.
const (
	// bytesPerRun is of a run that is in memory: its metadata, its places in the
	// tables of runs, its handle, the snapshot, and the entry of its image.
	bytesPerRun = 880
	// bytesPerRest is of one that is at rest, beside its record: the entry.
	bytesPerRest   = 72
	bytesPerHandle = 190 // more, if it was in memory before
	bytesPerListed = 350 // more, once runs are listed
	bytesPerTerm   = 60  // for each tag, of the index
)

// bytesAtRest returns what a run takes that is at rest.
func bytesAtRest(e *checkpoint.Entry) int64 { return bytesPerRest + int64(len(e.Info)) }

// bareBytes returns what a run takes beside its keys.
func bareBytes(i *run.Info) int64 {
	n := bytesPerRun + 2*(len(i.Name)+len(i.Namespace.Tenant)+len(i.Namespace.App)+len(i.Namespace.Agent))
	for k, v := range i.Tags {
		n += bytesPerTerm + 2*(len(k)+len(v)) + 48
	}
	return int64(n)
}
