package inmem

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/wal"
)

// Watch returns the run's commits with from <= version, in order and without
// gaps, those there are and then those to come, as they become visible. It
// waits for the next one, and ends with the body of the loop, with an error
// (ctx.Err(), ErrClosed, ErrPoisoned, a *CorruptError), or, once the run was
// deleted, with ErrRunDeleted after the commit that deleted it.
//
// The loop may be as slow as it likes: nobody waits for it, but that retention
// leaves what it has not got yet. What it falls behind with is read from the log.
// Begin again at any version that is kept: what retention removed before the loop
// began is left out. A commit belongs to the caller.
func (r *Run) Watch(ctx context.Context, from uint64) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		if err := r.watch(ctx, from, yield); !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// watch yields commits until there is a reason to stop.
func (r *Run) watch(ctx context.Context, from uint64, yield func(*Commit, error) bool) error {
	head, err := r.head()
	if err != nil {
		return err
	}
	after := head.FirstSeq - 1
	if from > head.Version {
		after = head.LastSeq
	}
	bell := make(chan struct{}, 1)
	w := r.shard.Watch(r.handle, after, bell)
	defer w.Stop()
	for {
		err := w.Read(ctx, func(l shard.Logged) error {
			c, err := op.DecodeCommit(l.Payload)
			if err != nil || c.Version < from {
				return err
			}
			if !yield(&c, nil) {
				return errStop
			}
			if len(c.Ops) == 1 && c.Ops[0].Kind == op.Drop {
				return fmt.Errorf("%w: %v", ErrRunDeleted, c.Run)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := r.db.await(ctx, bell); err != nil {
			return err
		}
	}
}

// await waits until the bell rings, or for a reason to wait no longer.
func (db *DB) await(ctx context.Context, bell <-chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-bell:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-db.ended:
		if err := db.check(); err != nil {
			return err
		}
		return db.health.Err()
	}
}

// Cursor is a place in the commits of a store, from which Watch can go on: how
// far each shard's log was read. The zero Cursor is the beginning of what is
// kept. Its text form can be stored.
type Cursor struct {
	after []uint64
}

var (
	_ encoding.TextMarshaler   = Cursor{}
	_ encoding.TextUnmarshaler = (*Cursor)(nil)
)

// String returns the cursor's text form: "" for the zero Cursor.
func (c Cursor) String() string {
	var b strings.Builder
	for i, seq := range c.after {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(seq, 10))
	}
	return b.String()
}

// MarshalText returns what String does.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote; anything else is ErrInvalidCursor.
func (c *Cursor) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = Cursor{}
		return nil
	}
	var after []uint64
	for part := range strings.SplitSeq(string(text), ".") {
		seq, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %.80q", ErrInvalidCursor, text)
		}
		after = append(after, seq)
	}
	c.after = after
	return nil
}

// Change is a commit as DB.Watch gives it.
type Change struct {
	*Commit
	watch *storeWatch
}

// Cursor returns the place behind this change. Call it before the loop goes on.
func (c Change) Cursor() Cursor { return c.watch.cursor() }

// Latest returns the place behind everything that is visible now.
func (db *DB) Latest() Cursor {
	c := Cursor{after: make([]uint64, len(db.shards))}
	for i, s := range db.shards {
		c.after[i] = s.Published()
	}
	return c
}

// Watch returns the commits of all runs that the filter chooses, from a place
// on: those there are, and then those to come, as they become visible. A run's
// commits come in order and without gaps, but that what retention removed before
// the loop began, of deleted runs too, is left out; between runs there is no order. Of
// the filter Namespace, Parent, Name, Tags, From, To and Spaces count. What is
// said of Run.Watch holds here too; a deleted run's last commit is its deletion.
// More errors: ErrInvalidCursor where the cursor is of another store.
func (db *DB) Watch(ctx context.Context, filter run.Filter, from Cursor) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		filter.Status, filter.Limit, filter.Reverse = nil, 0, false
		w := &storeWatch{db: db, filter: &filter, yield: yield, chosen: map[run.ID]bool{}}
		if err := w.loop(ctx, from); !errors.Is(err, errStop) {
			yield(Change{}, err)
		}
	}
}

