package shard

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"inmem/op"
	"inmem/ordered"
	"inmem/run"
	"inmem/ttl"
)

// State is what a shard knows of its runs. It is pure: it reads no clock,
// touches no disk and starts no goroutine, so that a replay does exactly what
// happened the first time. One goroutine owns it.
type State struct {
	runs    map[run.ID]*liveRun // those in memory; the others are at rest
	deleted map[run.ID]struct{}
	roll    *roll

	// What changed since the owner last took it.
	changed []*liveRun
	listed  []listed // of them, those whose metadata did
	timers  []ttl.Change
	dropped []run.ID

	unsettled []*liveRun // with puts that ordered.Map.Settle is for

	dirty        []*liveRun // changed since the last checkpoint …
	dirtyBytes   int64      // … what weigh says of them …
	newlyDeleted []run.ID   // … and those deleted since then

	// fetch reads a cold run's image, for a replay, which cannot ask for it to be
	// loaded first; nil = there is none to read.
	fetch func(id run.ID, item func(mapKey []byte, it op.Item)) error

	shared *ordered.Map // of the run that the next commit begins: what of its puts is in place already

	commit op.Commit   // scratch
	blocks []*op.Block // where the large values of commit lie, in order
	keyBuf []byte      // scratch
}

// liveRun is a run as its owner changes it.
type liveRun struct {
	handle *Handle
	info   *run.Info
	contents
	version   uint64
	time      int64
	firstSeq  uint64
	lastSeq   uint64
	bare      int64 // bytes of memory, but for the keys
	changed   bool  // in State.changed
	unsettled bool  // in State.unsettled
	dirty     bool  // in State.dirty
	weight    int64 // in State.dirtyBytes
	dropped   bool
	shares    bool // keys was made of another run's: the commit must have all its items
}

// NewState returns the state of a shard without runs.
func NewState() *State {
	return &State{
		runs:    map[run.ID]*liveRun{},
		deleted: map[run.ID]struct{}{},
		roll:    &roll{},
	}
}

// find returns the run, or why there is none. One at rest has no keys; it is the
// caller's, and not in runs.
func (s *State) find(id run.ID) (*liveRun, error) {
	if r := s.runs[id]; r != nil {
		return r, nil
	}
	if _, ok := s.deleted[id]; ok {
		return nil, fmt.Errorf("%w: %v", run.ErrDeleted, id)
	}
	if e, ok := s.roll.index.Load().Find(id); ok {
		return s.known(&e)
	}
	return nil, fmt.Errorf("%w: %v", run.ErrNotFound, id)
}

// handle returns the handle of a run that there is.
func (s *State) handle(id run.ID) *Handle {
	if r := s.runs[id]; r != nil {
		return r.handle
	}
	return s.roll.handle(id)
}

// fenced refuses those who took the run up before others did.
func (r *liveRun) fenced(fence op.Expect) error {
	if held, fenced := fence.Get(); fenced && held != r.epoch {
		return &op.FencedError{Held: held, Now: r.epoch}
	}
	return nil
}

// next begins the scratch commit that would be the run's next. Its time is not
// before that of the one before, which may be from another store.
func (s *State) next(r *liveRun, now int64) *op.Commit {
	return s.start(r.handle.ID, r.version+1, max(now, r.time))
}

// start begins the scratch commit.
func (s *State) start(id run.ID, version uint64, now int64) *op.Commit {
	s.commit = op.Commit{Run: id, Version: version, Time: now, Ops: s.commit.Ops[:0]}
	if len(s.blocks) > 0 {
		s.letGo()
	}
	return &s.commit
}

// letGo forgets the blocks of the scratch commit.
func (s *State) letGo() {
	clear(s.blocks)
	s.blocks = s.blocks[:0]
}

// put puts an item into a run. A large value that lies in a block of the scratch
// commit becomes the run's as it is.
func (s *State) put(r *liveRun, key string, it op.Item) {
	if len(it.Value) >= op.Large {
		for _, b := range s.blocks {
			if b.Holds(it.Value) {
				r.keys.PutBlock(key, it, b)
				return
			}
		}
	}
	r.keys.Put(key, it)
}

