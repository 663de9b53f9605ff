package shard

import (
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"inmem/op"
	"inmem/run"
	"inmem/wal"
)

// The bounds of what a shard keeps in memory for those who watch it; who falls
// behind further reads the log. At a bound the older half goes.
const (
	feedCommits = 8192
	feedBytes   = 16 << 20
)

// unknown stands for a sequence that no log has.
const unknown = ^uint64(0)

// feed is the newest commits of a shard, kept while somebody watches. The
// owner adds to it and wakes watchers, and never waits for them.
type feed struct {
	watchers atomic.Int32 // while it is 0 nothing is kept
	watching map[*Watcher]struct{}
	all      bells    // of those who watch the whole shard
	waiting  []Logged // the owner's: of the batch at work

	mu     sync.Mutex
	recent []Logged // published, in order
	bytes  int
	from   uint64 // all commits after this sequence are in recent; unknown = none is kept yet
	last   uint64 // sequence of the newest that was published
}

// Logged is a commit as it was logged.
type Logged struct {
	Sequence uint64
	Run      run.ID
	Payload  []byte // not to be changed
}

// bells are the channels of watchers, to be rung after a commit.
type bells struct {
	mu   sync.Mutex
	list atomic.Pointer[[]chan struct{}] // replaced, never changed
}

// ring wakes all who listen. Who is awake already is left alone.
func (b *bells) ring() {
	list := b.list.Load()
	if list == nil {
		return
	}
	for _, bell := range *list {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
}

func (b *bells) change(fn func([]chan struct{}) []chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []chan struct{}
	if old := b.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = fn(list); len(list) == 0 {
		b.list.Store(nil)
		return
	}
	b.list.Store(&list)
}

// keep is the owner's: a commit was appended, and is published with its batch.
func (f *feed) keep(c Logged) { f.keepAround(c, 0, nil) }

// keepAround is keep of a commit whose payload has gaps, and begins so far behind
// where their places are counted from.
func (f *feed) keepAround(c Logged, behind int, gaps []op.Gap) {
	if f.watchers.Load() == 0 {
		f.waiting = f.waiting[:0] // what comes later must not leave a gap behind these
		return
	}
	payload := c.Payload
	c.Payload = make([]byte, 0, len(payload)+op.InGaps(gaps))
	for _, g := range gaps {
		n := g.At - behind
		c.Payload = append(append(c.Payload, payload[:n]...), g.Bytes...)
		payload, behind = payload[n:], g.At
	}
	c.Payload = append(c.Payload, payload...)
	f.waiting = append(f.waiting, c)
}

// publish is the owner's: the batch that ends with a sequence is visible.
func (f *feed) publish(last uint64) {
	if f.watchers.Load() == 0 {
		f.waiting = f.waiting[:0]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = last
	if len(f.waiting) == 0 {
		return
	}
	if f.from == unknown {
		f.from = f.waiting[0].Sequence - 1
	}
	for i := range f.waiting {
		f.bytes += len(f.waiting[i].Payload)
	}
	f.recent = append(f.recent, f.waiting...)
	clear(f.waiting)
	f.waiting = f.waiting[:0]
	if len(f.recent) > feedCommits || f.bytes > feedBytes {
		f.shorten()
	}
}

// shorten drops the older half, and more where the rest is still too large; mu
// is held.
func (f *feed) shorten() {
	n := 0
	for half := (len(f.recent) + 1) / 2; n < half || f.bytes > feedBytes; n++ {
		f.bytes -= len(f.recent[n].Payload)
	}
	f.from = f.recent[n-1].Sequence
	f.recent = slices.Clone(f.recent[n:])
}

// reset forgets what is kept; mu is held.
func (f *feed) reset() { f.recent, f.bytes, f.from = nil, 0, unknown }

// since returns the commits after a sequence, of one run or of all, and the
// sequence up to which it looked. It returns false where not all are kept.
func (f *feed) since(after uint64, id *run.ID) (list []Logged, last uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last <= after {
		return nil, after, true
	}
	if f.from == unknown || after < f.from {
		return nil, 0, false
	}
	i := sort.Search(len(f.recent), func(i int) bool { return f.recent[i].Sequence > after })
	for _, c := range f.recent[i:] {
		if id == nil || c.Run == *id {
			list = append(list, c)
		}
	}
	return list, f.last, true
}

// Published returns the sequence up to which the shard's commits are visible.
func (s *Shard) Published() uint64 {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return s.feed.last
}

// Watcher reads the commits of a run, or of a whole shard, as they become
// visible. It is for one goroutine.
type Watcher struct {
	shard *Shard
	run   *run.ID // nil = all
	bells *bells
	bell  chan struct{}
	after atomic.Uint64 // everything up to this sequence was read
}

// Watch returns a watcher of the run, or of all runs if h is nil, that reads
// what was logged after a sequence. After each batch with something for it bell
// is rung, which is a channel with room for one. Stop must be called.
func (s *Shard) Watch(h *Handle, after uint64, bell chan struct{}) *Watcher {
	w := &Watcher{shard: s, bells: &s.feed.all, bell: bell}
	w.after.Store(after)
	if h != nil {
		w.run, w.bells = &h.ID, &h.bells
	}
	s.feed.mu.Lock()
	if s.feed.watchers.Add(1) == 1 {
		s.feed.reset() // the owner may be in a batch of which it has not kept all
		s.feed.watching = map[*Watcher]struct{}{}
	}
	s.feed.watching[w] = struct{}{}
	s.feed.mu.Unlock()
	w.bells.change(func(list []chan struct{}) []chan struct{} { return append(list, bell) })
	return w
}

// Listen lets a channel with room for one be rung after each batch that changed
// the run, until stop is called. It reads nothing: who is woken looks at the
// newest snapshot.
func (h *Handle) Listen(bell chan struct{}) (stop func()) {
	h.bells.change(func(list []chan struct{}) []chan struct{} { return append(list, bell) })
	return func() {
		h.bells.change(func(list []chan struct{}) []chan struct{} {
			return slices.DeleteFunc(list, func(c chan struct{}) bool { return c == bell })
		})
	}
}

// Stop ends the watching.
func (w *Watcher) Stop() {
	w.bells.change(func(list []chan struct{}) []chan struct{} {
		return slices.DeleteFunc(list, func(c chan struct{}) bool { return c == w.bell })
	})
	f := &w.shard.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watching, w)
	if f.watchers.Add(-1) == 0 {
		f.reset()
	}
}

// read returns the sequence up to which all who watch have read everything:
// nothing behind it is taken away from them.
func (f *feed) read() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	read := unknown
	for w := range f.watching {
		read = min(read, w.after.Load())
	}
	return read
}

