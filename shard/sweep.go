package shard

import (
	"context"
	"errors"
	"fmt"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/retention"
	"inmem/run"
	"inmem/wal"
)

// SweepOptions say what a sweep does.
type SweepOptions struct {
	Policy      *retention.Policy
	SegmentSize int64
	Zstd        bool // compress what is compacted
	Full        bool // compact all segments of which something is not kept
	DryRun      bool // only look
	// All lets what is not in a checkpoint, or not sealed, become so first.
	All bool
	// Gone says of runs that they are to be taken for deleted, in a dry run; nil =
	// of none.
	Gone func(run.ID) bool
	// Pace is called between small steps and may wait; nil = there is no need.
	Pace func(context.Context) error
}

// Swept is what a sweep found and did. Bytes of the log are those of files.
type Swept struct {
	Segments  int   // that were looked at
	LogBytes  int64 // they took
	DeadBytes int64 // of their frames that are not kept
	Freed     int64 // given back, or what would be
	Removed   int   // segments that went …
	Compacted int   // … and that were compacted into others
	Written   int64 // by that
	Looked    int64 // bytes of indexes that were read to find that out

	ImageBytes     int64 // that the checkpoint files take
	DeadImageBytes int64 // of these, which no run needs; the next checkpoints give them back
}

func (cfg *Config) identity() wal.Identity {
	return wal.Identity{Store: cfg.Store, Shard: uint32(cfg.Number)}
}

// Sweep removes what the policy does not keep of the log that the newest
// checkpoint covers: it compacts segments of which more than half is not kept,
// and trims the log. What somebody who watches has not read yet stays. It goes on
// beside the owner, on its caller's goroutine, one
// sweep at a time.
//
// Errors: op.ErrDiskFull, after which it may be tried again; *op.CorruptError for
// a segment that cannot be read, which stays; ctx.Err(); op.ErrClosed,
// op.ErrPoisoned.
func (s *Shard) Sweep(ctx context.Context, opts SweepOptions) (out Swept, err error) {
	select {
	case s.sweeping <- struct{}{}:
		defer func() { <-s.sweeping }()
	case <-ctx.Done(): // a sweep may take its time, with pauses
		return out, ctx.Err()
	}
	if !opts.DryRun && s.readOnly() {
		return out, op.ErrReadOnly
	}
	if opts.All && !opts.DryRun {
		if err := s.cover(ctx); err != nil {
			return out, err
		}
	}
	for range maxReplans {
		out = Swept{}
		sw := &sweep{shard: s, opts: &opts, out: &out}
		err = sw.do(ctx)
		var none *noBaseError
		if !errors.As(err, &none) {
			break
		}
		s.noBase[none.id] = true // and begin anew: nothing that depends on it was done
	}
	var final *wal.FinalError
	var finalToo *checkpoint.FinalError
	if errors.As(err, &final) || errors.As(err, &finalToo) {
		s.health.Poison(err)
		err = s.health.Err()
	}
	return out, err
}

// maxReplans bounds how often a sweep begins anew.
const maxReplans = 20

// cover lets the whole log be sealed and in a checkpoint.
func (s *Shard) cover(ctx context.Context) error {
	if err := s.tend(ctx, (*wal.Log).Rotate); err != nil {
		return err
	}
	s.log.AwaitSealed()
	return s.Checkpoint(ctx)
}

// tend lets the owner do something to the log.
func (s *Shard) tend(ctx context.Context, fn func(*wal.Log) error) error {
	c := s.newCommand(tend, run.ID{})
	c.tend = fn
	return s.simple(ctx, c)
}

// sweep is one sweep on its way.
type sweep struct {
	shard *Shard
	opts  *SweepOptions
	out   *Swept
	log   *wal.History
	plan  *plan
	bytes int64 // read since the last pause
}

func (sw *sweep) do(ctx context.Context) (err error) {
	s := sw.shard
	if sw.log, err = s.History(ctx); err != nil {
		return err
	}
	entries, covered := s.images.newest()
	covered = min(covered, s.feed.read())
	segments, err := sw.segments(ctx, covered)
	if err != nil {
		return err
	}
	runs := func(id run.ID) (keptRun, bool) { return sw.covered(entries, id) }
	if sw.opts.DryRun {
		runs = func(id run.ID) (keptRun, bool) { return sw.present(entries, id) }
	}
	if sw.plan, err = newPlan(ctx, &s.cfg, segments, runs); err != nil {
		return err
	}
	list, trim := sw.plan.groups(sw.opts)
	sw.out.DeadBytes = sw.plan.deadBytes()
	if err := sw.measureImages(); err != nil {
		return err
	}
	if sw.opts.DryRun {
		sw.out.Freed = sw.plan.freed(list, trim)
		sw.out.Removed, sw.out.Compacted = trim, len(list)
		return nil
	}
	defer func() { s.metrics.swept(sw.out) }()
	for _, g := range list {
		if err := sw.compact(ctx, g); err != nil {
			return err
		}
	}
	return sw.trim(ctx, trim)
}

