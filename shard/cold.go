package shard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/ordered"
	"inmem/run"
	"inmem/ttl"
)

// Whoever needs the keys of a run that is at rest first reads them, beside the
// owner, who then takes them over: nobody else waits for the disk.

// errCold says that the owner needs the keys of a run that is cold. It stays
// within the package: the caller loads the run and asks again.
var errCold = errors.New("shard: the run is not in memory")

// contents is what a run has in memory while it is warm.
type contents struct {
	keys      *ordered.Map // nil = the run is at rest
	epoch     uint64       // version of the key op.Epoch; 0 = it is not there
	deadlines int          // known of a cold run, too
}

// put takes an item of the run's image, and appends its deadline to timers.
func (c *contents) put(id run.ID, mapKey []byte, it op.Item, timers []ttl.Change) []ttl.Change {
	key := unsafe.String(unsafe.SliceData(mapKey), len(mapKey))
	c.keys.Put(key, it)
	if op.Tag(key[0]) == op.Epoch.Tag && key[1:] == op.Epoch.Key {
		c.epoch = it.Version
	}
	if it.Deadline != 0 {
		c.deadlines++
		timers = append(timers, ttl.Change{Run: id, Key: string(mapKey), Version: it.Version, Deadline: it.Deadline})
	}
	return timers
}

// cold stands for the keys of a run that is at rest.
type cold struct {
	counts ordered.Counts
	image  int64 // bytes of it
	// earliest is the first of the keys' deadlines, of a run whose deadlines ttl
	// has not been told of one by one; 0 = it has.
	earliest int64
}

// loaded is a run as it was read from its image. The owner takes the contents over;
// until then, and where there is no owner any more, readers have the snapshot.
type loaded struct {
	contents
	timers []ttl.Change
	snap   *Snapshot
	bytes  int64 // of its keys
}

// loading is a run that is being read from its image, or was and is on its way to
// the owner.
type loading struct {
	version uint64
	mu      sync.Mutex // held by who reads
	loaded  atomic.Pointer[loaded]
}

// loads are those of a shard.
type loads struct {
	mu    sync.Mutex
	under map[run.ID]*loading
}

// join returns the loading of a run at a version, for all who want it.
func (l *loads) join(id run.ID, version uint64) *loading {
	l.mu.Lock()
	defer l.mu.Unlock()
	way := l.under[id]
	if way == nil || way.version != version {
		if l.under == nil {
			l.under = map[run.ID]*loading{}
		}
		way = &loading{version: version}
		l.under[id] = way
	}
	return way
}

// end forgets the loading of a run at a version.
func (l *loads) end(id run.ID, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if way := l.under[id]; way != nil && way.version == version {
		delete(l.under, id)
	}
}

// Load returns the newest published version of a run, and reads the run from
// disk where it is cold. The error is run.ErrDeleted, a *op.CorruptError where
// the image is damaged, which concerns nothing but this run, or what the disk says.
func (s *Shard) Load(h *Handle) (*Snapshot, error) {
	snap := h.snapshot.Load()
	if snap == nil || snap == atRest {
		return s.loadAtRest(h)
	}
	if s.memory != nil {
		s.memory.touch(h)
	}
	return snap, nil
}

func (s *Shard) loadAtRest(h *Handle) (*Snapshot, error) {
	for {
		snap := h.newest()
		switch {
		case snap == nil:
			return nil, run.ErrDeleted
		case snap.cold == nil: // somebody was faster
			return s.Load(h)
		}
		warm, err := s.thaw(h, snap)
		if err == nil {
			return warm, nil
		}
		if now := h.newest(); now != nil && now.cold != nil && now.Version == snap.Version {
			return nil, err
		}
		// The run went on meanwhile, and with it its image.
	}
}

