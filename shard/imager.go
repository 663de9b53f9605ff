package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"inmem/actor"
	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// imager takes a shard's checkpoints: the owner hands it snapshots, which
// never change, and goes on while they are written.
type imager struct {
	shard *Shard
	jobs  chan imageJob
	actor *actor.Actor

	// The owner's.
	running bool
	base    int64      // bytes of the log when the last checkpoint was begun
	taken   int64      // … and the time, Unix ms
	next    int64      // bytes it must grow before the next is considered
	waiting []*command // those who asked for a checkpoint that has not begun …
	served  []*command // … and for the one that is running

	// The background's. Others may read the files that the newest index names, which
	// is in the roll, while they hold files.
	files   sync.RWMutex
	deleted []run.ID
	told    []run.ID             // of them, those that are not in the checkpoint yet
	pending map[run.ID]*Snapshot // changed since the newest checkpoint on disk
	last    uint64               // sequence of that checkpoint; 0 = none
	gone    int                  // how many deleted runs it has
	begun   atomic.Int64         // base, for others
	outcome error                // of the checkpoint taken last; for others after the end
}

// imageJob is what changed in a shard up to a sequence of its log.
type imageJob struct {
	sequence uint64
	now      int64
	changed  []*Snapshot
	deleted  []run.ID
}

// CheckpointDone tells that a checkpoint counts from now on, or that it could
// not be taken for lack of space.
type CheckpointDone struct {
	Shard    int
	Sequence uint64 // the log up to here is covered
	Runs     int    // whose images were written
	Bytes    int64  // of the file
	Err      error
}

func newImager(s *Shard) *imager {
	im := &imager{
		shard: s, jobs: make(chan imageJob, 1), base: -s.cfg.Tail, next: max(s.cfg.CheckpointBytes, 0),
		pending: map[run.ID]*Snapshot{},
	}
	if s.cfg.Clock != nil {
		im.taken = s.cfg.Clock.Now() // or earlier, which nobody knows
	}
	if x := s.cfg.Index; x != nil {
		s.index.Store(x)
		im.deleted, im.last, im.gone = x.Deleted, x.Sequence, len(x.Deleted)
	}
	im.begun.Store(im.base)
	return im
}

func (im *imager) start(name string) {
	im.actor = actor.Go(name, func() {
		for job := range im.jobs {
			done := im.take(job)
			im.outcome = done.Err
			im.shard.cfg.OnCheckpoint(done)
			if done.Err != nil && !errors.Is(done.Err, op.ErrDiskFull) {
				im.shard.health.Poison(done.Err)
			}
			im.tellOwner(done.Err)
		}
	}, func(p *actor.PanicError) {
		im.shard.health.Poison(p)
		im.tellOwner(p) // those who wait for the checkpoint must not wait for ever
	})
}

// tellOwner tells the owner that a checkpoint ended. A closed mailbox is no
// matter: then stop answers those who wait.
func (im *imager) tellOwner(err error) {
	_ = im.shard.mailbox.Send(context.Background(), &command{kind: imaged, err: err})
}

// stop waits for a running checkpoint. The owner must have ended.
func (im *imager) stop() {
	close(im.jobs)
	im.actor.Wait()
	if err := im.shard.health.Err(); err != nil {
		im.giveUp(err)
		return
	}
	im.answer(im.served, im.outcome)
	im.served = nil
	im.giveUp(op.ErrClosed)
}

// giveUp answers all who wait for a checkpoint.
func (im *imager) giveUp(err error) {
	im.answer(im.served, err)
	im.answer(im.waiting, err)
	im.served, im.waiting = nil, nil
}

func (im *imager) answer(list []*command, err error) {
	for _, c := range list {
		c.err = err
		c.done <- struct{}{}
	}
}

// finished is the owner's part when a checkpoint ended.
func (im *imager) finished(c *command) {
	im.running = false
	im.answer(im.served, c.err)
	im.served = nil
	c.err = nil
}

