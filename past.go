package inmem

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
)

// Past is a run as it was: at one version, for reading. It never changes, and
// stays whatever becomes of the run. Writes through its faces are ErrReadOnly.
type Past struct {
	run  *Run
	snap *shard.Snapshot
	now  int64 // by which deadlines are judged
}

// At returns the run as of one of its versions. Deadlines are judged by the
// time of that version's commit: what was live then is shown. The version is
// rebuilt in O(run), from the run's image in the checkpoint if it is not younger
// than the version, and from the log; not so where it is the newest or was asked
// for not long ago. Later versions are built on earlier ones.
//
// Errors: *VersionGoneError where the run never had the version or its commits
// are not kept; those of History.
func (r *Run) At(ctx context.Context, version uint64) (*Past, error) {
	head, err := r.head()
	if err != nil {
		return nil, err
	}
	snap, err := r.at(ctx, head, version)
	if err != nil {
		return nil, err
	}
	return &Past{run: r, snap: snap, now: snap.Time}, nil
}

// AsOf returns the run as it was at a moment: the newest version that was
// committed by then, with deadlines judged by that moment. A moment before the
// first kept version is a *VersionGoneError; otherwise it is as At.
func (r *Run) AsOf(ctx context.Context, at time.Time) (*Past, error) {
	head, err := r.head()
	if err != nil {
		return nil, err
	}
	now, version := at.UnixMilli(), head.Version
	if head.Time > now {
		version = 0
		for c, err := range r.commits(ctx, head, 0) {
			if err != nil {
				return nil, err
			}
			if c.Time > now {
				if version == 0 {
					return nil, &VersionGoneError{First: c.Version, Last: head.Version}
				}
				break
			}
			version = c.Version
		}
	}
	snap, err := r.at(ctx, head, version)
	if err != nil {
		return nil, err
	}
	return &Past{run: r, snap: snap, now: now}, nil
}

// at returns a version of a run that is now at head.
func (r *Run) at(ctx context.Context, head *shard.Head, version uint64) (*shard.Snapshot, error) {
	if version == head.Version {
		snap, err := r.snapshot()
		if err != nil || snap.Version == version {
			return snap, err
		}
	}
	return r.db.past.at(ctx, r, head, version)
}

// ID returns the run's ID.
func (p *Past) ID() run.ID { return p.snap.ID }

// Version returns the version that is shown.
func (p *Past) Version() uint64 { return p.snap.Version }

// Time returns when the version was committed, to the millisecond, in UTC.
func (p *Past) Time() time.Time { return time.UnixMilli(p.snap.Time).UTC() }

// Info returns the run's metadata as of the version; it belongs to the caller.
func (p *Past) Info() (*run.Info, error) {
	info := p.snap.Info.Clone()
	info.LastVersion = p.snap.Version
	return info, p.run.db.check()
}

// Digest returns the fingerprint of the run's state at the version, in O(run).
func (p *Past) Digest() Digest { return p.snap.Digest() }

// KV returns the key-value face of the past.
func (p *Past) KV() kv.Store { return kv.New((*pastFace)(p)) }

// pastFace is the past of a run as the faces see it.
type pastFace Past

func (f *pastFace) Get(tag op.Tag, key string) (op.Item, error) {
	if err := f.run.db.check(); err != nil {
		return op.Item{}, err
	}
	it, ok := f.snap.Get(tag, key)
	if !ok || it.Expired(f.now) {
		return op.Item{}, op.ErrNotFound
	}
	return it, nil
}

func (f *pastFace) View() (op.View, error) {
	return &view{snap: f.snap, now: f.now}, f.run.db.check()
}

func (f *pastFace) Commit(context.Context, *op.Request) (op.Result, error) {
	return op.Result{}, ErrReadOnly
}

func (f *pastFace) Limits() op.Limits { return f.run.db.limits }

func (f *pastFace) Now() int64 { return f.now }

func (f *pastFace) History(ctx context.Context, from uint64) iter.Seq2[*Commit, error] {
	return f.run.commits(ctx, &f.snap.Head, from)
}

