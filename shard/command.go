package shard

import (
	"context"
	"errors"
	"fmt"

	"inmem/actor"
	"inmem/op"
	"inmem/ordered"
	"inmem/run"
	"inmem/ttl"
	"inmem/wal"
)

// command is one message to a shard, and the place for its answer.
type command struct {
	kind   kind
	id     run.ID
	req    op.Request   // request
	info   *run.Info    // begin
	to     run.Status   // setStatus
	due    []ttl.Due    // expire
	made   []*op.Commit // adopt
	shared *ordered.Map // adopt: what the run begins with, in memory; nil = nothing
	loaded *loaded      // install
	evict  []candidate  // evict

	tend func(*wal.Log) error // tend
	tag  [2]string            // setTag: key and value

	mode op.Durability

	result  op.Result
	handle  *Handle
	gone    int // evict: how many runs left
	history *wal.History
	err     error
	lent    bool          // who waits for it carries it out
	logged  bool          // the command made a commit
	later   bool          // it is answered when the checkpoint it waits for ends
	done    chan struct{} // one slot; nil = nobody waits

	writes []op.Write // what req.Writes is made of, used again
	bytes  []byte     // the values of writes, used again
}

type kind uint8

const (
	begin kind = iota + 1
	request
	setStatus
	drop
	expire
	flush
	history
	adopt   // commits as they were made elsewhere
	image   // take a checkpoint
	imaged  // a checkpoint ended
	install // a cold run was loaded
	evict   // runs are to leave memory
	tend    // do something to the log
	remove  // delete a run that has ended
	setTag  // of a run's metadata
)

// maxKeptBytes bounds the memory a command in the pool holds on to.
const maxKeptBytes = 64 << 10

// newCommand takes a command from the shard's pool. Each shard has its own,
// because channels made in a bubble of testing/synctest must not leave it.
func (s *Shard) newCommand(k kind, id run.ID) *command {
	c, ok := s.commands.Get().(*command)
	if !ok {
		c = &command{done: make(chan struct{}, 1)}
	}
	c.kind, c.id = k, id
	return c
}

// release gives a command that was answered, or never accepted, back to the pool.
func (s *Shard) release(c *command) {
	clear(c.writes)
	writes, bytes, done := c.writes[:0], c.bytes[:0], c.done
	if cap(bytes) > maxKeptBytes || cap(writes) > 1024 {
		writes, bytes = nil, nil
	}
	*c = command{writes: writes, bytes: bytes, done: done}
	s.commands.Put(c)
}

// take copies the request into the command, so that the caller's slices are
// the caller's again, whatever becomes of the call.
func (c *command) take(req *op.Request) {
	c.mode, c.req.Basis, c.req.Fence = req.Durability, req.Basis, req.Fence
	c.writes = append(c.writes, req.Writes...)
	size := 0
	for i := range c.writes {
		if c.writes[i].Block == nil {
			size += len(c.writes[i].Value)
		}
	}
	if cap(c.bytes) < size {
		c.bytes = make([]byte, 0, size)
	}
	for i := range c.writes {
		if c.writes[i].Block != nil {
			continue // nobody changes it any more
		}
		start := len(c.bytes)
		c.bytes = append(c.bytes, c.writes[i].Value...)
		c.writes[i].Value = c.bytes[start:]
	}
	c.req.Writes = c.writes
}

// do sends a command and waits for its answer. It reports whether the command
// may be released: not when the caller gave up waiting, because the owner
// still has it then.
func (s *Shard) do(ctx context.Context, c *command) (mine bool, err error) {
	if s.readOnly() {
		return true, op.ErrReadOnly
	}
	if err := s.health.Err(); err != nil {
		return true, err
	}
	if err := s.mailbox.Send(ctx, c); err != nil {
		if errors.Is(err, actor.ErrClosed) {
			err = op.ErrClosed
		}
		return true, err
	}
	if ctx.Done() == nil {
		<-c.done
		return true, c.err
	}
	select {
	case <-c.done:
		return true, c.err
	case <-ctx.Done():
		select {
		case <-c.done: // answered all the same: then nothing is unknown
			return true, c.err
		default:
		}
		return false, fmt.Errorf("inmem: the call was accepted, its outcome is unknown: %w", ctx.Err())
	}
}

// waits reports whether somebody waits for an answer.
func (c *command) waits() bool { return c.done != nil && !c.lent }

// grows returns how much memory the command needs at most, in bytes: none where it
// puts nothing of its caller's.
func (c *command) grows() (n int64) {
	switch c.kind {
	case begin:
		return bareBytes(c.info)
	case adopt:
		for _, commit := range c.made {
			n += int64(commit.Size())
		}
	case request:
		for i := range c.req.Writes {
			if c.req.Writes[i].Kind == op.Put {
				return int64(c.size())
			}
		}
	}
	return n
}

