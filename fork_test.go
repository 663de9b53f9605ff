package inmem_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

func (s *store) fork(id run.ID, at uint64, metas ...run.Meta) *inmem.Run {
	s.t.Helper()
	f, err := s.Fork(ctx, id, at, append(metas, run.Meta{})[0])
	require.NoError(s.t, err)
	return f
}

// ground is what a run has that goes over to a fork: all but its metadata and
// who has taken it up, as a digest that leaves the run's version out.
func ground(t testing.TB, r *inmem.Run) op.Digest {
	t.Helper()
	var d op.Digester
	for c, err := range r.Contents(ctx) {
		require.NoError(t, err)
		if c.Tag == inmem.TagRunMetadata || c.Tag == op.Epoch.Tag && c.Key == op.Epoch.Key {
			continue
		}
		it := op.Item{Value: c.Value, Version: c.Version}
		if !c.Deadline.IsZero() {
			it.Deadline = c.Deadline.UnixMilli()
		}
		d.Add(op.MapKey(c.Tag, c.Key), it)
	}
	return d.Sum(0)
}

// writeAllFaces makes a commit of each face of a run.
func writeAllFaces(t testing.TB, r *inmem.Run, n int) {
	t.Helper()
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: fmt.Sprint("event ", n)})
	require.NoError(t, err)
	_, err = r.State().Init(ctx, fmt.Sprint("cell ", n), state.Value{State: "waiting"})
	require.NoError(t, err)
	_, err = r.Trace().Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "look"})
	require.NoError(t, err)
}

// A fork has what the run had at the version, as it had it, and both go on by
// themselves, through reopenings and checkpoints.
func TestFork(t *testing.T) {
	for _, seed := range crashSeeds(t, 6) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 31))
			s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.CheckpointBytes = 16<<10, 32<<10 })
			r := s.begin(run.Meta{Name: "source", Namespace: run.Namespace{App: "a"}, Tags: map[string]string{"k": "v"}})
			was := map[uint64]op.Digest{}
			for i := range 120 {
				if randomWrite(t, r, rng); i%20 == 7 {
					writeAllFaces(t, r, i)
					_, err := inmem.Do(ctx, r, "step", i, func(context.Context) (int, error) { return i, nil })
					require.NoError(t, err)
				}
				was[versionOf(t, r)] = ground(t, r)
			}
			forks := map[run.ID]uint64{}
			for range 12 {
				version := 1 + rng.Uint64N(versionOf(t, r))
				if _, seen := was[version]; !seen {
					continue
				}
				f := s.fork(r.ID(), version)
				require.Equal(t, was[version], ground(t, f), "version %d", version)
				forks[f.ID()] = version
			}
			newest := s.fork(r.ID(), 0)
			forks[newest.ID()] = versionOf(t, r)
			for id, version := range forks {
				s.requireForked(r.ID(), version, id)
			}
			source := ground(t, r)
			for id, version := range forks {
				f := s.run(id)
				for range 20 {
					randomWrite(t, f, rng)
				}
				put(t, f, "mine", id.String())
				require.Equal(t, "-", get(t, r, "mine"))
				old := at(t, f, version)
				v, err := old.KV().Exists(ctx, "mine")
				require.NoError(t, err)
				require.False(t, v)
			}
			require.Equal(t, source, ground(t, r), "the run knows nothing of its forks")
			mine := ground(t, newest)
			require.NoError(t, s.DeleteRun(ctx, r.ID()))
			require.Equal(t, mine, ground(t, newest), "a fork stands by itself")
			s.reopen()
			require.NoError(t, s.Checkpoint(ctx))
			s.reopen()
			require.Equal(t, mine, ground(t, s.run(newest.ID())))
		})
	}
}

// requireForked looks at what a fork that nobody has written to says of itself.
func (s *store) requireForked(source run.ID, version uint64, id run.ID) {
	s.t.Helper()
	r, f := s.run(source), s.run(id)
	from, err := r.Info()
	require.NoError(s.t, err)
	info, err := f.Info()
	require.NoError(s.t, err)
	require.Equal(s.t, run.Info{
		Meta: run.Meta{
			ID: id, Name: from.Name, Namespace: from.Namespace, Parent: source,
			Tags: map[string]string{inmem.TagFork: fmt.Sprintf("%v@%d", source, version)},
		},
		Status: run.Active, Created: s.wall.Now().UnixMilli(), FirstVersion: version, LastVersion: version,
	}, *info)
	of, at, ok := inmem.ForkOf(info)
	require.True(s.t, ok)
	require.Equal(s.t, source, of)
	require.Equal(s.t, version, at)
	commits := history(s.t, f, 0)
	require.Len(s.t, commits, 1)
	require.Equal(s.t, version, commits[0].Version)
	_, err = f.At(s.t.Context(), version-1)
	require.ErrorIs(s.t, err, inmem.ErrVersionGone)
}

