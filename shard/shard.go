package shard

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"inmem/actor"
	"inmem/checkpoint"
	"inmem/op"
	"inmem/retention"
	"inmem/run"
	"inmem/ttl"
	"inmem/vfs"
	"inmem/wal"
)

const (
	mailboxSize = 1024
	// maxBuffered bounds the frames of one batch kept in memory, in bytes.
	maxBuffered = 8 << 20
	// expireRetry is how long an expiration waits that the disk had no space for, in ms.
	expireRetry = 1000
)

// Config is what a shard is made of. Recovery fills it in.
type Config struct {
	Number       int
	FS           vfs.FS
	Dir          string // of the shard
	Store        [16]byte
	Clock        *Clock
	Health       *Health
	Durability   op.Durability // what op.Default means
	Track        func([]ttl.Change)
	Forget       func(run.ID)
	Left         func(run.ID)         // a run has left memory; called by the owner, only where there is a Memory
	OnCheckpoint func(CheckpointDone) // must not block

	State   *State
	Memory  *Memory      // nil = there is no budget
	Log     *wal.Log     // nil = the shard is only read …
	History *wal.History // … and this is what its log held …
	// … and More replays what was logged since. After an error what it replayed
	// is in the state, and the next call goes on from there.
	More     func() (*wal.History, error)
	Manifest *checkpoint.ManifestFile
	Index    *checkpoint.Table // of the newest checkpoint; nil = there is none yet
	Tail     int64             // bytes of log that were replayed
	Zstd     bool              // compress images
	// CheckpointBytes is how much the log grows before the next checkpoint, at
	// least; negative = never.
	CheckpointBytes int64
}

// Shard is the owner of some of a store's runs.
type Shard struct {
	cfg      Config
	name     string
	health   *Health
	mailbox  *actor.Mailbox[*command]
	commands sync.Pool // of *command
	owner    *actor.Actor
	images   *imager
	memory   *Memory   // nil = there is no budget
	readers  sync.Pool // of *checkpoint.Files, closed, for their buffers

	// Published.
	*roll
	loads   loads
	catalog catalog
	metrics counters
	feed    feed
	past    atomic.Pointer[wal.History] // of a shard that is only read
	// refreshing is held by the owner of a shard that is only read.
	refreshing sync.Mutex

	sweeping chan struct{}   // has one in it while somebody sweeps
	noBase   map[run.ID]bool // the sweeper's: runs whose history cannot be cut

	// turn is held by who is the owner just now: the shard's goroutine for each
	// batch, or a caller that finds it free and carries out its command itself.
	turn   sync.Mutex
	wanted atomic.Bool // the goroutine waits for it
	closed bool        // nobody takes a turn any more
	mine   bool        // the goroutine's: it has the turn
	single [1]*command // the batch of a caller

	// The owner's.
	state          *State
	log            *wal.Log
	batch          []*command
	current        []*command
	processCurrent func()   // process as a value, made once
	gaps           []op.Gap // scratch
	quiet          uint64   // the log's next sequence at the last tick
	logMemory      int64    // what is accounted for
	replied        int
}

// New publishes what recovery found and starts the shard.
func New(cfg Config) *Shard {
	s := &Shard{
		cfg: cfg, health: cfg.Health, state: cfg.State, roll: cfg.State.roll, log: cfg.Log, memory: cfg.Memory, noBase: map[run.ID]bool{},
		mailbox: actor.NewMailbox[*command](mailboxSize),
		batch:   make([]*command, 0, mailboxSize), sweeping: make(chan struct{}, 1),
	}
	s.name, s.processCurrent = "shard "+strconv.Itoa(cfg.Number), s.process
	s.feed.from, s.feed.last = unknown, s.log.Next()-1
	s.images, s.catalog.memory = newImager(s), s.memory
	s.open()
	s.weighLog()
	s.images.start(s.name + " checkpoints")
	s.owner = actor.Go(s.name, s.loop, s.bury)
	return s
}

// open publishes what recovery found.
func (s *Shard) open() {
	info, tag := &run.Info{}, []byte(retention.TagHistory)
	for e := range s.index.Load().All {
		snap := restingWith(e, info) // of its metadata only that tag is counted
		if bytes.Contains(e.Info, tag) {
			snap = resting(e)
		}
		if snap != nil {
			s.metrics.shown(nil, nil, snap)
		}
	}
	s.memory.Charge(s.metrics.bytes.Load())
	s.state.settleAll()
	s.publish()
}

// Close refuses new work, finishes what was accepted, and closes the log. It
// returns the sequence of the log's last frame. It is called once.
func (s *Shard) Close() (last uint64, err error) {
	s.mailbox.Close()
	s.owner.Wait()
	s.turn.Lock()
	s.closed = true
	s.turn.Unlock()
	s.health.Guard(s.name, s.images.final)
	s.images.stop()
	if s.health.Err() != nil {
		s.cfg.Clock.Freeze() // it may be what failed, and the log's seal has a time
	}
	s.health.Guard(s.name, func() { last, err = s.log.Close() })
	return last, err
}

