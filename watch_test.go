package inmem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
)

// next takes the next commit of a watch, or its error.
func next[T any](t testing.TB, pull func() (T, error, bool)) (T, error) {
	t.Helper()
	var c T
	var err error
	ends(t, "a watch", func() {
		var ok bool
		c, err, ok = pull()
		require.True(t, ok, "the watch ended without an error")
	})
	return c, err
}

func requireVersion(t testing.TB, pull func() (*inmem.Commit, error, bool), version uint64) *inmem.Commit {
	t.Helper()
	c, err := next(t, pull)
	require.NoError(t, err)
	require.Equal(t, version, c.Version)
	return c
}

// A watch shows what there is, then what comes, and ends with the run.
func TestWatch(t *testing.T) {
	s := newStore(t)
	r, other := s.begin(), s.begin()
	put(t, r, "a", "1")
	pull, stop := iter.Pull2(r.Watch(ctx, 1))
	defer stop()
	requireVersion(t, pull, 1)
	c := requireVersion(t, pull, 2)
	require.Equal(t, r.ID(), c.Run)
	require.Equal(t, []op.Op{putOp("a", "1")}, c.Ops)
	put(t, other, "a", "not this")
	put(t, r, "b", "2")
	c.Ops[0].Value[0] = 'x' // it is the caller's
	require.Equal(t, []op.Op{putOp("b", "2")}, requireVersion(t, pull, 3).Ops)
	require.Equal(t, "1", get(t, r, "a"))

	later, stopLater := iter.Pull2(r.Watch(ctx, 5))
	defer stopLater()
	put(t, r, "c", "3")
	put(t, r, "d", "4")
	requireVersion(t, later, 5)
	requireVersion(t, pull, 4)
	requireVersion(t, pull, 5)
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	for _, pull := range []func() (*inmem.Commit, error, bool){pull, later} {
		require.Equal(t, op.Drop, requireVersion(t, pull, 6).Ops[0].Kind)
		_, err := next(t, pull)
		require.ErrorIs(t, err, inmem.ErrRunDeleted)
		_, _, more := pull()
		require.False(t, more)
	}
	for _, err := range r.Watch(ctx, 1) {
		require.ErrorIs(t, err, inmem.ErrRunNotFound)
	}
}

// What a watch waits with comes to an end with the context, and with the store.
func TestWatchEnds(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	cancelled, cancel := context.WithCancel(ctx)
	runs := map[string]iter.Seq2[*inmem.Commit, error]{"context": r.Watch(cancelled, 1), "store": r.Watch(ctx, 1)}
	stores := map[string]iter.Seq2[inmem.Change, error]{
		"context": s.Watch(cancelled, run.Filter{}, inmem.Cursor{}), "store": s.Watch(ctx, run.Filter{}, inmem.Cursor{}),
	}
	errs := map[string]chan error{"context": make(chan error, 2), "store": make(chan error, 2)}
	var first sync.WaitGroup
	first.Add(4)
	for name := range errs {
		go func() {
			for c, err := range runs[name] {
				if err != nil {
					errs[name] <- err
				} else if c.Version == 1 {
					first.Done()
				}
			}
		}()
		go func() {
			for c, err := range stores[name] {
				if err != nil {
					errs[name] <- err
				} else if c.Version == 1 {
					first.Done()
				}
			}
		}()
	}
	first.Wait()
	cancel()
	for range 2 {
		require.ErrorIs(t, <-errs["context"], context.Canceled)
	}
	s.end()
	require.NoError(t, s.Close())
	for range 2 {
		require.ErrorIs(t, <-errs["store"], inmem.ErrClosed)
	}
}

func TestWatchOfAPoisonedStore(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	pull, stop := iter.Pull2(r.Watch(ctx, 2))
	defer stop()
	all, stopAll := iter.Pull2(s.Watch(ctx, run.Filter{}, s.Latest()))
	defer stopAll()
	failed := make(chan error, 2)
	go func() { _, err, _ := pull(); failed <- err }()
	go func() { _, err, _ := all(); failed <- err }()
	s.mem.SetFault(func(vfs.Op) error { return errDisk })
	_, err := r.KV().Put(ctx, "k", nil)
	require.ErrorIs(t, err, inmem.ErrPoisoned)
	s.mem.SetFault(nil)
	for range 2 {
		require.ErrorIs(t, <-failed, inmem.ErrPoisoned)
	}
	s.abandon()
}