// segments returns what is in the segments that can be swept: sealed ones that a
// checkpoint covers, or, where it is only asked what there is, all.
func (sw *sweep) segments(ctx context.Context, covered uint64) (list []*wal.Contents, err error) {
	for i := range sw.log.Segments() {
		c, err := sw.log.Contents(i)
		if err != nil {
			return nil, err
		}
		if !sw.opts.DryRun && (c.Open || c.Last > covered) {
			break
		}
		list = append(list, c)
		sw.out.Segments++
		sw.out.LogBytes += c.Size
		if !c.Open {
			sw.out.Looked += max(c.Size-c.Bytes, 0)
		}
		if err := sw.pause(ctx, 1<<20); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// pause gives way to others now and then.
func (sw *sweep) pause(ctx context.Context, bytes int64) error {
	if sw.bytes += bytes; sw.bytes < pauseAfter {
		return nil
	}
	sw.bytes = 0
	if sw.opts.Pace != nil {
		return sw.opts.Pace(ctx)
	}
	return ctx.Err()
}

// pauseAfter is how many bytes are read between two pauses.
const pauseAfter = 4 << 20

// covered says what the newest checkpoint has of a run.
func (sw *sweep) covered(entries *checkpoint.Table, id run.ID) (r keptRun, there bool) {
	e, there := entries.Find(id)
	if !there {
		return r, false
	}
	r = keptRun{e.Version, e.Size(), sw.history(id, &e)}
	if r.history > 0 && sw.shard.noBase[id] {
		r.history = retention.AllVersions
	}
	return r, true
}

// present says what there is of a run now, as if a checkpoint had it.
func (sw *sweep) present(entries *checkpoint.Table, id run.ID) (r keptRun, there bool) {
	head := sw.shard.head(id)
	if head == nil || sw.opts.Gone != nil && sw.opts.Gone(id) {
		return r, false
	}
	r = keptRun{version: head.Version, history: sw.opts.Policy.HistoryOf(head.Info)}
	if e, ok := entries.Find(id); ok {
		r.image = e.Size()
	}
	return r, true
}

// history returns how much of a run's history is kept: by what the run is now,
// or, where it was deleted since, by what it was.
func (sw *sweep) history(id run.ID, e *checkpoint.Entry) retention.Versions {
	if head := sw.shard.head(id); head != nil {
		return sw.opts.Policy.HistoryOf(head.Info)
	}
	info, err := run.DecodeRecord(id, e.Info)
	if err != nil {
		return retention.AllVersions
	}
	return sw.opts.Policy.HistoryOf(info)
}

// compact makes one segment of a group.
func (sw *sweep) compact(ctx context.Context, g group) error {
	var segments []wal.Sealed
	size := int64(0)
	for _, c := range sw.plan.segments[g.first : g.last+1] {
		segments = append(segments, c.Sealed)
		size += c.Size
	}
	cfg := &sw.shard.cfg
	by, err := wal.Compact(cfg.FS, cfg.identity(), segments, wal.Compaction{
		Keep: func(f wal.Frame) (wal.Kind, []byte, error) { return sw.keep(ctx, f) },
		Zstd: sw.opts.Zstd, Now: cfg.Clock.Now(),
	})
	if by.Path != "" { // whatever became of those it covers
		err = errors.Join(err, sw.shard.tend(ctx, func(l *wal.Log) error { l.Replaced(by); return nil }))
		sw.out.Compacted += len(segments)
		sw.out.Written += by.Size
		sw.out.Freed += size - by.Size
	}
	return err
}

// keep says what becomes of a record.
func (sw *sweep) keep(ctx context.Context, f wal.Frame) (wal.Kind, []byte, error) {
	if err := sw.pause(ctx, int64(len(f.Payload))); err != nil {
		return 0, nil, err
	}
	id, version := run.ID(f.Payload), versionOfRecord(f.Payload)
	switch sw.plan.cuts[id].of(version, f.Kind) {
	case goes:
		return 0, nil, nil
	case rebased:
		base, err := sw.base(ctx, id, version, f.Sequence)
		return wal.Base, base, err
	}
	return f.Kind, f.Payload, nil
}

// base rebuilds a run as it was at a version.
func (sw *sweep) base(ctx context.Context, id run.ID, version, seq uint64) ([]byte, error) {
	p := NewPast()
	if err := p.Follow(ctx, sw.log, id, 1, seq, version, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", &noBaseError{id, version}, err)
	}
	base, ok := baseOf(p.Snapshot(id))
	if !ok {
		return nil, &noBaseError{id, version}
	}
	return base, nil
}

// trim removes the oldest segments: first by the manifest, then for good.
func (sw *sweep) trim(ctx context.Context, n int) error {
	if n == 0 {
		return ctx.Err()
	}
	s := sw.shard
	first := sw.plan.segments[n-1].Last + 1
	err := s.cfg.Manifest.Update(func(m *checkpoint.Manifest) { m.Shards[s.cfg.Number].First = max(m.Shards[s.cfg.Number].First, first) })
	if err != nil {
		return err
	}
	var segments []wal.Sealed
	for _, c := range sw.plan.segments[:n] {
		segments = append(segments, c.Sealed)
		sw.out.Removed++
		sw.out.Freed += c.Size
	}
	if err := s.tend(ctx, func(l *wal.Log) error { l.Trimmed(first); return nil }); err != nil {
		return err
	}
	return wal.Trim(s.cfg.FS, segments, first)
}

// measureImages adds up what the checkpoint files take, and what of it is dead.
func (sw *sweep) measureImages() (err error) {
	cfg, im := &sw.shard.cfg, sw.shard.images
	files := checkpoint.OpenFiles(cfg.FS, cfg.Dir, cfg.Store, uint32(cfg.Number))
	defer func() { err = errors.Join(err, files.Close()) }()
	im.files.RLock() // the files stay as long
	defer im.files.RUnlock()
	live := map[uint64]int64{}
	if im.last != 0 {
		live[im.last] = 0
	}
	for e := range sw.shard.index.Load().All {
		gone := sw.opts.Gone != nil && sw.opts.Gone(e.Run)
		for file, bytes := range e.Held {
			if gone {
				bytes = 0
			}
			live[file] += bytes
		}
	}
	for file, bytes := range live {
		size, err := files.Size(file)
		if errors.Is(err, op.ErrCorrupt) && sw.shard.readOnly() {
			continue // replaced by whoever writes
		}
		if err != nil {
			return err
		}
		sw.out.ImageBytes += size
		sw.out.DeadImageBytes += max(size-bytes, 0)
	}
	return nil
}

// newest returns what the newest checkpoint has, which does not change, and the
// sequence that it covers.
func (im *imager) newest() (*checkpoint.Table, uint64) {
	im.files.RLock()
	defer im.files.RUnlock()
	return im.shard.index.Load(), im.last
}

// LogState is how far a shard's log and its checkpoint have come.
type LogState struct {
	Bytes   uint64 // handed to the operating system since the store was opened
	Covered uint64 // the sequence up to which the newest checkpoint covers it
	Tail    int64  // bytes logged since that was begun
	Deleted int    // runs that were deleted, as of the checkpoint
}

// LogState returns how far the log has come by now.
func (s *Shard) LogState() LogState {
	im := s.images
	im.files.RLock()
	defer im.files.RUnlock()
	bytes := s.log.Stats().Bytes
	return LogState{Bytes: bytes, Covered: im.last, Tail: int64(bytes) - im.begun.Load(), Deleted: im.gone}
}

// Remove deletes a run that has ended, unless it is to be kept, and reports
// whether it did.
func (s *Shard) Remove(ctx context.Context, id run.ID) (removed bool, err error) {
	c := s.newCommand(remove, id)
	mine, err := s.do(ctx, c)
	if mine {
		removed = c.logged && err == nil
		s.release(c)
	}
	if errors.Is(err, run.ErrNotFound) {
		err = nil // somebody was faster
	}
	return removed, err
}

// SetTag changes a tag of a run's metadata.
func (s *Shard) SetTag(ctx context.Context, id run.ID, key, value string, fence op.Expect) error {
	return s.settled(ctx, id, func() error {
		c := s.newCommand(setTag, id)
		c.tag, c.req.Fence = [2]string{key, value}, fence
		return s.simple(ctx, c)
	})
}