// Begin decides on a new run. A nil commit without an error means that the
// space exists already.
func (s *State) Begin(info *run.Info, now int64) (*op.Commit, error) {
	r, err := s.find(info.ID)
	switch {
	case err == nil && info.Space && r.info.Space:
		return nil, nil
	case err == nil:
		return nil, fmt.Errorf("%w: %v", run.ErrExists, info.ID)
	case errors.Is(err, run.ErrDeleted):
		return nil, err
	}
	info.Status, info.Created, info.Ended, info.FirstVersion = run.Active, now, 0, 1
	c := s.start(info.ID, 1, now)
	c.Ops = append(c.Ops, metadata(info))
	return c, nil
}

func metadata(info *run.Info) op.Op {
	return op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)}
}

// SetStatus decides on a change of a run's status.
func (s *State) SetStatus(id run.ID, to run.Status, fence op.Expect, now int64) (*op.Commit, error) {
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if r.keys == nil {
		return nil, errCold
	}
	if err := r.fenced(fence); err != nil {
		return nil, err
	}
	if r.info.Space {
		return nil, fmt.Errorf("%w: %v", run.ErrSpace, id)
	}
	if err := r.info.Status.Become(to); err != nil {
		var refused *run.TransitionError
		if errors.As(err, &refused) {
			refused.ID = id
		}
		return nil, err
	}
	info := r.info.Clone()
	info.Status = to
	if to.Ended() && info.Ended == 0 {
		info.Ended = now
	}
	c := s.next(r, now)
	c.Ops = append(c.Ops, metadata(info))
	return c, nil
}

// Drop decides on the deletion of a run.
func (s *State) Drop(id run.ID, now int64) (*op.Commit, error) {
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	c := s.next(r, now)
	c.Ops = append(c.Ops, op.Op{Kind: op.Drop})
	return c, nil
}

// Expire decides on the keys that are due. A key that is not at that version
// any more was written again in the meantime and stays.
func (s *State) Expire(id run.ID, due []ttl.Due, now int64) *op.Commit {
	r, err := s.find(id)
	if err != nil {
		return nil
	}
	c := s.next(r, now)
	if r.keys == nil { // it left memory meanwhile: who sends them again loads it
		s.retry(id, due, now+expireRetry)
		return nil
	}
	for _, d := range due {
		if it, ok := r.keys.Get(d.Key); ok && it.Version == d.Version && it.Expired(now) {
			c.Ops = append(c.Ops, op.Op{Kind: op.Expire, Tag: op.Tag(d.Key[0]), Key: d.Key[1:]})
		}
	}
	if len(c.Ops) == 0 {
		return nil
	}
	return c
}

// retry asks for expirations that could not be logged once more, at a later time.
func (s *State) retry(id run.ID, due []ttl.Due, at int64) {
	r := s.runs[id]
	for _, d := range due {
		still := r == nil // at rest
		if !still {
			it, ok := r.keys.Get(d.Key)
			still = ok && it.Version == d.Version
		}
		if still {
			s.timers = append(s.timers, ttl.Change{Run: id, Key: d.Key, Version: d.Version, Deadline: at})
		}
	}
}