// A watch that falls behind what is kept in memory goes on with the log, and
// nobody waits for it.
func TestWatchFallsBehind(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 64 << 10 })
	r := s.begin()
	pull, stop := iter.Pull2(r.Watch(ctx, 1))
	defer stop()
	all, stopAll := iter.Pull2(s.Watch(ctx, run.Filter{}, inmem.Cursor{}))
	defer stopAll()
	requireVersion(t, pull, 1)
	_, err := next(t, all)
	require.NoError(t, err)
	const commits = 20_000 // more than are kept
	var writers sync.WaitGroup
	for g := range 20 {
		writers.Go(func() {
			for range commits / 20 {
				_, err := r.KV().Put(ctx, fmt.Sprint(g), []byte("v"))
				assert.NoError(t, err)
			}
		})
	}
	writers.Wait() // with nobody reading
	for v := uint64(2); v <= commits+1; v++ {
		c, err, _ := pull()
		require.NoError(t, err)
		change, err, _ := all()
		require.NoError(t, err)
		if c.Version != v || change.Version != v {
			require.Equal(t, []uint64{v, v}, []uint64{c.Version, change.Version})
		}
	}
	put(t, r, "k", "v")
	requireVersion(t, pull, commits+2)
}

// lastShard begins a run in the last shard, which a watch reads last.
func (s *store) lastShard(meta run.Meta) *inmem.Run {
	s.t.Helper()
	for {
		id, err := run.NewID()
		require.NoError(s.t, err)
		if shard.Place(id, s.opts.Shards) == s.opts.Shards-1 {
			meta.ID = id
			return s.begin(meta)
		}
	}
}

// watchUntil returns the changes up to the first of a run, and the place behind it.
func (s *store) watchUntil(filter run.Filter, from inmem.Cursor, last run.ID) (list []*inmem.Commit, at inmem.Cursor) {
	s.t.Helper()
	ends(s.t, "a watch", func() {
		for c, err := range s.Watch(ctx, filter, from) {
			if !assert.NoError(s.t, err) || c.Run == last {
				at = c.Cursor()
				return
			}
			list = append(list, c.Commit)
		}
	})
	return list, at
}

// A watch of the store shows the runs that the filter chooses, those that were
// deleted too, and goes on at a cursor, in another life of the store too.
func TestWatchStore(t *testing.T) {
	s := newStore(t)
	ns, tags := run.Namespace{Tenant: "t", App: "a"}, map[string]string{"k": "v"}
	gone := s.begin(run.Meta{Namespace: ns, Tags: tags})
	put(t, gone, "a", "1")
	require.NoError(t, s.DeleteRun(ctx, gone.ID()))
	r := s.begin(run.Meta{Namespace: ns, Tags: tags})
	child := s.begin(run.Meta{Namespace: ns, Parent: r.ID()})
	foreign := s.begin(run.Meta{Namespace: run.Namespace{Tenant: "other"}})
	space, err := s.Space(ctx, ns)
	require.NoError(t, err)
	names := map[run.ID]string{gone.ID(): "gone", r.ID(): "r", child.ID(): "child", foreign.ID(): "foreign", space.ID(): "space"}
	for _, r := range []*inmem.Run{r, child, foreign, space} {
		put(t, r, "k", "1")
	}
	last := s.lastShard(run.Meta{Namespace: ns, Tags: tags, Parent: r.ID()})

	seen := func(filter run.Filter, from inmem.Cursor) map[string]uint64 {
		versions := map[string]uint64{}
		list, _ := s.watchUntil(filter, from, last.ID())
		for _, c := range list {
			name := names[c.Run]
			require.NotEmpty(t, name)
			require.Equal(t, versions[name]+1, c.Version, name)
			versions[name] = c.Version
		}
		return versions
	}
	check := func() {
		for name, c := range map[string]struct {
			filter run.Filter
			want   map[string]uint64
		}{
			"all":       {run.Filter{}, map[string]uint64{"gone": 3, "r": 2, "child": 2, "foreign": 2}},
			"spaces":    {run.Filter{Spaces: true}, map[string]uint64{"gone": 3, "r": 2, "child": 2, "foreign": 2, "space": 2}},
			"namespace": {run.Filter{Namespace: ns}, map[string]uint64{"gone": 3, "r": 2, "child": 2}},
			"tag":       {run.Filter{Tags: tags}, map[string]uint64{"gone": 3, "r": 2}},
			"parent":    {run.Filter{Parent: r.ID()}, map[string]uint64{"child": 2}},
			"ignored":   {run.Filter{Tags: tags, Status: []run.Status{run.Failed}, Limit: 1, Reverse: true}, map[string]uint64{"gone": 3, "r": 2}},
		} {
			require.Equal(t, c.want, seen(c.filter, inmem.Cursor{}), name)
		}
	}
	check()
	s.reopen()
	check()

	s.watchAnywhere(last.ID())

	// A cursor outlives the store, as text.
	text, err := json.Marshal(s.Latest())
	require.NoError(t, err)
	s.reopen()
	var from inmem.Cursor
	require.NoError(t, json.Unmarshal(text, &from))
	v := put(t, s.run(r.ID()), "k", "2")
	put(t, s.run(last.ID()), "k", "2")
	list, _ := s.watchUntil(run.Filter{}, from, last.ID())
	require.Len(t, list, 1)
	require.Equal(t, r.ID(), list[0].Run)
	require.Equal(t, v, list[0].Version)
}