// Bounds of checkpoints that nobody asked for. What is written of runs that
// changed is compared with what was logged since the last one: the memory they
// take stands for the size of their images.
const (
	// shortTail is so little to replay that no checkpoint is worth it, in bytes.
	shortTail = 1 << 20
	// busyShare is how many times as much as the log a busy shard may write in
	// checkpoints, and idleShare one that has nothing else to do just now.
	busyShare = 2
	idleShare = 4
	// indexedRun is about what a run takes in an index, in bytes.
	indexedRun = 150
	// oldTail is how long a tail lies that is not short, in ms.
	oldTail = 60_000
)

// grown is how much was logged since the last checkpoint was begun.
func (im *imager) grown() int64 { return int64(im.shard.log.Stats().Bytes) - im.base }

// worth is about what a checkpoint would write: images of what changed, and an index
// of all runs.
func (im *imager) worth() int64 {
	return im.shard.state.dirtyBytes + im.shard.metrics.runs.Load()*indexedRun
}

// consider begins a checkpoint when somebody asked for one, or when the log
// has grown by more than CheckpointBytes and by enough for what the checkpoint
// would write.
func (im *imager) consider() {
	if im.running {
		return
	}
	if len(im.waiting) == 0 {
		grown := im.grown()
		if im.shard.cfg.CheckpointBytes < 0 || grown < im.next {
			return
		}
		if least := im.worth() / busyShare; grown < least {
			im.next = least
			return
		}
	}
	im.begin()
}

// considerTime begins a checkpoint when the shard has fallen silent, or when the
// last one is old, so that there is little to replay whenever the process ends.
func (im *imager) considerTime(silent bool) {
	s := im.shard
	grown := im.grown()
	if im.running || s.cfg.CheckpointBytes < 0 || grown < shortTail || s.health.Err() != nil {
		return
	}
	if !silent && s.cfg.Clock.Now()-im.taken < oldTail {
		return
	}
	if grown >= im.worth()/idleShare {
		im.begin()
	}
}

// final begins a checkpoint that nothing comes after. The owner must have ended.
func (im *imager) final() {
	if im.shard.cfg.CheckpointBytes >= 0 && im.grown() >= shortTail && im.shard.health.Err() == nil {
		im.begin()
	}
}

// begin hands what changed to the background.
func (im *imager) begin() {
	s := im.shard
	// What Async keeps in memory is in the snapshots: it must be in the log
	// before a checkpoint says so.
	err := s.log.Commit(op.Batched)
	if err == nil {
		err = s.log.Renew()
	}
	if err != nil && !errors.Is(err, op.ErrDiskFull) {
		s.health.Poison(err)
		return
	}
	job := imageJob{sequence: s.log.Next() - 1, now: s.cfg.Clock.Now(), deleted: s.state.newlyDeleted}
	for _, r := range s.state.dirty {
		if !r.dropped {
			job.changed = append(job.changed, r.handle.snapshot.Load())
		}
	}
	s.state.clean()
	im.running, im.taken = true, job.now
	im.base, im.next = int64(s.log.Stats().Bytes), max(s.cfg.CheckpointBytes, 0)
	im.begun.Store(im.base)
	im.served, im.waiting = append(im.served, im.waiting...), nil
	im.jobs <- job // has room: one job at a time, but for the final one
}

// take writes one checkpoint. With op.ErrDiskFull the last one stands, and the
// next will hold what this one could not.
func (im *imager) take(job imageJob) (done CheckpointDone) {
	done = CheckpointDone{Shard: im.shard.cfg.Number, Sequence: job.sequence}
	for _, snap := range job.changed {
		im.pending[snap.ID] = snap
	}
	for _, id := range job.deleted {
		delete(im.pending, id)
	}
	im.deleted, im.told = append(im.deleted, job.deleted...), append(im.told, job.deleted...)
	if job.sequence == im.last {
		return done // nothing was logged since
	}
	done.Runs = len(im.pending)
	done.Bytes, done.Err = im.write(job)
	// After a failed sync or rename nobody knows what the disk holds: such a
	// failure stops the store, for whatever reason it failed.
	var final *checkpoint.FinalError
	if vfs.IsNoSpace(done.Err) && !errors.As(done.Err, &final) {
		done.Err = fmt.Errorf("%w: %w", op.ErrDiskFull, done.Err)
	}
	return done
}