// The bounds of what is kept of the past: versions that were asked for, and
// runs whose rebuilding can go on where it ended.
const (
	keptVersions = 64
	keptReplays  = 8
)

// pastCache rebuilds old versions and keeps some of them.
type pastCache struct {
	mu       sync.Mutex // of replays
	versions *lru.Cache[pastKey, *shard.Snapshot]
	replays  *lru.Cache[run.ID, *replay]
}

type pastKey struct {
	id      run.ID
	version uint64
}

func newPastCache() *pastCache {
	// The only error is of a size that is not positive.
	versions, err := lru.New[pastKey, *shard.Snapshot](keptVersions)
	replays, err2 := lru.New[run.ID, *replay](keptReplays)
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	return &pastCache{versions: versions, replays: replays}
}

// replay is a run on its way from its first commit to its newest.
type replay struct {
	mu sync.Mutex
	*shard.Past
}

func newReplay() *replay { return &replay{Past: shard.NewPast()} }

// at returns a version of a run that is now at head.
func (p *pastCache) at(ctx context.Context, r *Run, head *shard.Head, version uint64) (*shard.Snapshot, error) {
	if version == 0 || version < head.Info.FirstVersion || version > head.Version {
		return nil, &VersionGoneError{Version: version, First: head.Info.FirstVersion, Last: head.Version}
	}
	key := pastKey{r.ID(), version}
	if old, ok := p.versions.Get(key); ok {
		return old, nil
	}
	rp := p.replay(r.ID(), version)
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.Version() > version { // somebody else took it further meanwhile
		rp = newReplay()
	}
	if err := rp.forward(ctx, r, head, version); err != nil {
		p.forget(r.ID(), rp)
		return nil, err
	}
	old := rp.Snapshot(r.ID())
	p.versions.Add(key, old)
	return old, nil
}

// replay returns the run's replay if it has not passed the version, or a new one.
func (p *pastCache) replay(id run.ID, version uint64) *replay {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rp, ok := p.replays.Get(id); ok && rp.mu.TryLock() {
		usable := rp.Version() <= version
		rp.mu.Unlock()
		if usable {
			return rp
		}
	}
	rp := newReplay()
	p.replays.Add(id, rp)
	return rp
}

// forget drops a replay that did not get where it was to go.
func (p *pastCache) forget(id run.ID, rp *replay) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept, ok := p.replays.Peek(id); ok && kept == rp {
		p.replays.Remove(id)
	}
}

// forward replays the log up to a version, from where it is or from the run's
// image if that is further; mu is held.
func (rp *replay) forward(ctx context.Context, r *Run, head *shard.Head, version uint64) error {
	for last := uint64(0); ; {
		image, state, err := r.shard.Image(r.ID(), version)
		if err != nil {
			return err
		}
		if state != nil && image.Version > rp.Version() {
			rp.Past = shard.PastOf(state, image.Version, image.LastSeq)
		}
		first := head.Version
		if image != nil {
			first = image.Version
		}
		err = rp.follow(ctx, r, head, version, first, nil)
		// What led on from the image may have gone because there is a newer one by now.
		if !errors.Is(err, ErrVersionGone) || image == nil || image.Version == last {
			return err
		}
		last = image.Version
	}
}

// follow replays the log from where it is up to a version, and gives each commit
// to each, if there is one, to keep. Where the run's beginning is not kept, first
// is the version that can be had all the same.
func (rp *replay) follow(ctx context.Context, r *Run, head *shard.Head, version, first uint64, each func(*op.Commit) error) error {
	if rp.Version() == version && each == nil {
		return nil
	}
	log, err := r.shard.History(ctx)
	if err != nil {
		return err
	}
	err = rp.Follow(ctx, log, r.ID(), head.FirstSeq, head.LastSeq, version, each)
	var cut *shard.CutError
	var step *shard.StepError
	switch {
	case errors.As(err, &cut):
		return &VersionGoneError{Version: version, First: cmp.Or(cut.First, first), Last: head.Version}
	case errors.As(err, &step):
		return &VerifyError{ID: r.ID(), Version: step.Version, Err: step.Err}
	}
	return err
}