// An agent that remembers the version of a key finds it in the fork, and the
// first commit of the fork makes the next version.
func TestForkKeepsVersions(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	first := put(t, r, "plan", "a")
	put(t, r, "other", "b")
	f := s.fork(r.ID(), 0)
	v, err := f.KV().PutIf(ctx, "plan", []byte("c"), first)
	require.NoError(t, err)
	require.EqualValues(t, 4, v)
	_, err = f.KV().PutIf(ctx, "plan", nil, first)
	require.ErrorIs(t, err, inmem.ErrWrongVersion)
	require.Equal(t, "a", get(t, r, "plan"))
	require.Equal(t, map[inmem.Tag]int{inmem.TagKV: 2, inmem.TagRunMetadata: 1}, countsOf(t, f))

	// Who takes the fork up fences who forked it, and nobody else.
	again, err := s.Resume(ctx, f.ID())
	require.NoError(t, err)
	_, err = f.KV().Put(ctx, "plan", nil)
	require.ErrorIs(t, err, inmem.ErrFenced)
	put(t, again, "plan", "d")
	put(t, r, "plan", "e")
	put(t, s.fork(f.ID(), 0), "plan", "nobody has taken this one up")
}

func countsOf(t testing.TB, r *inmem.Run) map[inmem.Tag]int {
	t.Helper()
	counts, err := r.Counts()
	require.NoError(t, err)
	return counts
}

// Runs of any status, spaces and forks are forked; the fork is an active run.
func TestForkOfAnyRun(t *testing.T) {
	s := newStore(t)
	sources := map[string]*inmem.Run{}
	for name, change := range map[string]func(r *inmem.Run) error{
		"paused":    func(r *inmem.Run) error { return r.Pause(ctx) },
		"completed": func(r *inmem.Run) error { return r.End(ctx, run.Completed) },
		"failed":    func(r *inmem.Run) error { return r.End(ctx, run.Failed) },
		"archived":  func(r *inmem.Run) error { return r.Archive(ctx) },
	} {
		r := s.begin()
		put(t, r, "k", name)
		require.NoError(t, change(r))
		sources[name] = r
	}
	space, err := s.Space(ctx, run.Namespace{Agent: "librarian"})
	require.NoError(t, err)
	put(t, space, "k", "space")
	sources["space"] = space
	r := s.begin()
	put(t, r, "k", "fork")
	sources["fork"] = s.fork(r.ID(), 2)
	resumed, err := s.Resume(ctx, s.fork(r.ID(), 0).ID())
	require.NoError(t, err)
	put(t, resumed, "k", "resumed")
	sources["resumed"] = resumed

	for name, r := range sources {
		f := s.fork(r.ID(), 0)
		require.Equal(t, ground(t, r), ground(t, f), name)
		s.requireForked(r.ID(), versionOf(t, r), f.ID())
		require.Equal(t, name, get(t, f, "k"))
		put(t, f, "k", "changed")
		require.NoError(t, f.End(ctx, run.Completed))
		require.Equal(t, name, get(t, r, "k"))
	}
}

// What the caller says of the fork comes before what the source says of itself.
func TestForkMeta(t *testing.T) {
	s := newStore(t)
	r := s.begin(run.Meta{Name: "source", Namespace: run.Namespace{App: "a"}})
	parent, tags := s.begin().ID(), map[string]string{"why": "to see", inmem.TagFork: "nonsense"}
	meta := run.Meta{ID: run.ID{9}, Name: "mine", Namespace: run.Namespace{Tenant: "t"}, Parent: parent, Tags: tags}
	info, err := s.fork(r.ID(), 0, meta).Info()
	require.NoError(t, err)
	require.Equal(t, "nonsense", tags[inmem.TagFork], "the caller's map is the caller's")
	meta.Tags = map[string]string{"why": "to see", inmem.TagFork: r.ID().String() + "@1"}
	require.Equal(t, meta, info.Meta)
	for _, wrong := range []string{"", "@", "x@1", r.ID().String() + "@0", r.ID().String() + "@-1", r.ID().String()} {
		info.Tags[inmem.TagFork] = wrong
		_, _, ok := inmem.ForkOf(info)
		require.False(t, ok, wrong)
	}
}

