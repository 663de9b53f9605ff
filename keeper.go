package inmem

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"inmem/shard"
)

// Pruned tells that retention removed something in the background, or with Err
// why it could not.
type Pruned struct {
	Report *PruneReport
	Err    error
}

func (e Pruned) String() string {
	if e.Err != nil {
		return fmt.Sprintf("pruning was cut short: %v", e.Err)
	}
	return fmt.Sprintf("pruned: %d runs removed, %d segments removed, %d compacted, %d bytes of the log given back",
		len(e.Report.Runs), e.Report.SegmentsRemoved, e.Report.SegmentsCompacted, e.Report.LogFreed)
}

func (e Pruned) level() slog.Level {
	if e.Err != nil {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// keeper is the background that does what Options.Retention says. It is one
// goroutine, so that one thing at a time is removed in a store.
type keeper struct {
	db     *DB
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup
	// pruning is held by those who prune, for reading, and by Close.
	pruning sync.RWMutex
	wake    chan struct{} // has room for one
	shards  []keptShard
	looked  bool   // at the runs …
	listed  uint64 // … when so many changes of their metadata had been published
}

// keptShard is what the keeper knows of a shard.
type keptShard struct {
	state  shard.LogState // as of the last look
	swept  shard.LogState // as of the last sweep
	looked int64          // bytes of indexes that it had to read
	// removed says that runs were removed since, maybe of this shard.
	removed bool
}

// removalsAtOnce bounds how many runs one look removes.
const removalsAtOnce = 1000

func newKeeper(db *DB) *keeper {
	k := &keeper{db: db, wake: db.checkpointed, shards: make([]keptShard, len(db.shards))}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	if db.opts.PruneInterval > 0 {
		k.ended.Go(k.loop)
	}
	return k
}

// stop ends all pruning, and waits for it: nothing may touch the files any more
// when the store is unlocked.
func (k *keeper) stop() {
	k.cancel()
	k.ended.Wait()
	k.pruning.Lock() // nobody begins any more: the store is closed
	defer k.pruning.Unlock()
}

// enter lets the caller prune until leave, under a context that ends with the
// store.
func (k *keeper) enter(ctx context.Context) (own context.Context, leave func()) {
	k.pruning.RLock()
	own, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(k.ctx, cancel)
	return own, func() {
		stop()
		cancel()
		k.pruning.RUnlock()
	}
}

func (k *keeper) loop() {
	timer := time.NewTimer(k.db.opts.PruneInterval)
	defer timer.Stop()
	for {
		due := false
		select {
		case <-k.ctx.Done():
			return
		case <-k.db.ended: // closed, or failed
			return
		case <-timer.C:
			due = true
		case <-k.wake: // there is something new that a checkpoint covers
		}
		k.db.health.Guard("retention", func() { k.look(due) })
		if due {
			timer.Reset(k.db.opts.PruneInterval)
		}
	}
}

// look does what there is to do; due says that an interval is over.
func (k *keeper) look(due bool) {
	p := &pruning{db: k.db, report: &PruneReport{}, sweep: shard.SweepOptions{
		Policy: &k.db.opts.Retention, SegmentSize: k.db.opts.SegmentSize, Zstd: k.db.opts.Compression == Zstd, Pace: k.pace,
	}}
	var err error
	if due {
		err = k.runs(p)
		for i := range k.shards {
			k.shards[i].removed = k.shards[i].removed || len(p.report.Runs) > 0
		}
	}
	for i := 0; i < len(k.shards) && err == nil; i++ {
		err = k.shard(p, i, due)
	}
	if k.ctx.Err() != nil || k.db.health.Err() != nil {
		return // closed meanwhile, or it is said elsewhere
	}
	if err != nil || p.report.did() {
		k.db.events.tell(Pruned{p.report, err})
	}
}

// runs removes runs, if anything has happened since the last look by which one
// may have to go.
func (k *keeper) runs(p *pruning) error {
	listed := uint64(0)
	for _, s := range k.db.shards {
		listed += s.Listed()
	}
	if k.looked && listed == k.listed && !p.sweep.Policy.ByTime() {
		return nil
	}
	err := p.runs(k.ctx, removalsAtOnce)
	k.looked, k.listed = err == nil, listed // a removal is a change as well
	return err
}

// shard sweeps a shard if there may be something to remove. Shards take checkpoints
// themselves, also when they fall silent; but where runs were removed from one that
// is silent, what covers that is worth a checkpoint however little was logged.
func (k *keeper) shard(p *pruning, i int, due bool) error {
	s, kept := k.db.shards[i], &k.shards[i]
	now := s.LogState()
	changed, silent := now.Covered != kept.swept.Covered, false
	if due {
		silent = now.Bytes == kept.state.Bytes
		kept.state = now
	}
	idle := silent && kept.removed && now.Tail > 0
	// With a long history finding out what is dead costs, too: no more of that than
	// is written.
	soon := !idle && int64(now.Bytes-kept.swept.Bytes) < kept.looked
	if !changed && !idle || soon {
		return nil
	}
	deleted := now.Deleted != kept.swept.Deleted
	if !deleted && !kept.removed && !p.sweep.Zstd && k.db.keepsAll(s) {
		kept.swept = now
		return nil
	}
	p.sweep.All = idle
	swept, err := p.shard(k.ctx, i)
	p.sweep.All = false
	if err == nil {
		kept.swept, kept.looked = s.LogState(), swept.Looked
		kept.removed = kept.removed && !idle
	}
	return err
}

// pace gives way to those who write: it waits as long as a step may have taken.
func (k *keeper) pace(ctx context.Context) error {
	timer := time.NewTimer(paceStep)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return ctx.Err()
}

// paceStep is the pause between two small steps: with the 4 MiB of each it bounds
// what the background reads to some 400 MB a second, and leaves a processor free
// most of the time.
const paceStep = 10 * time.Millisecond