// watchAnywhere stops after each change and begins again there: none is seen
// twice, and none is left out.
func (s *store) watchAnywhere(last run.ID) {
	s.t.Helper()
	whole, _ := s.watchUntil(run.Filter{Spaces: true}, inmem.Cursor{}, last)
	for n := range whole {
		var at inmem.Cursor
		var first []*inmem.Commit
		for c, err := range s.Watch(ctx, run.Filter{Spaces: true}, inmem.Cursor{}) {
			require.NoError(s.t, err)
			if first, at = append(first, c.Commit), c.Cursor(); len(first) == n+1 {
				break
			}
		}
		rest, _ := s.watchUntil(run.Filter{Spaces: true}, at, last)
		require.Equal(s.t, whole, append(first, rest...))
	}
}

func TestCursor(t *testing.T) {
	s := newStore(t)
	var c inmem.Cursor
	require.Empty(t, c.String())
	require.NoError(t, c.UnmarshalText([]byte("1.2")))
	require.Equal(t, "1.2", c.String())
	for _, from := range []string{"1.2", "1.2.3.4"} {
		require.NoError(t, c.UnmarshalText([]byte(from)))
		for _, err := range s.Watch(ctx, run.Filter{}, c) {
			require.ErrorIs(t, err, inmem.ErrInvalidCursor)
		}
	}
	for _, text := range []string{"x", "1.", ".1", "-1", "1.x", "18446744073709551616"} {
		require.ErrorIs(t, c.UnmarshalText([]byte(text)), inmem.ErrInvalidCursor, text)
	}
	require.Equal(t, "1.2.3.4", c.String(), "a text that is refused changes nothing")
	require.NoError(t, c.UnmarshalText(nil))
	require.Equal(t, inmem.Cursor{}, c)
}

// TestWatchComplete has goroutines begin, write to and delete runs while others
// watch, stopping and going on at random: each gets every commit once, in the
// order of its run.
func TestWatchComplete(t *testing.T) {
	for _, seed := range crashSeeds(t, 12) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) { watchComplete(t, rand.New(rand.NewPCG(seed, 9))) })
	}
}

// watchedRuns is a store that is written to, and what those who watch it must see.
type watchedRuns struct {
	*store
	tick run.ID // of a run that wakes those who have seen everything

	mu   sync.Mutex
	want map[run.ID]uint64 // the newest version of each run
	over bool              // it is final
}

