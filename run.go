package inmem

import (
	"context"
	"errors"
	"iter"

	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/wal"
)

// Run is a handle of a run or of a space. It costs little, holds no lock, and
// stays valid while the store is open; once the run is deleted, everything but
// ID returns ErrRunNotFound.
type Run struct {
	db     *DB
	shard  *shard.Shard
	handle *shard.Handle
	fence  op.Expect // of a handle by which the run was begun or taken up …
	work   *work     // … and how far the agent has come that has it
}

// ID returns the run's ID.
func (r *Run) ID() run.ID { return r.handle.ID }

// snapshot returns the newest published version of the run, which it loads where
// it is not in memory.
func (r *Run) snapshot() (*shard.Snapshot, error) {
	if err := r.db.check(); err != nil {
		return nil, err
	}
	snap, err := r.shard.Load(r.handle)
	if err != nil {
		if closed := r.db.check(); closed != nil {
			err = closed // and with it the files that runs are loaded from
		}
	}
	return snap, err
}

// head returns what is known of the newest published version without loading it.
func (r *Run) head() (*shard.Head, error) {
	if err := r.db.check(); err != nil {
		return nil, err
	}
	head := r.handle.Head()
	if head == nil {
		return nil, run.ErrDeleted
	}
	return head, nil
}

// Info returns the run's metadata as of now; it belongs to the caller.
func (r *Run) Info() (*run.Info, error) {
	snap, err := r.head()
	if err != nil {
		return nil, err
	}
	info := snap.Info.Clone()
	info.LastVersion = snap.Version
	return info, nil
}

// Digest returns the fingerprint of the run's state, in O(run), and the
// version it is of.
func (r *Run) Digest() (digest Digest, version uint64, err error) {
	snap, err := r.snapshot()
	if err != nil {
		return Digest{}, 0, err
	}
	return snap.Digest(), snap.Version, nil
}

// End ends the run with a status: run.Completed, run.Failed or run.Cancelled.
// Others, and a run that cannot end so any more, are a *run.TransitionError.
func (r *Run) End(ctx context.Context, status run.Status) error {
	if !status.Ended() || status == run.Archived {
		return &run.TransitionError{ID: r.ID(), From: run.Active, To: status}
	}
	return r.setStatus(ctx, status)
}

// Pause stops writes to an active run until Resume. Like Resume, Archive and
// End it returns a *run.TransitionError where the lifecycle has no such change,
// and ErrSpace for a space.
func (r *Run) Pause(ctx context.Context) error { return r.setStatus(ctx, run.Paused) }

// Resume makes a paused run active again.
func (r *Run) Resume(ctx context.Context) error { return r.setStatus(ctx, run.Active) }

// Archive puts a run away, ended or not. It is final.
func (r *Run) Archive(ctx context.Context) error { return r.setStatus(ctx, run.Archived) }

func (r *Run) setStatus(ctx context.Context, to run.Status) error {
	if err := r.db.check(); err != nil {
		return err
	}
	return r.shard.SetStatus(ctx, r.ID(), to, r.fence, op.Default)
}

// KV returns the key-value face of the run.
func (r *Run) KV() kv.Store { return kv.New((*face)(r)) }

// errStop ends a reading of the log whose reader has seen enough.
var errStop = errors.New("stop")

// History returns the run's commits with from <= version, in order, as far as
// they were acknowledged when the loop begins, read from the log: O(run), not
// O(log). What retention removed is left out: the versions begin later then, and go
// on without gaps. Each commit belongs to the caller. The loop ends after an error.
func (r *Run) History(ctx context.Context, from uint64) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		head, err := r.head()
		if err != nil {
			yield(nil, err)
			return
		}
		r.commits(ctx, head, from)(yield)
	}
}

