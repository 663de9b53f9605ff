package inmem_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

// at returns the run as of a version.
func at(t testing.TB, r *inmem.Run, version uint64) *inmem.Past {
	t.Helper()
	p, err := r.At(ctx, version)
	require.NoError(t, err)
	require.Equal(t, version, p.Version())
	require.Equal(t, r.ID(), p.ID())
	return p
}

// TestPastIsWhatWas lives a random life and holds every version of it, asked for
// in any order, against a replay of the history by other code, and against what
// was seen when it was the newest.
func TestPastIsWhatWas(t *testing.T) {
	for _, seed := range crashSeeds(t, 8) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 11))
			s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.CheckpointBytes = 8<<10, 16<<10 })
			r := s.begin()
			seen := map[uint64][]kv.Item{}
			for range 300 {
				randomWrite(t, r, rng)
				seen[versionOf(t, r)] = list(t, r, "")
				if rng.IntN(60) == 0 {
					s.reopen()
					r = s.run(r.ID())
				}
			}
			require.NoError(t, r.End(ctx, run.Failed))
			last := versionOf(t, r)
			life := historyOf(t, s.DB, r.ID())
			for range 2 * last {
				v := 1 + rng.Uint64N(last)
				p := at(t, r, v)
				require.Equal(t, newState(life[:v]).digest(), p.Digest(), "version %d", v)
				require.Equal(t, life[v-1].Time, p.Time().UnixMilli())
				info, err := p.Info()
				require.NoError(t, err)
				require.Equal(t, v, info.LastVersion)
				require.Equal(t, v == last, info.Status == run.Failed)
				if want, ok := seen[v]; ok {
					var got []kv.Item
					for it, err := range p.KV().List(ctx, "") {
						require.NoError(t, err)
						got = append(got, it)
					}
					require.Equal(t, want, got, "version %d", v)
				}
			}
		})
	}
}

// randomWrite makes one commit, or none where a key to delete is not there.
func randomWrite(t testing.TB, r *inmem.Run, rng *rand.Rand) {
	t.Helper()
	switch rng.IntN(6) {
	case 0:
		if _, err := r.KV().Delete(ctx, key(rng.IntN(20))); err != nil {
			require.ErrorIs(t, err, inmem.ErrNotFound)
		}
	case 1:
		var b kv.Batch
		for range 5 {
			b.Put(key(rng.IntN(20)), big(rng.IntN(50)))
		}
		_, err := r.KV().Write(ctx, &b)
		require.NoError(t, err)
	case 2:
		put(t, r, key(rng.IntN(20)), "for an hour", kv.TTL(time.Hour))
	default:
		put(t, r, key(rng.IntN(20)), fmt.Sprint(rng.Uint64()))
	}
}

// A version shows what was live when it was committed, and AsOf what was live
// at the moment.
func TestPastJudgesDeadlinesByItsTime(t *testing.T) {
	s := newStore(t)
	r := s.begin() // version 1, at the epoch
	moment := func(d time.Duration) time.Time { return time.UnixMilli(epoch).Add(d) }
	s.wall.move(time.Second)
	put(t, r, "short", "2", kv.TTL(10*time.Second))
	s.wall.move(time.Minute)
	soon(t, "the key expires", func() bool { return versionOf(t, r) == 3 })
	s.wall.move(time.Minute)
	put(t, r, "k", "4")

	value := func(p *inmem.Past, err error) string {
		require.NoError(t, err)
		v, err := p.KV().Get(ctx, "short")
		if err != nil {
			require.ErrorIs(t, err, inmem.ErrNotFound)
			return fmt.Sprint(p.Version(), " -")
		}
		return fmt.Sprint(p.Version(), " ", string(v))
	}
	require.Equal(t, "1 -", value(r.At(ctx, 1)))
	require.Equal(t, "2 2", value(r.At(ctx, 2)))
	require.Equal(t, "3 -", value(r.At(ctx, 3)))
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{0, "1 -"}, {999 * time.Millisecond, "1 -"}, {time.Second, "2 2"}, {11*time.Second - time.Millisecond, "2 2"},
		{11 * time.Second, "2 -"}, {61 * time.Second, "3 -"}, {121 * time.Second, "4 -"}, {time.Hour, "4 -"},
	} {
		require.Equal(t, c.want, value(r.AsOf(ctx, moment(c.at))), "as of %v", c.at)
	}
	_, err := r.AsOf(ctx, moment(-time.Millisecond))
	var gone *inmem.VersionGoneError
	require.ErrorAs(t, err, &gone)
	require.Equal(t, inmem.VersionGoneError{First: 1, Last: 4}, *gone)
	require.ErrorIs(t, err, inmem.ErrVersionGone)
}

