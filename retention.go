package inmem

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"inmem/retention"
	"inmem/run"
	"inmem/shard"
)

// Retention says what of a store is kept: how much of each run's history, and
// which runs that have ended. The zero Retention keeps everything.
//
// What is not kept is removed in the background, in small steps, every
// Options.PruneInterval, or by Prune. The history of a run is cut whatever its
// status; of its state nothing is ever lost by that. Whole runs are removed only
// if they have ended and are no spaces, have no tag TagKeep, and are not children
// of a run that has not ended. Removing a run is deleting it: see DeleteRun.
type Retention = retention.Policy

// RetentionRule holds for the runs of a namespace and with tags; of those that
// hold for a run the first one counts, instead of what the Retention itself says.
type RetentionRule = retention.Rule

// RetentionLimits are what is kept of runs.
type RetentionLimits = retention.Limits

// Versions says how much of a run's history is kept: AllVersions, NoVersions, or
// a number of versions.
type Versions = retention.Versions

// The Versions that are no number.
const (
	AllVersions = retention.AllVersions // the whole history
	NoVersions  = retention.NoVersions  // none: the run as it is
)

// The tags of a run's metadata that have a say in what is kept of it. They can be
// set when the run is begun, and changed by SetHistory and SetKeep.
const (
	// TagHistory says how much of the run's history is kept, whatever Retention
	// says: "all", "none", or a number of versions.
	TagHistory = retention.TagHistory
	// TagKeep, with any value but "" and "false", keeps the run from being removed.
	TagKeep = retention.TagKeep
)

// SetHistory says how much of the run's history is kept from now on, whatever
// Options.Retention says. It is stored with the run, in its tag TagHistory, by a
// commit, in whatever status the run is.
//
// With n > 0 the last n versions can be read by At, and their commits by History.
// With NoVersions what led to the newest checkpoint is not kept: At still has the
// newest version, and those since that checkpoint. What was removed does not come
// back: a run that keeps all of its history again has its commits from then on, and
// At has the versions from its newest image on.
//
// Errors: ErrInvalidOption for other numbers below 0; ErrRunDeleted, ErrFenced,
// *run.MetaError, ErrReadOnly, ErrDiskFull, ErrClosed, ErrPoisoned.
func (r *Run) SetHistory(ctx context.Context, keep Versions) error {
	if keep < NoVersions {
		return fmt.Errorf("%w: %d versions", ErrInvalidOption, int64(keep))
	}
	return r.setTag(ctx, TagHistory, keep.String())
}

// SetKeep says whether the run is kept when it has ended, whatever
// Options.Retention says, by its tag TagKeep. It is stored like SetHistory, and
// has the same errors.
func (r *Run) SetKeep(ctx context.Context, keep bool) error {
	return r.setTag(ctx, TagKeep, strconv.FormatBool(keep))
}

func (r *Run) setTag(ctx context.Context, key, value string) error {
	if err := r.db.check(); err != nil {
		return err
	}
	return r.shard.SetTag(ctx, r.ID(), key, value, r.fence)
}

// PruneOptions say how Prune prunes. The zero value, or nil, means the defaults.
type PruneOptions struct {
	// DryRun only finds out what would be removed, and changes nothing. It works
	// in a store that is open for reading, too.
	DryRun bool
	// Retention is used instead of Options.Retention; nil = that.
	Retention *Retention
	// Everything compacts segments also where less than half of them is not kept.
	Everything bool
}

// PruneReport says what Prune removed, or would. Sizes are in bytes.
type PruneReport struct {
	// Runs are those that were removed, those that ended first at first.
	Runs []run.ID
	// LogBytes is what the log takes as of before, LogDead what of it is not kept,
	// and LogFreed what was given back of that: what is left is in segments of
	// which more is kept than not. In a dry run it is an estimate.
	LogBytes, LogDead, LogFreed int64
	// SegmentsRemoved are the files of the log that were given back as a whole,
	// and SegmentsCompacted those that were made anew without what is not kept, or,
	// in a dry run, the files that would be made.
	SegmentsRemoved, SegmentsCompacted int
	// ImageBytes is what the checkpoints take, as of now, and ImageDead what of it
	// no run needs: the next checkpoints write what is needed elsewhere and give
	// back the rest, where it is more than half of a file.
	ImageBytes, ImageDead int64
}

