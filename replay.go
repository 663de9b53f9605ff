package inmem

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"inmem/op"
	"inmem/run"
	"inmem/shard"
)

// ReplayOptions bounds a replay. The zero value, or nil, means the whole run.
type ReplayOptions struct {
	From uint64 // the first version to give; 0 = the run's first
	To   uint64 // the last one; 0 = the newest as of the beginning of the loop
}

// Replayed is a commit of a run, and the run as it was after it.
type Replayed struct {
	*Commit // the caller's
	run     *Run
	replay  *replay
}

// Past returns the run as it was after the commit: in O(1) as long as the loop
// has not gone on, and as Run.At does later. Deadlines are judged by the time of
// the commit. It is for the goroutine of the loop.
func (r *Replayed) Past(ctx context.Context) (*Past, error) {
	if r.replay.Version() != r.Version {
		return r.run.At(ctx, r.Version)
	}
	if err := r.run.db.check(); err != nil {
		return nil, err
	}
	snap := r.replay.Snapshot(r.Run)
	return &Past{run: r.run, snap: snap, now: snap.Time}, nil
}

// Replay carries the run's commits out again, in order, on a state of its own,
// and gives each with the run as it was then. It reads the log and nothing else,
// in O(run), not O(log); it runs nothing, writes nothing, and comes out the same
// each time. The run as of the beginning of the loop is replayed, whatever
// becomes of it meanwhile. The loop ends after an error.
//
// Errors: ErrRunNotFound; ErrInvalidOption where To is before From;
// *VersionGoneError where the run has no such versions, or not from its
// beginning on; *VerifyError; *CorruptError; ErrClosed; ctx.Err().
func (db *DB) Replay(ctx context.Context, id run.ID, opts *ReplayOptions) iter.Seq2[*Replayed, error] {
	return func(yield func(*Replayed, error) bool) {
		r, err := db.Run(id)
		var head *shard.Head
		if err == nil {
			head, err = r.head()
		}
		if err == nil {
			err = r.replay(ctx, head, opts, func(rp *Replayed) error {
				if !yield(rp, nil) {
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

// newest returns a run and its newest version.
func (db *DB) newest(id run.ID) (*Run, *shard.Snapshot, error) {
	r, err := db.Run(id)
	if err != nil {
		return nil, nil, err
	}
	snap, err := r.snapshot()
	return r, snap, err
}

// replay replays a run that is now at head.
func (r *Run) replay(ctx context.Context, head *shard.Head, opts *ReplayOptions, each func(*Replayed) error) error {
	from, to := uint64(0), head.Version
	if opts != nil {
		from = opts.From
		if opts.To != 0 {
			to = opts.To
		}
	}
	switch {
	case opts != nil && opts.To != 0 && opts.To < from:
		return fmt.Errorf("%w: ReplayOptions.To is %d, before From, %d", ErrInvalidOption, opts.To, from)
	case to > head.Version || from > head.Version || to < head.Info.FirstVersion:
		return &VersionGoneError{Version: max(from, to), First: head.Info.FirstVersion, Last: head.Version}
	}
	rp := newReplay()
	if from > head.Info.FirstVersion {
		if err := rp.forward(ctx, r, head, from-1); err != nil {
			return err
		}
	}
	first := head.Version
	image, _, err := r.shard.Image(r.ID(), 0) // which is none that old: it is asked what there is
	if err != nil {
		return err
	}
	if image != nil {
		first = image.Version
	}
	return rp.follow(ctx, r, head, to, first, func(c *op.Commit) error {
		return each(&Replayed{Commit: c, run: r, replay: rp})
	})
}

// ErrNotReproduced: the error is a *VerifyError.
var ErrNotReproduced = errors.New("inmem: the history of the run does not give what the store has")

// VerifyError says where a run is not what its history gives.
type VerifyError struct {
	ID      run.ID
	Version uint64
	Against string // what the history was held against, where it was digests that differ
	// Expected is the digest of what the store has, Actual of what the history gives.
	Expected, Actual Digest
	Err              error // what is wrong with the history itself
}

func (e *VerifyError) Error() string {
	text := fmt.Sprintf("%v: run %v, version %d: ", ErrNotReproduced, e.ID, e.Version)
	if e.Err != nil {
		return text + e.Err.Error()
	}
	return text + fmt.Sprintf("%s has digest %v, the history gives %v", e.Against, e.Expected, e.Actual)
}

func (e *VerifyError) Unwrap() []error {
	if e.Err != nil {
		return []error{ErrNotReproduced, e.Err}
	}
	return []error{ErrNotReproduced}
}

// Verification is what Verify found: a run that is what its history gives.
type Verification struct {
	ID       run.ID
	First    uint64 // the versions that were replayed
	Last     uint64
	Commits  uint64
	Compared int    // versions whose digest was held against something
	Image    uint64 // the version of the run's image in the checkpoint; 0 = none, or one that is newer than Last
	Digest   Digest // of Last
}

// verifier replays a run and compares.
type verifier struct {
	run   *Run
	snap  *shard.Snapshot
	every uint64
	image *Digest
	found Verification
	time  int64 // of the commit before
	// compared is the last version that was compared.
	compared uint64
}

// Verify rebuilds a run, as of now, from its history alone, and holds it against
// what the store has: at the newest version against the live state, at the
// version of the run's image in the checkpoint, if it has one, against that, and
// at each version that is a multiple of every against what Run.At gives; 0 means
// at none of these. The versions of the commits must have no gap, and their
// times not go back. It takes O(run), and O(keys of the run) for each comparison.
//
// Errors: *VerifyError where something differs, an ErrNotReproduced; those of
// Replay.
func (db *DB) Verify(ctx context.Context, id run.ID, every uint64) (*Verification, error) {
	r, snap, err := db.newest(id)
	if err != nil {
		return nil, err
	}
	v := &verifier{run: r, snap: snap, every: every}
	v.found = Verification{ID: id, First: snap.Info.FirstVersion, Last: snap.Version}
	image, state, err := r.shard.Image(id, snap.Version)
	if err != nil {
		return nil, err
	}
	if state != nil {
		digest, _ := state.Digest(id)
		v.image, v.found.Image = &digest, image.Version
	}
	if err := r.replay(ctx, &snap.Head, nil, func(rp *Replayed) error { return v.commit(ctx, rp) }); err != nil {
		return nil, err
	}
	return &v.found, nil
}

// commit looks at the next commit of the history, and at what it led to.
func (v *verifier) commit(ctx context.Context, rp *Replayed) error {
	v.found.Commits++
	if rp.Time < v.time {
		return &VerifyError{ID: rp.Run, Version: rp.Version, Err: fmt.Errorf("its time is %d ms before that of the commit before", v.time-rp.Time)}
	}
	v.time = rp.Time
	if v.image != nil && rp.Version == v.found.Image {
		if err := v.compare(rp, "the image in the checkpoint", *v.image); err != nil {
			return err
		}
	}
	if v.every > 0 && rp.Version%v.every == 0 {
		past, err := v.run.db.past.at(ctx, v.run, &v.snap.Head, rp.Version)
		if err != nil {
			return err
		}
		if err := v.compare(rp, "At", past.Digest()); err != nil {
			return err
		}
	}
	if rp.Version == v.snap.Version {
		v.found.Digest = v.snap.Digest()
		return v.compare(rp, "the live state", v.found.Digest)
	}
	return nil
}

func (v *verifier) compare(rp *Replayed, against string, digest Digest) error {
	if actual, _ := rp.replay.Digest(rp.Run); actual != digest {
		return &VerifyError{ID: rp.Run, Version: rp.Version, Against: against, Expected: digest, Actual: actual}
	}
	if v.compared != rp.Version {
		v.found.Compared++
	}
	v.compared = rp.Version
	return nil
}