func TestPastThatNeverWas(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "1")
	for _, version := range []uint64{0, 3, 1 << 63} {
		_, err := r.At(ctx, version)
		var gone *inmem.VersionGoneError
		require.ErrorAs(t, err, &gone)
		require.Equal(t, inmem.VersionGoneError{Version: version, First: 1, Last: 2}, *gone)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.At(cancelled, 1)
	require.ErrorIs(t, err, context.Canceled)
	p := at(t, r, 1) // a reading that was given up keeps nobody from another
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	_, err = r.At(ctx, 1)
	require.ErrorIs(t, err, inmem.ErrRunNotFound)
	_, err = r.AsOf(ctx, time.UnixMilli(epoch))
	require.ErrorIs(t, err, inmem.ErrRunNotFound)
	_, err = p.KV().Get(ctx, "k")
	require.ErrorIs(t, err, inmem.ErrNotFound, "the past stays, whatever becomes of the run")
	s.end()
	_, err = p.KV().Get(ctx, "k")
	require.ErrorIs(t, err, inmem.ErrClosed)
}

// Versions that are not older than the run's image are built on it: nothing
// before it is read, which is shown by damaging that.
func TestPastFromTheImage(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.Shards = 8<<10, 1 })
	r := s.begin()
	for i := range 300 {
		put(t, r, key(i%7), fmt.Sprint(i, string(big(100))))
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	for i := range 100 {
		put(t, r, key(i%7), fmt.Sprint("later ", i))
	}
	life := historyOf(t, s.DB, r.ID())
	s.reopen()
	reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	logs := slices.DeleteFunc(s.mem.Files(), func(name string) bool { return !strings.HasSuffix(name, ".wal") })
	require.NoError(t, s.mem.Flip(logs[0], 8*200))
	stays := func(db *inmem.DB) {
		r, err := db.Run(r.ID())
		require.NoError(t, err)
		for _, v := range []uint64{401, 301, 350, 302} {
			require.Equal(t, newState(life[:v]).digest(), at(t, r, v).Digest(), "version %d", v)
		}
		_, err = r.At(ctx, 300)
		require.ErrorIs(t, err, inmem.ErrCorrupt)
	}
	stays(s.DB)
	stays(reader)
	require.NoError(t, s.mem.Flip(logs[0], 8*200))

	// The images are replaced while others read: a reader of another process may
	// find none, and reads the log.
	for range 3 {
		put(t, s.run(r.ID()), "k", "v")
		require.NoError(t, s.DB.Checkpoint(ctx))
		mine, err := reader.Run(r.ID())
		require.NoError(t, err)
		require.Equal(t, newState(life[:340]).digest(), at(t, mine, 340).Digest())
		require.Equal(t, newState(life[:340]).digest(), at(t, s.run(r.ID()), 340).Digest())
	}
}