// Find returns the handle of a run that exists.
func (s *Shard) Find(id run.ID) (*Handle, error) {
	if h := s.find(id); h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("%w: %v", run.ErrNotFound, id)
}

// loop is the life of the shard's goroutine: batch after batch until the mailbox
// is closed.
func (s *Shard) loop() {
	for {
		batch, open := s.mailbox.Receive(s.batch, s.log.Wake())
		if !open {
			return
		}
		s.take()
		if len(batch) > 0 {
			s.guarded(batch)
			select {
			case <-s.log.Wake(): // a busy mailbox must not starve what is due by time
				s.tick()
				s.images.considerTime(false)
			default:
			}
		} else {
			s.tick()
			last := s.log.Next()
			silent := s.quiet == last
			s.quiet = last
			if silent {
				s.tidy()
			}
			s.images.considerTime(silent)
		}
		s.give()
	}
}

// bury is the end of a goroutine that could not be held up: one that was ended
// by runtime.Goexit. It answers those that the owner had in hand, and whoever
// comes until the mailbox is closed.
func (s *Shard) bury(p *actor.PanicError) {
	s.health.Poison(p)
	err := s.health.Err()
	if !s.mine {
		s.take()
	}
	defer s.give() // until then nobody else is the owner
	if s.current != nil {
		s.refuse(s.current[s.replied:], err)
		s.current = nil
	}
	for open := true; open; {
		s.images.giveUp(err)
		var batch []*command
		batch, open = s.mailbox.Receive(s.batch, nil)
		s.refuse(batch, err)
	}
}

// guarded processes a batch. A panic in it is our bug: it poisons the store,
// and those who wait get the reason instead of waiting for ever.
func (s *Shard) guarded(batch []*command) {
	s.replied, s.current = 0, batch
	s.health.Poison(actor.Guard(s.name, s.processCurrent))
	if err := s.health.Err(); err != nil {
		s.refuse(batch[s.replied:], err)
		s.images.giveUp(err)
	}
	s.current = nil
}

func (s *Shard) tick() {
	s.health.Poison(actor.Guard(s.name, func() { s.health.Poison(s.log.Tick()) }))
}

// tidy is for when nothing was logged for a while: it settles runs, which are
// published again as they were, so that those who only read them pay nothing for
// what was written before.
func (s *Shard) tidy() {
	s.health.Poison(actor.Guard(s.name, func() {
		for s.mailbox.Len() == 0 && s.health.Err() == nil {
			r := s.state.settle()
			if r == nil {
				return
			}
			s.show(r)
		}
	}))
}

// process carries out the current batch. Where it returns early, the store is
// poisoned and guarded refuses the batch.
func (s *Shard) process() {
	batch := s.current
	if s.health.Err() != nil {
		return
	}
	now := s.cfg.Clock.Now()
	mode, flushed := op.Default, false
	commits := 0
	for _, c := range batch {
		if !s.step(c, now) {
			return
		}
		if c.logged {
			commits++
		}
		if c.logged || c.kind == flush {
			// One batch is one write, so all its commits get the strongest of their modes.
			mode = op.Stronger(mode, s.mode(c.mode))
		}
		flushed = flushed || c.kind == flush
	}
	if err := s.settle(mode, flushed); err != nil {
		s.health.Poison(err)
		return
	}
	s.weighLog()
	s.publish()
	s.metrics.batch(len(batch), commits)
	s.reply(batch)
	s.images.consider()
}

// settle makes the batch as durable as its strongest mode promises. After a
// flush the log is sealed as well, so that damage to what was flushed can be
// told from a write that a crash cut short.
func (s *Shard) settle(mode op.Durability, flushed bool) error {
	if mode == op.Default {
		return nil
	}
	if err := s.log.Commit(mode); err != nil || !flushed {
		return err
	}
	return s.log.Seal()
}

func (s *Shard) mode(m op.Durability) op.Durability {
	if m == op.Default {
		return s.cfg.Durability
	}
	return m
}

// step carries out one command, up to its frame in the log's buffer. It
// returns false where the store cannot go on.
func (s *Shard) step(c *command, now int64) bool {
	var commit *op.Commit
	switch c.kind {
	case begin:
		commit, c.err = s.state.Begin(c.info, now)
	case request:
		commit, c.result, c.err = s.state.Commit(c.id, &c.req, now)
	case setStatus:
		commit, c.err = s.state.SetStatus(c.id, c.to, c.req.Fence, now)
	case drop:
		commit, c.err = s.state.Drop(c.id, now)
	case expire:
		commit = s.state.Expire(c.id, c.due, now)
	case adopt:
		if !s.adopt(c) {
			return false
		}
	case history:
		if c.history, c.err = s.log.History(); c.err != nil {
			s.health.Poison(c.err)
			return false
		}
	case image:
		s.images.waiting = append(s.images.waiting, c)
		c.later = true
	case imaged:
		s.images.finished(c)
	case install:
		s.installed(c)
	case evict:
		s.evicted(c)
	case remove:
		commit, c.err = s.state.Remove(c.id, now)
	case setTag:
		commit, c.err = s.state.SetTag(c.id, c.tag[0], c.tag[1], c.req.Fence, now)
	case tend:
		if c.err = c.tend(s.log); c.err != nil && !errors.Is(c.err, op.ErrDiskFull) {
			s.health.Poison(c.err)
			return false
		}
	}
	if commit != nil && c.err == nil && s.fits(c) {
		c.err = s.append(commit, c)
		if c.err != nil && !errors.Is(c.err, op.ErrDiskFull) {
			s.health.Poison(c.err)
			return false
		}
	}
	if (c.kind == begin || c.kind == adopt) && c.err == nil {
		c.handle = s.state.handle(c.id)
	}
	return true
}