func (im *imager) write(job imageJob) (size int64, err error) {
	cfg := &im.shard.cfg
	w, err := checkpoint.NewWriter(cfg.FS, cfg.Dir, cfg.Store, uint32(cfg.Number), job.sequence, job.now)
	if err != nil {
		return 0, err
	}
	if cfg.Zstd {
		if err := w.Compress(); err != nil {
			return 0, errors.Join(err, w.Abort())
		}
	}
	slices.SortFunc(im.deleted, run.ID.Compare)
	last := im.shard.index.Load()
	if len(im.told) > 0 {
		slices.SortFunc(im.told, run.ID.Compare)
		last = last.With(nil, im.told)
	}
	changed, err := im.images(w, last)
	if err != nil {
		return 0, errors.Join(err, w.Abort())
	}
	next := last.With(changed, nil)
	next.Sequence, next.Time, next.Deleted = job.sequence, job.now, nil
	if err := w.Finish(next.All, slices.Values(im.deleted)); err != nil {
		return 0, errors.Join(err, w.Abort())
	}
	// The log must reach as far as the checkpoint does, or the next commits
	// would leave a gap in it.
	if err := im.shard.log.Sync(); err != nil {
		return 0, err
	}
	err = cfg.Manifest.Update(func(m *checkpoint.Manifest) {
		m.Time = max(m.Time, job.now)
		m.Shards[cfg.Number].Checkpoint = job.sequence
		m.Shards[cfg.Number].Synced = im.shard.log.Synced()
	})
	if err != nil {
		return 0, err
	}
	im.files.Lock()
	defer im.files.Unlock()
	im.shard.index.Store(next)
	im.last, im.gone = job.sequence, len(im.deleted)
	clear(im.pending)
	for _, id := range im.told {
		im.shard.handles.Delete(id)
	}
	im.told = nil
	im.shard.metrics.checkpoints.Add(1)
	keep := map[uint64]bool{job.sequence: true}
	for e := range next.All {
		for file := range e.Held {
			keep[file] = true
		}
	}
	return w.Size(), checkpoint.Clean(cfg.FS, cfg.Dir, keep)
}

// Image returns the newest image of a run on disk, if there is one, and a state
// that has just that run as it was then, unless the image is younger than a
// version.
func (s *Shard) Image(id run.ID, version uint64) (e *checkpoint.Entry, st *State, err error) {
	s.images.files.RLock() // the files stay as long
	defer s.images.files.RUnlock()
	found, ok := s.index.Load().Find(id)
	if !ok {
		return nil, nil, nil
	}
	if e = &found; e.Version > version {
		return e, nil, nil
	}
	files := checkpoint.OpenFiles(s.cfg.FS, s.cfg.Dir, s.cfg.Store, uint32(s.cfg.Number))
	defer func() { err = errors.Join(err, files.Close()) }()
	st = NewState()
	item, err := st.Load(e)
	if err == nil {
		err = files.Image(e, item)
	}
	if err != nil && s.readOnly() {
		if _, gone := s.cfg.FS.Stat(files.Name(e)); errors.Is(gone, fs.ErrNotExist) {
			return nil, nil, nil // replaced by whoever writes
		}
	}
	return e, st, err
}

