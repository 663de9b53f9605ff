package inmem_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// closeRace is one store that is closed in the middle of everything, on a disk
// that may fail meanwhile.
type closeRace struct {
	*store
	rng     *rand.Rand
	failure error // what the disk says, if it fails
	mode    inmem.Durability
	all     sync.WaitGroup

	left   atomic.Int64 // writes until the store is closed
	enough chan struct{}
}

// counted is what a writer of numbers knows: the value of a key is the last
// number that was put there, and the run's version says which that was.
type counted struct {
	run      *inmem.Run
	acked    int
	tried    int // more than acked where the last call has no certain outcome
	flushed  int
	perished bool // its keys have deadlines
}

const countedKeys = 7

// Close in the middle of everything: every call returns, with ErrClosed, the
// disk's failure or a true result; and what was acknowledged is there.
func TestCloseInTheMiddleOfEverything(t *testing.T) {
	watchdog(t)
	var failed, closed int
	for _, seed := range crashSeeds(t, 40) {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			if newCloseRace(t, seed).race() == nil {
				closed++
			} else {
				failed++
			}
		})
		if !ok {
			t.Fatalf("%s=%d draws the same", seedEnv, seed)
		}
	}
	t.Logf("%d stores closed well, %d after a failure", closed, failed)
}

func newCloseRace(t *testing.T, seed uint64) *closeRace {
	c := &closeRace{rng: rand.New(rand.NewPCG(seed, 21)), enough: make(chan struct{})}
	c.mode = inmem.Durability(1 + c.rng.IntN(3))
	c.store = newStore(t, func(o *inmem.Options) {
		o.Durability, o.Shards = c.mode, 1+c.rng.IntN(3)
		o.SegmentSize, o.CheckpointBytes = 8<<10, []int64{-1, 1, 16 << 10}[c.rng.IntN(3)]
		o.BatchCommits, o.BatchInterval = 1+c.rng.IntN(100), time.Duration(1+c.rng.IntN(50))*time.Millisecond
	})
	c.left.Store(int64(20 + c.rng.IntN(2000)))
	return c
}

// breakDisk lets the disk fail, or be full, from some operation on; or never.
func (c *closeRace) breakDisk() {
	kind := []vfs.OpKind{0, 0, vfs.Write, vfs.Sync, vfs.Rename, vfs.Create, vfs.Allocate}[c.rng.IntN(7)]
	if kind == 0 {
		return
	}
	c.failure = errDisk
	if kind != vfs.Sync && c.rng.IntN(2) == 0 {
		c.failure = syscall.ENOSPC
	}
	var left atomic.Int64
	left.Store(int64(c.rng.IntN(60)))
	c.mem.SetFault(func(o vfs.Op) error {
		if o.Kind == kind && left.Add(-1) < 0 {
			return c.failure
		}
		return nil
	})
}

func (c *closeRace) race() error {
	writers := []*counted{{perished: true}}
	for range 6 {
		writers = append(writers, &counted{})
	}
	pairs := c.begin()
	for _, w := range writers {
		w.run = c.begin()
	}
	require.NoError(c.t, c.Flush(ctx))
	c.breakDisk()
	for _, w := range writers {
		c.all.Go(func() { c.write(w) })
	}
	c.loop(func(i int) error {
		var b kv.Batch
		b.Put("a", fmt.Append(nil, i))
		b.Put("z", fmt.Append(nil, i))
		_, err := pairs.KV().Write(ctx, &b)
		return err
	})
	lives := c.lives()
	c.loop(func(int) error { return c.readPairs(pairs) })
	c.loop(func(int) error { return c.readHistory(writers[1].run) })
	c.loop(func(int) error { c.wall.move(3 * time.Millisecond); return c.readRuns() })
	c.loop(func(int) error { return c.Flush(ctx) })
	c.loop(func(int) error { return c.DB.Checkpoint(ctx) })
	c.loop(func(i int) error {
		assert.NotEmpty(c.t, c.Metrics().Shards)
		_, err := pairs.Info()
		return errors.Join(err, pairs.Pause(ctx), pairs.Resume(ctx))
	})
	return c.close(writers, lives)
}