// adopt carries out commits that were made elsewhere. It returns false where
// the store cannot go on.
func (s *Shard) adopt(c *command) bool {
	if !s.fits(c) {
		return true
	}
	for _, commit := range c.made {
		if c.err = s.state.Follows(commit); c.err == nil {
			s.state.shared = c.shared
			c.err = s.append(commit, c)
			s.state.shared = nil
			if c.err != nil && !errors.Is(c.err, op.ErrDiskFull) {
				s.health.Poison(c.err)
				return false
			}
		}
		if c.err != nil {
			return true
		}
	}
	return true
}

// append logs a commit and applies it. With op.ErrDiskFull nothing happened.
func (s *Shard) append(commit *op.Commit, c *command) error {
	if err := s.log.Reserve(wal.FrameSize(commit.Size())); err != nil {
		if errors.Is(err, op.ErrDiskFull) && c.kind == expire {
			s.state.retry(commit.Run, c.due, commit.Time+expireRetry)
		}
		return err
	}
	start := s.log.Begin()
	// A large value is never changed from here on, wherever it came from: the log
	// needs no copy of it.
	var frame []byte
	frame, s.gaps = op.AppendCommitAround(start, s.gaps[:0], commit, op.Large)
	seq := s.log.EndAround(frame, s.gaps)
	if err := s.state.Apply(commit, seq); err != nil {
		return err
	}
	s.feed.keepAround(Logged{Sequence: seq, Run: commit.Run, Payload: frame[len(start):]}, len(start), s.gaps)
	clear(s.gaps)
	c.logged = true
	if c.kind == expire {
		s.metrics.expired.Add(uint64(len(commit.Ops)))
	}
	if s.log.Buffered() > maxBuffered {
		return s.log.Commit(op.Batched)
	}
	return nil
}

// publish shows readers what the batch changed.
func (s *Shard) publish() {
	st := s.state
	for _, r := range st.changed {
		r.changed = false
		st.weigh(r)
		before := r.handle.newest()
		if r.dropped { // the handle stays, see roll
			r.handle.snapshot.Store(nil)
			s.count(r.handle, before, nil)
			continue
		}
		fresh := before == nil
		s.show(r)
		if fresh {
			s.handles.Store(r.handle.ID, r.handle)
		}
	}
	if len(st.listed) > 0 {
		s.catalog.note(st.listed)
		s.metrics.listed.Add(uint64(len(st.listed)))
		clear(st.listed)
		st.listed = st.listed[:0]
	}
	if len(st.timers) > 0 {
		if !s.readOnly() {
			s.cfg.Track(st.timers)
		}
		clear(st.timers)
		st.timers = st.timers[:0]
	}
	for _, id := range st.dropped {
		if !s.readOnly() {
			s.cfg.Forget(id)
		}
	}
	st.dropped = st.dropped[:0]
	s.tellWatchers()
}

// tellWatchers wakes those who watch what the batch changed. Whoever wakes up
// finds all of it, in the snapshots and in the feed.
func (s *Shard) tellWatchers() {
	changed := s.state.changed
	if len(changed) == 0 {
		return
	}
	s.feed.publish(s.last())
	for i, r := range changed {
		r.handle.bells.ring()
		changed[i] = nil
	}
	s.state.changed = changed[:0]
	s.feed.all.ring()
}

// last returns the sequence of the newest commit that was applied.
func (s *Shard) last() uint64 {
	if s.readOnly() {
		return s.past.Load().Last()
	}
	return s.log.Next() - 1
}

// reply answers a batch, in order.
func (s *Shard) reply(batch []*command) {
	for i, c := range batch {
		s.replied = i + 1
		if c.waits() && !c.later {
			c.done <- struct{}{} // from here on the command is the caller's
		}
	}
}

// refuse answers commands that a poisoned store does not carry out. Those that
// wait for a checkpoint are the imager's.
func (s *Shard) refuse(batch []*command, err error) {
	for _, c := range batch {
		if c.done == nil || c.later {
			continue
		}
		c.err = err
		c.result, c.handle, c.history = op.Result{}, nil, nil
		if c.waits() {
			c.done <- struct{}{}
		}
	}
}