// All faces show the past, and none of them changes it.
func TestPastWithAllFaces(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "1")
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "first"})
	require.NoError(t, err)
	_, err = r.State().Init(ctx, "cell", state.Value{State: "waiting"})
	require.NoError(t, err)
	span, err := r.Trace().Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "look"})
	require.NoError(t, err)
	then := versionOf(t, r)
	put(t, r, "k", "2")
	_, err = r.Events().Append(ctx, event.Main, event.New{Type: "second"})
	require.NoError(t, err)
	_, err = r.State().CompareAndSet(ctx, "cell", 4, state.Value{State: "done"})
	require.NoError(t, err)
	require.NoError(t, r.Trace().Finish(ctx, span, trace.Finish{Status: trace.OK}))

	p := at(t, r, then)
	v, err := p.KV().Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "1", string(v))
	var types []string
	for e, err := range p.Events().Read(ctx, event.Main) {
		require.NoError(t, err)
		types = append(types, e.Type)
	}
	require.Equal(t, []string{"first"}, types)
	cell, err := p.State().Get(ctx, "cell")
	require.NoError(t, err)
	require.Equal(t, "waiting", cell.State)
	got, err := p.Trace().Get(ctx, span)
	require.NoError(t, err)
	require.Equal(t, trace.Open, got.Status)
	n := 0
	for c, err := range p.KV().History(ctx, "k") {
		require.NoError(t, err)
		require.Equal(t, "1", string(c.Value))
		n++
	}
	require.Equal(t, 1, n)

	_, err = p.KV().Put(ctx, "k", nil)
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	_, err = p.Events().Append(ctx, event.Main, event.New{Type: "no"})
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	_, err = p.State().Init(ctx, "other", state.Value{})
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	_, err = p.Trace().Start(ctx, trace.Start{Kind: trace.Thought, Name: "no"})
	require.ErrorIs(t, err, inmem.ErrReadOnly)
}

// Many may look at many versions at the same time, while the run goes on.
func TestPastOfABusyRun(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 16 << 10 })
	runs := []*inmem.Run{s.begin(), s.begin(), s.begin()}
	for _, r := range runs {
		for i := range 200 {
			put(t, r, key(i%10), fmt.Sprint(i+2)) // the version
		}
	}
	var all sync.WaitGroup
	for g := range 8 {
		rng := dice(uint64(g))
		all.Go(func() {
			for range 100 {
				r := runs[rng.IntN(len(runs))]
				if g == 0 {
					_, err := r.KV().Put(ctx, "new", nil)
					assert.NoError(t, err)
					continue
				}
				v := 12 + rng.Uint64N(190)
				p, err := r.At(ctx, v)
				if assert.NoError(t, err) {
					got, err := p.KV().Get(ctx, key(int(v-2)%10))
					assert.NoError(t, err)
					assert.Equal(t, fmt.Sprint(v), string(got))
				}
			}
		})
	}
	all.Wait()
}

// What is in a run can be listed by tag, and counted, whatever face it is of.
func TestContents(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "b", "2", kv.TTL(time.Hour))
	put(t, r, "a", "1")
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "first", ID: "id"})
	require.NoError(t, err)
	check := func() {
		r := s.run(r.ID())
		counts, err := r.Counts()
		require.NoError(t, err)
		require.Equal(t, map[inmem.Tag]int{op.RunMetadata: 1, op.KV: 2, op.Event: 2}, counts)
		var tags []inmem.Tag
		for c, err := range r.Contents(ctx) {
			require.NoError(t, err)
			tags = append(tags, c.Tag)
		}
		require.Len(t, tags, 5)
		require.IsNonDecreasing(t, tags)
		var all []inmem.Content
		for c, err := range r.Contents(ctx, op.KV) {
			require.NoError(t, err)
			c.Value[0]++ // it is the caller's
			all = append(all, c)
		}
		require.Equal(t, []inmem.Content{
			{Tag: op.KV, Key: "a", Value: []byte("2"), Version: 3},
			{Tag: op.KV, Key: "b", Value: []byte("3"), Version: 2, Deadline: time.UnixMilli(epoch + 3_600_000)},
		}, all)
		require.Equal(t, "1", get(t, r, "a"))
		for c, err := range r.Contents(ctx) {
			require.NoError(t, err)
			require.NotZero(t, c)
			break // and nothing comes after it
		}
	}
	check()
	s.reopen()
	require.NoError(t, s.DB.Checkpoint(ctx))
	check()
	s.reopen() // from the checkpoint
	check()
	r = s.run(r.ID())
	_, err = r.KV().Delete(ctx, "a")
	require.NoError(t, err)
	counts, err := r.Counts()
	require.NoError(t, err)
	require.Equal(t, 1, counts[op.KV])

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range r.Contents(cancelled) {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	_, err = r.Counts()
	require.ErrorIs(t, err, inmem.ErrRunNotFound)
	for _, err := range r.Contents(ctx) {
		require.ErrorIs(t, err, inmem.ErrRunNotFound)
	}
}