// Commit decides on a request. A nil commit without an error means that the
// request changes nothing.
func (s *State) Commit(id run.ID, req *op.Request, now int64) (*op.Commit, op.Result, error) {
	r, err := s.find(id)
	if err != nil {
		return nil, op.Result{}, err
	}
	if r.info.Status != run.Active {
		return nil, op.Result{}, &run.StatusError{ID: id, Status: r.info.Status}
	}
	if r.keys == nil {
		return nil, op.Result{}, errCold
	}
	if err := r.fenced(req.Fence); err != nil {
		return nil, op.Result{}, err
	}
	if err := r.unchanged(req.Basis, now); err != nil {
		return nil, op.Result{}, err
	}
	res := op.Result{Version: r.version}
	puts := false
	for i := range req.Writes {
		puts = puts || req.Writes[i].Kind == op.Put
	}
	c := s.next(r, now)
	for i := range req.Writes {
		w := &req.Writes[i]
		want, conditional := w.Expect.Get()
		if conditional || w.Kind == op.Delete { // a plain put need not know what was there
			it, exists := r.keys.Get(s.mapKey(w.Tag, w.Key))
			exists = exists && !it.Expired(now)
			if i == 0 && exists {
				res.Previous, res.Existed = it, true
			}
			if actual := versionOf(it, exists); conditional && actual != want {
				return nil, op.Result{}, &op.VersionError{Key: w.Key, Expected: want, Actual: actual}
			}
			// A delete of what is not there changes nothing, unless a put of
			// the same request may have made it.
			if w.Kind == op.Delete && !exists && (!puts || i == 0) {
				continue
			}
		}
		o := op.Op{Kind: w.Kind, Tag: w.Tag, Key: w.Key, Value: w.Value}
		if w.Block != nil {
			s.blocks = append(s.blocks, w.Block)
		}
		if w.TTL > 0 {
			o.Deadline = op.Deadline(now, w.TTL)
		}
		c.Ops = append(c.Ops, o)
	}
	if len(c.Ops) == 0 {
		return nil, res, nil
	}
	res.Version = c.Version
	return c, res, nil
}

// versionOf is what a condition is held against: 0 for a key that is absent.
func versionOf(it op.Item, exists bool) uint64 {
	if !exists {
		return 0
	}
	return it.Version
}

// mapKey returns the key in the run's map, valid until the next call.
func (s *State) mapKey(tag op.Tag, key string) string {
	s.keyBuf = append(append(s.keyBuf[:0], byte(tag)), key...)
	return unsafe.String(unsafe.SliceData(s.keyBuf), len(s.keyBuf))
}

// Replay applies a commit as read from the log, after checking that it fits.
func (s *State) Replay(c *op.Commit, seq uint64) error {
	r, err := s.find(c.Run)
	switch {
	case errors.Is(err, run.ErrDeleted):
		return fmt.Errorf("a commit of run %v, which was deleted before", c.Run)
	case err != nil && c.Version != 1 && !Begins(c):
		return fmt.Errorf("run %v begins with version %d", c.Run, c.Version)
	case err != nil && !Begins(c):
		return fmt.Errorf("run %v begins without metadata", c.Run)
	case err == nil && c.Version != r.version+1:
		return fmt.Errorf("run %v goes from version %d to %d", c.Run, r.version, c.Version)
	case err == nil && r.keys == nil && c.Ops[0].Kind != op.Drop:
		if err := s.warm(r); err != nil {
			return err
		}
	}
	return s.Apply(c, seq)
}