// loop makes calls until one says that the store takes no more. A full disk,
// and a run that another call has just paused or deleted, end nothing.
func (c *closeRace) loop(call func(i int) error) {
	c.all.Go(func() {
		for i := 0; ; i++ {
			if c.ends(call(i)) {
				return
			}
			runtime.Gosched() // reads wait for nobody, and would keep the writers from the processors
		}
	})
}

// ends reports whether an error is the end, and refuses one that has no reason.
func (c *closeRace) ends(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, inmem.ErrClosed):
		return true
	case c.failure != nil && errors.Is(err, inmem.ErrPoisoned):
		assert.ErrorIs(c.t, err, c.failure)
		return c.closed() // reads go on, so that there is somebody to close
	case c.failure == syscall.ENOSPC && errors.Is(err, inmem.ErrDiskFull):
		return false
	}
	ok := isAny(err, inmem.ErrRunNotActive, inmem.ErrRunNotFound, inmem.ErrTransition)
	assert.True(c.t, ok, "nobody expects %v", err)
	return !ok
}

func (c *closeRace) closed() bool {
	_, err := c.Run(run.ID{})
	return errors.Is(err, inmem.ErrClosed)
}

// write puts numbers, and says Flush now and then.
func (c *closeRace) write(w *counted) {
	var opts []kv.WriteOption
	if w.perished {
		opts = append(opts, kv.TTL(20*time.Millisecond))
	}
	for n := 1; ; {
		version, err := w.run.KV().Put(ctx, fmt.Sprint(n%countedKeys), fmt.Append(nil, n), opts...)
		if c.left.Add(-1) == 0 {
			close(c.enough)
		}
		switch {
		case err == nil:
			if !w.perished && version != uint64(n+1) {
				c.t.Errorf("write %d got version %d", n, version)
				return
			}
			w.acked, w.tried = n, n
			if n++; n%50 == 0 && c.Flush(ctx) == nil {
				w.flushed = w.acked
			}
		case errors.Is(err, inmem.ErrPoisoned):
			w.tried = n // it may have got to the disk, once
			if c.ends(err) {
				return
			}
		case c.ends(err):
			return
		}
	}
}

// lives begins runs, and ends or deletes them. It returns the IDs by what is
// known of them, to be looked at when all have returned.
func (c *closeRace) lives() map[string][]run.ID {
	known := map[string][]run.ID{}
	c.loop(func(i int) error {
		r, err := c.BeginRun(ctx, run.Meta{})
		if err != nil {
			return err
		}
		id := r.ID()
		if i%2 == 0 {
			if err = r.End(ctx, run.Completed); err == nil {
				known["ended"] = append(known["ended"], id)
			}
		} else if err = c.DeleteRun(ctx, id); err == nil {
			known["deleted"] = append(known["deleted"], id)
		}
		return err
	})
	return known
}

func (c *closeRace) readPairs(r *inmem.Run) error {
	var items []kv.Item
	for it, err := range r.KV().List(ctx, "") {
		if err != nil {
			return err
		}
		items = append(items, it)
	}
	if len(items) > 0 && (len(items) != 2 || string(items[0].Value) != string(items[1].Value)) {
		c.t.Errorf("half a batch: %v", items)
	}
	_, err := r.KV().Get(ctx, "a")
	if errors.Is(err, inmem.ErrNotFound) {
		return nil
	}
	return err
}

func (c *closeRace) readHistory(r *inmem.Run) error {
	info, err := r.Info()
	if err != nil {
		return err
	}
	last := uint64(0)
	for commit, err := range r.History(ctx, 0) {
		if err != nil {
			return err
		}
		if last++; commit.Version != last {
			c.t.Errorf("version %d after %d", commit.Version, last-1)
		}
	}
	if last < info.LastVersion {
		c.t.Errorf("a history that ends at %d, of %d, and says nothing", last, info.LastVersion)
	}
	return nil
}

func (c *closeRace) readRuns() error {
	n := 0
	for info, err := range c.Runs(ctx, run.Filter{}) {
		if err != nil {
			return err
		}
		n++
		if info.LastVersion == 0 {
			c.t.Errorf("a run without a version: %v", info)
		}
	}
	if n < 8 {
		c.t.Errorf("%d runs are listed, and nothing is said of the others", n)
	}
	return nil
}