// images writes the images of what changed, and again what lies in files of which
// more than half is dead, so that these files can go. It returns the entries that
// are not as in the last index any more, of which last is what there still is, in
// order.
func (im *imager) images(w *checkpoint.Writer, last *checkpoint.Table) (changed []*checkpoint.Entry, err error) {
	cfg := &im.shard.cfg
	files := checkpoint.OpenFiles(cfg.FS, cfg.Dir, cfg.Store, uint32(cfg.Number))
	defer func() { err = errors.Join(err, files.Close()) }()
	large := map[run.ID]*checkpoint.Large{}
	live := map[uint64]int64{}
	for id, snap := range im.pending {
		if snap.keys.LargeBytes() == 0 {
			continue
		}
		var before *checkpoint.Entry
		if e, ok := last.Find(id); ok {
			before = &e
		}
		if large[id], err = files.Large(before, snap.All()); err != nil {
			return nil, err
		}
		for file, bytes := range large[id].Held {
			live[file] += bytes
		}
	}
	for e := range last.All {
		if im.pending[e.Run] != nil {
			continue
		}
		for file, bytes := range e.Held {
			live[file] += bytes
		}
	}
	rewrite, err := im.worthRewriting(live, files)
	if err != nil {
		return nil, err
	}
	for id, snap := range im.pending {
		e := &checkpoint.Entry{
			Run: id, Version: snap.Version, Time: snap.Time,
			FirstSeq: snap.FirstSeq, LastSeq: snap.LastSeq, Info: snap.Info.AppendRecord(nil),
		}
		if l := large[id]; l == nil {
			err = w.Image(e, snap.All())
		} else {
			err = w.ImageApart(e, snap.All(), l, rewrite)
		}
		if err != nil {
			return nil, err
		}
		changed = append(changed, e)
	}
	moved, err := im.move(w, last, files, rewrite)
	changed = append(changed, moved...)
	slices.SortFunc(changed, func(a, b *checkpoint.Entry) int { return a.Run.Compare(b.Run) })
	return changed, err
}

// move writes again what lies in the files of runs that did not change.
func (im *imager) move(w *checkpoint.Writer, last *checkpoint.Table, files *checkpoint.Files, from map[uint64]bool) (moved []*checkpoint.Entry, err error) {
	if len(from) == 0 {
		return nil, nil
	}
	for e := range last.All {
		if im.pending[e.Run] != nil || !lies(e, from) {
			continue
		}
		again := *e
		err := w.Move(&again, files, from)
		switch {
		case err == nil:
			moved = append(moved, &again)
		case !errors.Is(err, op.ErrCorrupt):
			return nil, err
		}
		// A damaged image stays where it is.
	}
	return moved, nil
}

// lies reports whether some of a run lies in one of the files.
func lies(e *checkpoint.Entry, files map[uint64]bool) bool {
	for file := range e.Held {
		if files[file] {
			return true
		}
	}
	return false
}

// worthRewriting returns the files of which more than half is dead, by what is
// live in each: those that give back most for it, and no more of them than are
// written in a moment. The next checkpoints take the others.
func (im *imager) worthRewriting(live map[uint64]int64, files *checkpoint.Files) (map[uint64]bool, error) {
	var list []uint64
	for file, bytes := range live {
		size, err := files.Size(file)
		if errors.Is(err, op.ErrCorrupt) {
			continue // whoever uses a run of it is told
		}
		if err != nil {
			return nil, err
		}
		if bytes < size/2 {
			list = append(list, file)
		}
	}
	slices.SortFunc(list, func(a, b uint64) int { return cmp.Or(cmp.Compare(live[a], live[b]), cmp.Compare(a, b)) })
	rewrite, left := map[uint64]bool{}, int64(maxRewritten)
	for _, file := range list {
		if left < live[file] && len(rewrite) > 0 {
			break
		}
		rewrite[file] = true
		left -= live[file]
	}
	return rewrite, nil
}

// maxRewritten bounds the bytes of images that a checkpoint writes again to give
// back the files that they are in, but that one file is always taken.
const maxRewritten = 64 << 20