// Follows holds a commit that was made elsewhere against the run: it must be the
// next one, or begin it.
func (s *State) Follows(c *op.Commit) error {
	r, err := s.find(c.Run)
	switch {
	case errors.Is(err, run.ErrDeleted):
		return err
	case err == nil && Begins(c):
		return fmt.Errorf("%w: %v", run.ErrExists, c.Run)
	case err == nil && c.Version != r.version+1:
		return &op.VersionError{Key: c.Run.String(), Expected: c.Version - 1, Actual: r.version}
	case err == nil && r.keys == nil:
		return errCold
	case err != nil && !Begins(c):
		return err
	}
	for i := range c.Ops {
		if o := &c.Ops[i]; o.Tag == op.RunMetadata && o.Kind == op.Put {
			if _, err := run.DecodeRecord(c.Run, o.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Begins reports whether a run may begin with the commit: it has the run's
// metadata, which say that this version is the first.
func Begins(c *op.Commit) bool {
	if c.Ops[0].Kind != op.Put || c.Ops[0].Tag != op.RunMetadata {
		return false
	}
	if c.Version == 1 {
		return true
	}
	info, err := run.DecodeRecord(c.Run, c.Ops[0].Value)
	return err == nil && info.FirstVersion == c.Version
}

// Apply carries a commit out. It is the only way a run's state changes, live
// and in a replay. An error means a metadata record that cannot be read.
func (s *State) Apply(c *op.Commit, seq uint64) error {
	r := s.runs[c.Run]
	if r == nil {
		if c.Ops[0].Kind == op.Drop { // which needs no keys
			return s.dropAtRest(c)
		}
		r = &liveRun{handle: &Handle{ID: c.Run, roll: s.roll}, firstSeq: seq, contents: contents{keys: &ordered.Map{}}}
		s.runs[c.Run] = r
		if s.shared != nil {
			r.keys, r.shares = s.shared, true
		}
	}
	r.version, r.time, r.lastSeq = c.Version, c.Time, seq
	if !r.changed {
		r.changed = true
		s.changed = append(s.changed, r)
	}
	if !r.dirty {
		r.dirty = true
		s.dirty = append(s.dirty, r)
	}
	for i := range c.Ops {
		if err := s.applyOp(r, &c.Ops[i]); err != nil {
			return err
		}
	}
	if len(s.blocks) > 0 {
		s.letGo()
	}
	if r.dropped {
		return nil
	}
	s.willSettle(r)
	return r.sharedAll(len(c.Ops))
}

func (s *State) applyOp(r *liveRun, o *op.Op) error {
	if o.Kind == op.Drop {
		s.drop(r)
		return nil
	}
	key := s.mapKey(o.Tag, o.Key)
	if o.Kind == op.Put {
		it := op.Item{Value: o.Value, Version: cmp.Or(o.Version, r.version), Deadline: o.Deadline}
		s.deadline(r, key, r.expires(key), it)
		if !r.has(key, it) {
			s.put(r, key, it)
		}
	} else {
		previous, _ := r.keys.Delete(key)
		s.deadline(r, key, previous.Deadline != 0, op.Item{Version: r.version})
	}
	if o.Tag == op.Epoch.Tag && o.Key == op.Epoch.Key {
		r.epoch = 0
		if o.Kind == op.Put {
			r.epoch = cmp.Or(o.Version, r.version)
		}
	}
	if o.Tag == op.RunMetadata && o.Kind == op.Put {
		info, err := run.DecodeRecord(r.handle.ID, o.Value)
		if err != nil {
			return err
		}
		r.info, r.bare = info, bareBytes(info)
		s.listed = append(s.listed, listed{info: info})
	}
	return nil
}

// expires reports whether a key has a deadline. Most runs have none to look for.
func (r *liveRun) expires(key string) bool {
	if r.deadlines == 0 {
		return false
	}
	it, _ := r.keys.Get(key)
	return it.Deadline != 0
}

// deadline notes that a key had a deadline, or has one now.
func (s *State) deadline(r *liveRun, key string, had bool, it op.Item) {
	has := it.Deadline != 0
	if !had && !has {
		return
	}
	s.timers = append(s.timers, ttl.Change{Run: r.handle.ID, Key: strings.Clone(key), Version: it.Version, Deadline: it.Deadline})
	if had {
		r.deadlines--
	}
	if has {
		r.deadlines++
	}
}

func (s *State) drop(r *liveRun) {
	id := r.handle.ID
	r.dropped = true
	if r.info != nil {
		s.listed = append(s.listed, listed{info: r.info, gone: true})
	}
	delete(s.runs, id)
	s.deleted[id] = struct{}{}
	s.dropped = append(s.dropped, id)
	s.newlyDeleted = append(s.newlyDeleted, id)
	r.contents = contents{}
}

// dropAtRest carries out the deletion of a run that is at rest.
func (s *State) dropAtRest(c *op.Commit) error {
	r, err := s.find(c.Run)
	if err != nil {
		return err
	}
	s.changed = append(s.changed, r)
	s.drop(r)
	return nil
}