// close closes the store from several goroutines when there were calls enough,
// and holds what is left against what was acknowledged.
func (c *closeRace) close(writers []*counted, lives map[string][]run.ID) error {
	<-c.enough
	errs := make([]error, 3)
	for i := range errs {
		c.all.Go(func() { errs[i] = c.Close() })
	}
	c.all.Wait()
	require.Equal(c.t, errs[0], errs[1])
	require.Equal(c.t, errs[0], errs[2])
	err := errs[0]
	if err != nil {
		require.True(c.t, c.failure != nil && errors.Is(err, c.failure), "%v", err)
	}
	c.mem.SetFault(nil)
	c.open()
	kept := err == nil || c.mode != inmem.Async || !errors.Is(err, inmem.ErrPoisoned)
	for i, w := range writers {
		w.verify(c.store, kept, fmt.Sprint("writer ", i))
	}
	if !kept {
		return err
	}
	for _, id := range lives["ended"] {
		info, err := c.run(id).Info()
		require.NoError(c.t, err)
		require.Equal(c.t, run.Completed, info.Status)
	}
	for _, id := range lives["deleted"] {
		require.ErrorIs(c.t, c.DeleteRun(ctx, id), inmem.ErrRunDeleted)
	}
	return err
}

// verify holds a run against its writer. kept: the store may have lost nothing
// that it acknowledged, not even in Async.
func (w *counted) verify(s *store, kept bool, name string) {
	s.t.Helper()
	r := s.run(w.run.ID())
	info, err := r.Info()
	require.NoError(s.t, err)
	n, least := int(info.LastVersion)-1, w.flushed
	if kept {
		least = w.acked
	}
	require.GreaterOrEqual(s.t, n, least, "%s: lost what was acknowledged", name)
	if w.perished {
		return // its versions count removals, and its keys go
	}
	require.LessOrEqual(s.t, n, w.tried, "%s: nobody asked for it", name)
	want := []string{}
	for i := max(1, n-countedKeys+1); i <= n; i++ {
		want = append(want, fmt.Sprint(i%countedKeys, " ", i))
	}
	slices.Sort(want)
	got := []string{}
	for _, it := range list(s.t, r, "") {
		got = append(got, it.Key+" "+string(it.Value))
	}
	require.Equal(s.t, want, got, name)
}

// Loops that are in the middle when the store is closed: a listing and a
// history go on to the end of what they began with, even while the store, open
// again, changes under them; a listing of runs says that it was closed.
func TestLoopsOverAClose(t *testing.T) {
	watchdog(t)
	s := newStore(t, func(o *inmem.Options) { o.Shards, o.SegmentSize = 1, 4<<10 })
	r := s.begin(metaNamed("first"))
	s.begin(metaNamed("second"))
	for i := range 100 {
		put(t, r, key(i), string(big(100)))
	}
	goOn := make(chan struct{})
	var begun, all sync.WaitGroup
	middle := func(n int) {
		if n == 1 {
			begun.Done()
			<-goOn
		}
	}
	begun.Add(3)
	all.Go(func() {
		n := 0
		for it, err := range r.KV().List(ctx, "") {
			assert.NoError(t, err)
			assert.Equal(t, kv.Item{Key: key(n), Value: big(100), Version: uint64(n + 2)}, it)
			n++
			middle(n)
		}
		assert.Equal(t, 100, n)
	})
	all.Go(func() {
		n := 0
		for c, err := range r.History(ctx, 0) {
			assert.NoError(t, err)
			n++
			assert.Equal(t, uint64(n), c.Version)
			middle(n)
		}
		assert.Equal(t, 101, n)
	})
	all.Go(func() {
		var errs []error
		for _, err := range s.DB.Runs(ctx, run.Filter{}) {
			errs = append(errs, err)
			middle(len(errs))
		}
		if assert.Len(t, errs, 2) {
			assert.NoError(t, errs[0])
			assert.ErrorIs(t, errs[1], inmem.ErrClosed)
		}
	})
	begun.Wait()
	first := s.DB
	require.NoError(t, first.Close())
	again, err := inmem.Open(s.dir, &s.opts)
	require.NoError(t, err)
	now, err := again.Run(r.ID())
	require.NoError(t, err)
	for i := range 100 {
		put(t, now, key(i), "changed")
	}
	require.NoError(t, again.Checkpoint(ctx))
	close(goOn)
	all.Wait()
	s.DB = again
}