// Keys that are past their deadline now are left out, others keep it.
func TestForkAndDeadlines(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "for ever", "v")
	put(t, r, "short", "v", kv.TTL(time.Minute))
	put(t, r, "long", "v", kv.TTL(time.Hour))
	version := versionOf(t, r)
	early := s.fork(r.ID(), 0)
	require.Equal(t, []string{"for ever", "long", "short"}, keys(list(t, early, "")))
	s.wall.move(2 * time.Minute)
	late := s.fork(r.ID(), version)
	require.Equal(t, []string{"for ever", "long"}, keys(list(t, late, "")))
	require.Equal(t, 2, countsOf(t, late)[inmem.TagKV], "it is not there at all")
	it, err := late.KV().GetItem(ctx, "long")
	require.NoError(t, err)
	require.Equal(t, int64(epoch)+time.Hour.Milliseconds(), it.Deadline.UnixMilli())
	s.wall.move(time.Hour)
	for _, f := range []*inmem.Run{early, late} {
		soon(t, "the expiration", func() bool { return countsOf(t, f)[inmem.TagKV] == 1 })
	}
}

func TestForkErrors(t *testing.T) {
	s := newStore(t)
	r, other := s.begin(), s.begin()
	put(t, r, "k", "v")
	deleted := s.begin()
	require.NoError(t, s.DeleteRun(ctx, deleted.ID()))
	f := s.fork(r.ID(), 0)
	put(t, f, "k", "v") // 3
	for name, c := range map[string]struct {
		id   run.ID
		at   uint64
		meta run.Meta
		opts []inmem.ForkOption
		want error
	}{
		"no such run":              {id: run.ID{77}, want: inmem.ErrRunNotFound},
		"a deleted run":            {id: deleted.ID(), want: inmem.ErrRunNotFound},
		"a version to come":        {id: r.ID(), at: 3, want: inmem.ErrVersionGone},
		"before a fork began":      {id: f.ID(), at: 1, want: inmem.ErrVersionGone},
		"an ID that is taken":      {id: r.ID(), meta: run.Meta{ID: other.ID()}, want: inmem.ErrRunExists},
		"its own ID":               {id: r.ID(), meta: run.Meta{ID: r.ID()}, want: inmem.ErrRunExists},
		"an ID that was taken":     {id: r.ID(), meta: run.Meta{ID: deleted.ID()}, want: inmem.ErrRunDeleted},
		"metadata":                 {id: r.ID(), meta: run.Meta{Name: "\xff"}, want: run.ErrInvalidMeta},
		"its own parent":           {id: r.ID(), meta: run.Meta{ID: run.ID{5}, Parent: run.ID{5}}, want: run.ErrInvalidMeta},
		"a result that is no JSON": {id: r.ID(), opts: []inmem.ForkOption{inmem.WithStep("s", math.Inf(1))}, want: inmem.ErrForkResult},
		"a step without a name":    {id: r.ID(), opts: []inmem.ForkOption{inmem.WithStep("", 1)}, want: inmem.ErrInvalidStep},
		"a result too large": {
			id: r.ID(), opts: []inmem.ForkOption{inmem.WithStep("s", strings.Repeat("x", 64<<20))}, want: inmem.ErrValueTooLarge,
		},
	} {
		before := s.pictures()
		_, err := s.Fork(ctx, c.id, c.at, c.meta, c.opts...)
		require.ErrorIs(t, err, c.want, name)
		s.same(before)
	}
	var result *inmem.ForkResultError
	_, err := s.Fork(ctx, r.ID(), 0, run.Meta{}, inmem.WithStep("s", func() {}))
	require.ErrorAs(t, err, &result)
	require.Equal(t, "s", result.Step)
	require.ErrorContains(t, err, "func()")
	ro := s.readOnly()
	_, err = ro.Fork(ctx, r.ID(), 0, run.Meta{})
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	require.NoError(t, s.Close())
	_, err = s.Fork(ctx, r.ID(), 0, run.Meta{})
	require.ErrorIs(t, err, inmem.ErrClosed)
	s.abandon()
}

// largeEnv lets a test take the memory that a run of more than 1 GiB takes.
const largeEnv = "INMEM_LARGE"

// A fork may be larger than callers' commits may be, and not larger than one
// frame of the log.
func TestForkOfALargeRun(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) {
		o.Shards, o.MaxValueSize, o.MaxCommitSize, o.MaxKeySize = 1, 1<<20, 2<<20, 100
	})
	r := s.begin()
	value := string(make([]byte, 1<<20))
	for i := range 4 {
		put(t, r, key(i), value)
	}
	f := s.fork(r.ID(), 0)
	require.Equal(t, ground(t, r), ground(t, f))

	if os.Getenv(largeEnv) == "" {
		t.Skipf("set %s=1 for a run of more than 1 GiB, with 4 GiB of memory and 2 GiB of disk", largeEnv)
	}
	s = newOSStore(t, func(o *inmem.Options) {
		o.Shards, o.MaxValueSize, o.MaxCommitSize, o.CheckpointBytes = 1, 512<<20, 1023<<20, -1
	})
	r = s.begin()
	large := make([]byte, 512<<20)
	for i := range 2 {
		_, err := r.KV().Put(ctx, key(i), large)
		require.NoError(t, err)
	}
	_, err := s.Fork(ctx, r.ID(), 0, run.Meta{})
	var size *inmem.SizeError
	require.ErrorAs(t, err, &size)
	require.ErrorIs(t, err, inmem.ErrBatchTooLarge)
	require.Equal(t, 1<<30, size.Max)
	require.Greater(t, size.Size, size.Max)
	s.abandon()
}