// Prune removes now what Options.Retention does not keep, and makes the files
// smaller by it: it takes a checkpoint, removes runs, and compacts the log
// wherever more than half of a segment is not kept. Others go on meanwhile. Each
// removed run is a commit; its removal is as durable as the store's mode says.
// While a segment is compacted, up to Options.SegmentSize is needed beside it, in
// each shard that is at work; a checkpoint needs the images that it writes.
//
// Errors: ErrInvalidOption; ErrDiskFull and *CorruptError, where a part of the log
// cannot be read, after which the rest stays as it is; ErrReadOnly; ctx.Err();
// ErrClosed, ErrPoisoned. The report says what was done up to then.
func (db *DB) Prune(ctx context.Context, opts *PruneOptions) (*PruneReport, error) {
	if err := db.check(); err != nil {
		return nil, err
	}
	var o PruneOptions
	if opts != nil {
		o = *opts
	}
	if db.readOnly() && !o.DryRun {
		return nil, ErrReadOnly
	}
	policy := &db.opts.Retention
	if o.Retention != nil {
		own := o.Retention.Clone()
		if err := own.Validate(); err != nil {
			return nil, fmt.Errorf("%w: PruneOptions.Retention: %w", ErrInvalidOption, err)
		}
		policy = &own
	}
	p := &pruning{db: db, report: &PruneReport{}, sweep: shard.SweepOptions{
		Policy: policy, SegmentSize: db.opts.SegmentSize, Zstd: db.opts.Compression == Zstd, DryRun: o.DryRun, All: true, Full: o.Everything,
	}}
	if db.readOnly() {
		return p.report, p.all(ctx)
	}
	own, leave := db.keeper.enter(ctx)
	defer leave()
	if err := db.check(); err != nil { // closed meanwhile
		return nil, err
	}
	err := p.all(own)
	if err != nil && ctx.Err() == nil && own.Err() != nil {
		err = ErrClosed
	}
	return p.report, err
}

// pruning is one pruning on its way.
type pruning struct {
	db     *DB
	sweep  shard.SweepOptions
	report *PruneReport
}

// all prunes the whole store.
func (p *pruning) all(ctx context.Context) error {
	err := p.runs(ctx, maxRemovals)
	for i := 0; i < len(p.db.shards) && err == nil; i++ {
		_, err = p.shard(ctx, i)
	}
	return err
}

// maxRemovals is more runs than a store has.
const maxRemovals = 1 << 40

// runs removes the runs that have ended for long enough, or of which there are
// too many, up to a number of them.
func (p *pruning) runs(ctx context.Context, limit int) error {
	if !p.sweep.Policy.RemovesRuns() {
		return nil
	}
	now := p.db.store.Clock.Now()
	c := retention.NewChooser(p.sweep.Policy, now)
	filter := run.Filter{Status: []run.Status{run.Completed, run.Failed, run.Cancelled, run.Archived}}
	if latest := p.sweep.Policy.CreatedBy(now); latest < math.MaxInt64 {
		filter.To = time.UnixMilli(latest + 1) // those that came later need not be looked at
	}
	for info := range p.db.merged(&filter) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !p.awaited(info) {
			c.Add(info)
		}
	}
	chosen := c.Chosen()
	chosen = chosen[:min(len(chosen), limit)]
	gone := map[run.ID]bool{}
	for _, info := range chosen {
		removed := p.sweep.DryRun
		if !removed {
			var err error
			if removed, err = p.db.place(info.ID).Remove(ctx, info.ID); err != nil {
				return err
			}
		}
		if removed {
			gone[info.ID] = true
			p.report.Runs = append(p.report.Runs, info.ID)
		}
	}
	if p.sweep.DryRun {
		p.sweep.Gone = func(id run.ID) bool { return gone[id] }
	}
	return nil
}

// awaited reports whether the parent of a run has not ended: it may want to know
// what came of it.
func (p *pruning) awaited(info *run.Info) bool {
	if info.Parent.IsZero() {
		return false
	}
	parent, err := p.db.info(info.Parent)
	return err == nil && !parent.Status.Ended() && !parent.Space
}

// shard sweeps the log of a shard.
func (p *pruning) shard(ctx context.Context, i int) (shard.Swept, error) {
	swept, err := p.db.shards[i].Sweep(ctx, p.sweep)
	r := p.report
	r.LogBytes += swept.LogBytes
	r.LogDead += swept.DeadBytes
	r.LogFreed += swept.Freed
	r.SegmentsRemoved += swept.Removed
	r.SegmentsCompacted += swept.Compacted
	r.ImageBytes += swept.ImageBytes
	r.ImageDead += swept.DeadImageBytes
	return swept, err
}

// did reports whether anything was removed or written.
func (r *PruneReport) did() bool {
	return len(r.Runs) > 0 || r.SegmentsRemoved > 0 || r.SegmentsCompacted > 0
}

// validateRetention makes sure that a run's tags say what they mean.
func validateRetention(meta *run.Meta) error {
	if text, ok := meta.Tags[TagHistory]; ok {
		if _, err := retention.Parse(text); err != nil {
			return &run.MetaError{Field: "tags", Err: fmt.Errorf("%s: %w", TagHistory, err)}
		}
	}
	return nil
}

// keepsAll reports whether nothing in a shard, neither the policy nor a run's
// tag, lets history be cut.
func (db *DB) keepsAll(s *shard.Shard) bool {
	return !db.opts.Retention.CutsHistory() && !s.CutsHistory()
}