// size is an upper bound of what the request takes in the log.
func (c *command) size() int {
	n := op.CommitSize
	for i := range c.req.Writes {
		n += op.OpSize(len(c.req.Writes[i].Key), len(c.req.Writes[i].Value))
	}
	return n
}

// Commit carries out a request on a run.
func (s *Shard) Commit(ctx context.Context, id run.ID, req *op.Request) (op.Result, error) {
	req = op.OwnValues(req)
	res, err := s.commit(ctx, id, req)
	if unsettled(err) {
		return s.commitSettled(ctx, id, req)
	}
	return res, err
}

// commitSettled is Commit for a run that is not in memory, or has no room.
func (s *Shard) commitSettled(ctx context.Context, id run.ID, req *op.Request) (res op.Result, err error) {
	err = s.settled(ctx, id, func() error {
		res, err = s.commit(ctx, id, req)
		return err
	})
	return res, err
}

func (s *Shard) commit(ctx context.Context, id run.ID, req *op.Request) (op.Result, error) {
	c := s.newCommand(request, id)
	if ctx.Err() == nil && !s.readOnly() && s.health.Err() == nil {
		c.req, c.mode = *req, req.Durability // the caller's bytes, while it is here
		if s.lend(c) {
			res, err := c.result, c.err
			s.release(c)
			return res, err
		}
		c.req = op.Request{}
	}
	c.take(req)
	mine, err := s.do(ctx, c)
	if !mine {
		return op.Result{}, err
	}
	res := c.result
	s.release(c)
	return res, err
}

// Begin makes a new run, or finds the space that info names.
func (s *Shard) Begin(ctx context.Context, info *run.Info, mode op.Durability) (h *Handle, err error) {
	err = s.settled(ctx, info.ID, func() error {
		c := s.newCommand(begin, info.ID)
		c.info, c.mode = info, mode
		h, err = s.adopted(ctx, c)
		return err
	})
	return h, err
}

// Adopt carries out commits that were made elsewhere, of one run, in order: each
// as it is, with its version and its time. The first that does not follow ends
// it, and those before it stand: a *op.VersionError where it is of another
// version than the next, run.ErrExists where it would begin a run that there is.
// The commits must not be changed any more, not even when the call gave up.
func (s *Shard) Adopt(ctx context.Context, commits []*op.Commit, mode op.Durability) (h *Handle, err error) {
	id := commits[0].Run
	err = s.settled(ctx, id, func() error {
		c := s.newCommand(adopt, id)
		c.made, c.mode = commits, mode
		h, err = s.adopted(ctx, c)
		return err
	})
	return h, err
}

func (s *Shard) adopted(ctx context.Context, c *command) (*Handle, error) {
	mine, err := s.do(ctx, c)
	if !mine {
		return nil, err
	}
	h := c.handle
	s.release(c)
	return h, err
}

// SetStatus changes the status of a run.
func (s *Shard) SetStatus(ctx context.Context, id run.ID, to run.Status, fence op.Expect, mode op.Durability) error {
	return s.settled(ctx, id, func() error {
		c := s.newCommand(setStatus, id)
		c.to, c.mode, c.req.Fence = to, mode, fence
		return s.simple(ctx, c)
	})
}

// Drop deletes a run.
func (s *Shard) Drop(ctx context.Context, id run.ID, mode op.Durability) error {
	c := s.newCommand(drop, id)
	c.mode = mode
	return s.simple(ctx, c)
}

// Flush makes everything that was acknowledged so far durable.
func (s *Shard) Flush(ctx context.Context) error {
	c := s.newCommand(flush, run.ID{})
	c.mode = op.Strict
	return s.simple(ctx, c)
}

// Checkpoint writes images of the runs that changed since the last checkpoint.
func (s *Shard) Checkpoint(ctx context.Context) error {
	return s.simple(ctx, s.newCommand(image, run.ID{}))
}

func (s *Shard) simple(ctx context.Context, c *command) error {
	mine, err := s.do(ctx, c)
	if mine {
		s.release(c)
	}
	return err
}

// History returns the log as it is now, for reading a run's commits from.
func (s *Shard) History(ctx context.Context) (*wal.History, error) {
	if s.readOnly() {
		return s.past.Load(), nil
	}
	c := s.newCommand(history, run.ID{})
	mine, err := s.do(ctx, c)
	if !mine {
		return nil, err
	}
	h := c.history
	s.release(c)
	return h, err
}

// Expire hands the shard keys whose deadline passed, and loads their run where
// it is cold. It returns once the message is accepted: nobody waits for what
// becomes of it. Of a run whose image is damaged nothing expires any more.
func (s *Shard) Expire(ctx context.Context, id run.ID, due []ttl.Due) error {
	if h := s.find(id); h != nil {
		_, err := s.Load(h)
		if errors.Is(err, op.ErrCorrupt) {
			return nil
		}
		if err != nil && !errors.Is(err, run.ErrDeleted) {
			return err
		}
	}
	return s.mailbox.Send(ctx, &command{kind: expire, id: id, due: due})
}