// thaw loads a run that is at rest, once however many come for it.
func (s *Shard) thaw(h *Handle, snap *Snapshot) (*Snapshot, error) {
	way := s.loads.join(h.ID, snap.Version)
	if l := way.loaded.Load(); l != nil {
		return l.snap, nil
	}
	way.mu.Lock()
	defer way.mu.Unlock()
	if l := way.loaded.Load(); l != nil {
		return l.snap, nil
	}
	if now := h.snapshot.Load(); now != nil && now != atRest {
		s.loads.end(h.ID, snap.Version)
		return now, nil // somebody else's loading ended before this one began
	}
	s.memory.room(snap.cold.image)
	l, err := s.readGuarded(snap)
	if err != nil {
		s.loads.end(h.ID, snap.Version)
		return nil, err
	}
	s.metrics.loads.Add(1)
	s.install(h.ID, l)
	way.loaded.Store(l) // afterwards: who sees it finds the owner informed
	return l.snap, nil
}

// readGuarded is read, on a goroutine of the caller's: a panic in it is our bug.
func (s *Shard) readGuarded(snap *Snapshot) (l *loaded, err error) {
	if s.readOnly() {
		return s.read(snap)
	}
	s.health.Guard(s.name, func() { l, err = s.read(snap) })
	if l == nil && err == nil {
		err = s.health.Err()
	}
	return l, err
}

// read reads the image of a cold run.
func (s *Shard) read(snap *Snapshot) (l *loaded, err error) {
	s.images.files.RLock() // the files stay as long
	defer s.images.files.RUnlock()
	e, ok := s.index.Load().Find(snap.ID)
	if !ok || e.Version != snap.Version {
		return nil, fmt.Errorf("inmem: run %v has no image of version %d", snap.ID, snap.Version)
	}
	files, ok := s.readers.Get().(*checkpoint.Files)
	if !ok {
		cfg := &s.cfg
		files = checkpoint.OpenFiles(cfg.FS, cfg.Dir, cfg.Store, uint32(cfg.Number))
	}
	defer func() {
		err = errors.Join(err, files.Close())
		s.readers.Put(files)
	}()
	l = &loaded{contents: contents{keys: &ordered.Map{}}}
	err = files.Image(&e, func(key []byte, it op.Item) { l.timers = l.put(e.Run, key, it, l.timers) })
	if err != nil {
		return nil, err
	}
	l.keys.Settle()
	warm := *snap
	warm.cold, warm.keys = nil, l.keys.Snapshot()
	l.snap, l.bytes = &warm, l.keys.Bytes()
	return l, nil
}

// install hands a loaded run to the owner. Where there is none any more nothing
// is lost: readers have it. It counts before the owner has it on his account:
// readers may be far ahead of him.
func (s *Shard) install(id run.ID, l *loaded) {
	c := &command{kind: install, id: id, loaded: l}
	s.memory.coming(l.bytes)
	if s.readOnly() {
		if !s.refreshing.TryLock() { // readers do without the owner for now
			s.memory.coming(-l.bytes)
			return
		}
		s.installed(c)
		s.refreshing.Unlock()
		return
	}
	if !s.lend(c) && s.mailbox.Send(context.Background(), c) != nil {
		s.memory.coming(-l.bytes)
	}
}

// installed is the owner's part: from here on the run is warm, unless it is
// another one by now.
func (s *Shard) installed(c *command) {
	s.memory.coming(-c.loaded.bytes)
	defer s.loads.end(c.id, c.loaded.snap.Version)
	r, err := s.state.find(c.id)
	if err != nil || r.keys != nil || r.version != c.loaded.snap.Version {
		return
	}
	s.state.takeOver(r, c.loaded)
	s.show(r)
}

// settled calls fn, and again where the owner needs the keys of a run and does not
// have them, after loading them, and where there is no room for what fn adds,
// after making some. The run stays in memory as long.
func (s *Shard) settled(ctx context.Context, id run.ID, fn func() error) error {
	var h *Handle
	for {
		err := fn()
		var full *fullError
		cold := errors.Is(err, errCold)
		if !cold && !errors.As(err, &full) {
			return err
		}
		if found := s.find(id); found != nil && h == nil {
			h = found
			h.Pin()
			defer h.Unpin()
		}
		switch {
		case !cold:
			err = s.memory.relieve(ctx, full.need)
		case h != nil:
			_, err = s.Load(h)
			if errors.Is(err, run.ErrDeleted) {
				err = nil // as fn will find
			}
		default:
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// unsettled reports whether settled has something to do.
func unsettled(err error) bool {
	if err == nil || err == errCold {
		return err != nil
	}
	_, full := err.(*fullError)
	return full
}