// A run that is written to meanwhile is forked as it was at one version.
func TestForkOfABusyRun(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			var b kv.Batch
			for i := range 10 { // all keys are of one version
				b.Put(key(i), fmt.Appendf(nil, "%0200d", n))
			}
			if _, err := r.KV().Write(ctx, &b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	last := make([]*inmem.Run, 4)
	var forkers sync.WaitGroup
	for i := range last {
		forkers.Go(func() {
			source := r.ID()
			for range rounds {
				f, err := s.Fork(ctx, source, 0, run.Meta{})
				if err != nil {
					t.Error(err)
					return
				}
				items := list(t, f, "key")
				for _, it := range items {
					if it.Version != items[0].Version || string(it.Value) != string(items[0].Value) {
						t.Errorf("%s is of version %d, %s of %d", it.Key, it.Version, items[0].Key, items[0].Version)
					}
				}
				put(t, f, "mine", "mine")
				if last[i] = f; source == r.ID() {
					source = f.ID() // and forks of forks
				} else {
					source = r.ID()
				}
			}
		})
	}
	forkers.Wait()
	close(stop)
	busy.Wait()
	for _, f := range last {
		require.Equal(t, "mine", get(t, f, "mine"))
	}
}

// A fork is as any run in what is made of the store: for those who only read, in
// a copy, and in what is salvaged.
func TestForkElsewhere(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	for i := range 30 {
		put(t, r, key(i), fmt.Sprint(i))
	}
	forks := []*inmem.Run{s.fork(r.ID(), 0), s.fork(r.ID(), 17)}
	require.NoError(t, s.Checkpoint(ctx))
	forks = append(forks, s.fork(forks[1].ID(), 0))
	for i, f := range forks {
		put(t, f, "mine", fmt.Sprint(i))
	}
	before := s.pictures()
	s.readOnly().same(before)
	_, err := s.Backup(ctx, "/copy")
	require.NoError(t, err)
	s.copied("/copy").same(before)

	saved := s.dir + "-saved"
	require.NoError(t, s.Close())
	report, err := inmem.Salvage(ctx, s.dir, saved, &inmem.Options{FS: s.fs, Now: s.wall.Now})
	require.NoError(t, err)
	require.True(t, report.Complete())
	c := s.copied(saved)
	c.same(before)
	for _, f := range forks {
		require.Equal(t, "-", get(t, c.run(r.ID()), "mine"))
		first := history(t, c.run(f.ID()), 0)[0]
		past := at(t, c.run(f.ID()), first.Version)
		_, err := past.KV().Get(ctx, "mine")
		require.ErrorIs(t, err, inmem.ErrNotFound)
	}
	s.open()
}

// A fork's agent gets the recorded results of its source, then the one that was
// given to the fork, and executes what comes behind that.
func TestForkWithStep(t *testing.T) {
	s := newStore(t)
	var called []string
	agent := func(r *inmem.Run) (out []string) {
		for _, name := range []string{"plan", "price", "price", "buy"} {
			v, err := inmem.Do(ctx, r, name, nil, func(context.Context) (string, error) {
				called = append(called, name)
				return name + " by the world", nil
			})
			require.NoError(t, err)
			out = append(out, v)
		}
		return out
	}
	r := s.begin()
	require.Equal(t, []string{"plan by the world", "price by the world", "price by the world", "buy by the world"}, agent(r))

	f, err := s.Fork(ctx, r.ID(), 2, run.Meta{}, inmem.WithStep("price", "one euro"), inmem.WithStep("plan", "too late"))
	require.NoError(t, err)
	called = nil
	require.Equal(t, []string{"plan by the world", "one euro", "price by the world", "buy by the world"}, agent(f))
	require.Equal(t, []string{"price", "buy"}, called)

	// It takes the given result once more after a restart: it is recorded now.
	id := f.ID()
	s.reopen()
	again, err := s.Resume(ctx, id)
	require.NoError(t, err)
	called = nil
	require.Equal(t, "one euro", agent(again)[1])
	require.Empty(t, called)

	// A result that is given anew replaces one that was given before.
	early, err := s.Fork(ctx, r.ID(), 1, run.Meta{}, inmem.WithStep("price", "two euros"))
	require.NoError(t, err)
	early, err = s.Fork(ctx, early.ID(), 0, run.Meta{}, inmem.WithStep("price", "three euros"), inmem.WithStep("price", "four euros"))
	require.NoError(t, err)
	require.Equal(t, "four euros", agent(early)[1])
}