func watchComplete(t *testing.T, rng *rand.Rand) {
	w := &watchedRuns{want: map[run.ID]uint64{}}
	w.store = newStore(t, func(o *inmem.Options) {
		o.SegmentSize, o.CheckpointBytes = 8<<10, 16<<10
		o.PruneInterval = -1 // else what deleted runs had may go while nobody watches
	})
	tick := w.begin()
	w.tick = tick.ID()
	var writers, watchers sync.WaitGroup
	for range 4 {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 1))
		writers.Go(func() { w.write(rng) })
	}
	for range 3 {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 2))
		watchers.Go(func() { w.watch(rng) })
	}
	writers.Wait()
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	seen := make(chan struct{})
	go func() { defer close(seen); watchers.Wait() }()
	soon(t, "all have seen everything", func() bool {
		put(t, tick, "k", "v")
		select {
		case <-seen:
			return true
		default:
			return false
		}
	})
}

func (w *watchedRuns) write(rng *rand.Rand) {
	var r *inmem.Run
	for range 400 {
		version := uint64(1)
		var err error
		switch n := rng.IntN(40); {
		case r == nil || n == 0:
			r, err = w.BeginRun(ctx, run.Meta{})
		case n == 1:
			version = versionOf(w.t, r) + 1
			err = w.DeleteRun(ctx, r.ID())
		default:
			version, err = r.KV().Put(ctx, key(rng.IntN(9)), big(rng.IntN(200)))
		}
		if !assert.NoError(w.t, err) {
			return
		}
		w.mu.Lock()
		w.want[r.ID()] = version
		w.mu.Unlock()
		if _, err := r.Info(); err != nil {
			r = nil // it was deleted
		}
	}
}

// watch watches, and begins again at a cursor, until it has seen everything.
func (w *watchedRuns) watch(rng *rand.Rand) {
	got, at := map[run.ID]uint64{}, inmem.Cursor{}
	for done := false; !done; {
		look, stop := context.WithCancel(ctx)
		if rng.IntN(3) == 0 {
			stop() // it waits for nothing
		}
		for c, err := range w.Watch(look, run.Filter{}, at) {
			if err != nil {
				assert.ErrorIs(w.t, err, context.Canceled)
				break
			}
			if at = c.Cursor(); c.Run != w.tick {
				if !assert.Equal(w.t, got[c.Run]+1, c.Version, "run %v", c.Run) {
					stop()
					return
				}
				got[c.Run] = c.Version
			}
			if done = w.complete(got); done || rng.IntN(60) == 0 {
				break
			}
		}
		stop()
	}
}

func (w *watchedRuns) complete(got map[run.ID]uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over && maps.Equal(w.want, got)
}

// A store that is open for reading shows a watch what others write with each
// Refresh.
func TestWatchReadOnly(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 4 << 10 })
	r := s.begin()
	put(t, r, "k", "1")
	reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	mine, err := reader.Run(r.ID())
	require.NoError(t, err)
	pull, stop := iter.Pull2(mine.Watch(ctx, 1))
	defer stop()
	all, stopAll := iter.Pull2(reader.Watch(ctx, run.Filter{}, inmem.Cursor{}))
	defer stopAll()
	for v := uint64(1); v <= 200; v++ {
		if v > 2 {
			put(t, r, "k", string(big(100)))
			require.Equal(t, v-1, versionOf(t, mine), "nothing is new before Refresh")
			require.NoError(t, reader.Refresh(ctx))
			require.Equal(t, v, versionOf(t, mine))
		}
		requireVersion(t, pull, v)
		change, err := next(t, all)
		require.NoError(t, err)
		require.Equal(t, v, change.Version)
	}
	second := s.begin()
	_, err = reader.Run(second.ID())
	require.ErrorIs(t, err, inmem.ErrRunNotFound)
	require.NoError(t, reader.Refresh(ctx))
	_, err = reader.Run(second.ID())
	require.NoError(t, err)
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	require.NoError(t, reader.Refresh(ctx))
	requireVersion(t, pull, 201)
	_, err = next(t, pull)
	require.ErrorIs(t, err, inmem.ErrRunDeleted)
	require.NoError(t, s.Refresh(ctx), "a store that is written to is up to date")

	// Damage behind what was read is found, and what was read stays.
	require.NoError(t, s.Flush(ctx))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, reader.Refresh(cancelled), context.Canceled)
	require.NoError(t, reader.Close())
	require.ErrorIs(t, reader.Refresh(ctx), inmem.ErrClosed)
}

func versionOf(t testing.TB, r *inmem.Run) uint64 {
	t.Helper()
	info, err := r.Info()
	require.NoError(t, err)
	return info.LastVersion
}
