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

	tend func(*wal.Log) error // tend
	tag  [2]string            // setTag: key and value

	mode op.Durability

	result  op.Result
	handle  *Handle
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
	adopt  // commits as they were made elsewhere
	image  // take a checkpoint
	imaged // a checkpoint ended
	tend   // do something to the log
	remove // delete a run that has ended
	setTag // of a run's metadata
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
		size += len(c.writes[i].Value)
	}
	if cap(c.bytes) < size {
		c.bytes = make([]byte, 0, size)
	}
	for i := range c.writes {
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
func (s *Shard) Begin(ctx context.Context, info *run.Info, mode op.Durability) (*Handle, error) {
	c := s.newCommand(begin, info.ID)
	c.info, c.mode = info, mode
	mine, err := s.do(ctx, c)
	if !mine {
		return nil, err
	}
	h := c.handle
	s.release(c)
	return h, err
}

// Adopt carries out commits that were made elsewhere, of one run, in order: each
// as it is, with its version and its time. The first that does not follow ends
// it, and those before it stand: a *op.VersionError where it is of another
// version than the next, run.ErrExists where it would begin a run that there is.
// The commits must not be changed any more, not even when the call gave up.
func (s *Shard) Adopt(ctx context.Context, commits []*op.Commit, mode op.Durability) (*Handle, error) {
	c := s.newCommand(adopt, commits[0].Run)
	c.made, c.mode = commits, mode
	return s.adopted(ctx, c)
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
	c := s.newCommand(setStatus, id)
	c.to, c.mode, c.req.Fence = to, mode, fence
	return s.simple(ctx, c)
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

// Expire hands the shard keys whose deadline passed. It returns once the
// message is accepted: nobody waits for what becomes of it.
func (s *Shard) Expire(ctx context.Context, id run.ID, due []ttl.Due) error {
	return s.mailbox.Send(ctx, &command{kind: expire, id: id, due: due})
}