// After returns the sequence up to which everything was read.
func (w *Watcher) After() uint64 { return w.after.Load() }

// Read hands what is visible and was not read yet to fn, in order, from memory
// or from the log, and returns when there is no more. After an error of fn it
// goes on behind the commit that fn got.
func (w *Watcher) Read(ctx context.Context, fn func(Logged) error) error {
	give := func(c Logged) error {
		w.after.Store(c.Sequence)
		return fn(c)
	}
	list, last, ok := w.shard.feed.since(w.after.Load(), w.run)
	if ok {
		for _, c := range list {
			if err := give(c); err != nil {
				return err
			}
		}
		w.after.Store(last)
		return nil
	}
	log, err := w.shard.History(ctx)
	if err != nil {
		return err
	}
	frame := func(f wal.Frame) error {
		if f.Kind != wal.Record {
			return nil // a base stands for commits that are not kept
		}
		return give(Logged{Sequence: f.Sequence, Run: run.ID(f.Payload), Payload: f.Payload})
	}
	if w.run != nil {
		err = log.Stream(ctx, *w.run, w.after.Load()+1, log.Last(), frame)
	} else {
		err = log.Records(ctx, w.after.Load()+1, log.Last(), frame)
	}
	if err == nil {
		w.after.Store(log.Last())
	}
	return err
}