// commits reads the commits up to a version from the log: from the first one on
// behind which all are kept.
func (r *Run) commits(ctx context.Context, head *shard.Head, from uint64) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		log, err := r.shard.History(ctx)
		if err == nil && !log.Whole(head.FirstSeq, head.LastSeq) {
			var kept uint64
			kept, err = r.keptSince(ctx, log, head)
			from = max(from, kept)
		}
		last := uint64(0)
		if err == nil {
			err = r.logged(ctx, log, head, func(c *Commit, _ bool) error {
				if c.Version < from {
					return nil
				}
				if last != 0 && c.Version != last+1 { // removed while it was read
					return &VersionGoneError{Version: last + 1, First: c.Version, Last: head.Version}
				}
				if last = c.Version; !yield(c, nil) {
					return errStop
				}
				return nil
			})
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// keptSince returns the first version from which on all commits are kept.
func (r *Run) keptSince(ctx context.Context, log *wal.History, head *shard.Head) (first uint64, err error) {
	last := uint64(0)
	err = r.logged(ctx, log, head, func(c *Commit, cut bool) error {
		if cut && c.Version != last+1 {
			first = c.Version
		}
		last = c.Version
		return nil
	})
	return first, err
}

// logged reads what the log has of the run up to a version; cut says that
// something before a commit may not be kept.
func (r *Run) logged(ctx context.Context, log *wal.History, head *shard.Head, fn func(c *Commit, cut bool) error) error {
	return log.Stream(ctx, r.ID(), head.FirstSeq, head.LastSeq, func(f wal.Frame) error {
		if f.Kind != wal.Record {
			return nil // it stands for commits that are not kept
		}
		c, err := op.DecodeCommit(f.Payload)
		if err != nil {
			return err
		}
		return fn(&c, f.Cut)
	})
}

// face is a run as the faces see it.
type face Run

// Get implements op.Run.
func (f *face) Get(tag op.Tag, key string) (op.Item, error) {
	snap, err := (*Run)(f).snapshot()
	if err != nil {
		return op.Item{}, err
	}
	it, ok := snap.Get(tag, key)
	// The clock is asked only where there is something to ask it about.
	if !ok || it.Deadline != 0 && it.Expired(f.db.store.Clock.Now()) {
		return op.Item{}, op.ErrNotFound
	}
	return it, nil
}

// View implements op.Run.
func (f *face) View() (op.View, error) {
	snap, err := (*Run)(f).snapshot()
	if err != nil {
		return nil, err
	}
	return &view{snap: snap, now: f.db.store.Clock.Now()}, nil
}

// Commit implements op.Run.
func (f *face) Commit(ctx context.Context, req *op.Request) (op.Result, error) {
	if err := f.db.check(); err != nil {
		return op.Result{}, err
	}
	fenced := *req
	fenced.Fence = f.fence
	res, err := f.shard.Commit(ctx, f.handle.ID, &fenced)
	if err == nil {
		f.db.committed(f.handle.ID, req.Writes)
	}
	return res, err
}

// Limits implements op.Run.
func (f *face) Limits() op.Limits { return f.db.limits }

// Now implements op.Run.
func (f *face) Now() int64 { return f.db.store.Clock.Now() }

// History implements op.Run.
func (f *face) History(ctx context.Context, from uint64) iter.Seq2[*Commit, error] {
	return (*Run)(f).History(ctx, from)
}

// view is a snapshot at a moment.
type view struct {
	snap *shard.Snapshot
	now  int64
}

func (v *view) Version() uint64 { return v.snap.Version }

func (v *view) Get(tag op.Tag, key string) (op.Item, bool) {
	it, ok := v.snap.Get(tag, key)
	return it, ok && !it.Expired(v.now)
}

func (v *view) Scan(tag op.Tag, r op.Range, fn func(key string, it op.Item) bool) {
	v.snap.Scan(tag, r, v.now, fn)
}

// Diff implements op.Snapshot.
func (v *view) Diff(old op.Snapshot, tag op.Tag, r op.Range, most int, fn func(key string, was, is *op.Item) bool) bool {
	before, ok := old.(*view)
	return ok && before.snap.ID == v.snap.ID && v.snap.Diff(before.snap, tag, r, most, fn)
}