// storeWatch is a loop over the commits of all shards.
type storeWatch struct {
	db       *DB
	filter   *run.Filter
	yield    func(Change, error) bool
	watchers []*shard.Watcher
	chosen   map[run.ID]bool // what the filter says of the runs met so far
}

func (w *storeWatch) loop(ctx context.Context, from Cursor) error {
	if err := w.db.check(); err != nil {
		return err
	}
	if from.after == nil {
		from.after = make([]uint64, len(w.db.shards))
	}
	if len(from.after) != len(w.db.shards) {
		return fmt.Errorf("%w: it is of a store with %d shards", ErrInvalidCursor, len(from.after))
	}
	bell := make(chan struct{}, 1)
	for i, s := range w.db.shards {
		watcher := s.Watch(nil, from.after[i], bell)
		defer watcher.Stop()
		w.watchers = append(w.watchers, watcher)
	}
	for {
		for i := range w.watchers {
			err := w.watchers[i].Read(ctx, func(l shard.Logged) error { return w.commit(ctx, l) })
			if err != nil {
				return err
			}
		}
		if err := w.db.await(ctx, bell); err != nil {
			return err
		}
	}
}

// commit yields a commit if its run is chosen.
func (w *storeWatch) commit(ctx context.Context, l shard.Logged) error {
	chosen, known := w.chosen[l.Run]
	if known && !chosen {
		return nil
	}
	c, err := op.DecodeCommit(l.Payload)
	if err != nil {
		return err
	}
	if !known {
		if len(w.chosen) >= maxChosen {
			clear(w.chosen)
		}
		if chosen, err = w.choose(ctx, &c); err != nil {
			return err
		}
		w.chosen[l.Run] = chosen
	}
	if len(c.Ops) == 1 && c.Ops[0].Kind == op.Drop {
		delete(w.chosen, l.Run)
	}
	if chosen && !w.yield(Change{&c, w}, nil) {
		return errStop
	}
	return nil
}

// choose asks the filter about a run that was not met before: by what the
// commit itself says of it, by what the run is now, or, if it is gone, by its
// first commit.
func (w *storeWatch) choose(ctx context.Context, c *op.Commit) (bool, error) {
	if info := metadataOf(c); info != nil {
		return w.filter.Match(info), nil
	}
	s := w.db.place(c.Run)
	if h, err := s.Find(c.Run); err == nil {
		if head := h.Head(); head != nil {
			return w.filter.Match(head.Info), nil
		}
	}
	log, err := s.History(ctx)
	if err != nil {
		return false, err
	}
	chosen := false
	err = log.Stream(ctx, c.Run, 1, log.Last(), func(f wal.Frame) error {
		first, err := op.DecodeCommit(f.Payload)
		if err != nil {
			return err
		}
		info := metadataOf(&first)
		chosen = info != nil && w.filter.Match(info)
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return chosen, err
}

// maxChosen bounds the memory of a watch over very many runs.
const maxChosen = 1 << 16

// metadataOf returns the run's metadata, if the commit has it.
func metadataOf(c *op.Commit) *run.Info {
	for i := range c.Ops {
		if c.Ops[i].Tag == op.RunMetadata && c.Ops[i].Kind == op.Put {
			if info, err := run.DecodeRecord(c.Run, c.Ops[i].Value); err == nil {
				return info
			}
		}
	}
	return nil
}

func (w *storeWatch) cursor() Cursor {
	c := Cursor{after: make([]uint64, len(w.watchers))}
	for i := range c.after {
		c.after[i] = w.watchers[i].After()
	}
	return c
}
