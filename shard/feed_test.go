package shard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/wal"
)

// unsealed keeps the log from writing seals by itself: they take sequences.
func unsealed(o *rigOptions) { o.segmentSize, o.interval = 1<<20, time.Hour }

// reader is a watcher with what it has read.
type reader struct {
	*Watcher
	t    testing.TB
	bell chan struct{}
	got  []uint64
}

// watch watches a run, or all where h is nil, until the end of the test.
func (r *rig) watch(h *Handle, after uint64) *reader {
	w := &reader{t: r.t, bell: make(chan struct{}, 1)}
	w.Watcher = r.Watch(h, after, w.bell)
	r.t.Cleanup(w.Stop)
	return w
}

// read reads what there is.
func (w *reader) read() []uint64 {
	w.t.Helper()
	w.got = nil
	require.NoError(w.t, w.Read(ctx, func(l Logged) error {
		w.got = append(w.got, l.Sequence)
		require.Equal(w.t, l.Run, run.ID(l.Payload[:16]))
		return nil
	}))
	return w.got
}

func (w *reader) rang() bool {
	select {
	case <-w.bell:
		return true
	default:
		return false
	}
}

func sequences(from, to uint64) (list []uint64) {
	for ; from <= to; from++ {
		list = append(list, from)
	}
	return list
}

// A watcher gets what was logged after its place, from memory or from the log,
// and is woken by what concerns it.
func TestWatchers(t *testing.T) {
	r := newRig(t, unsealed)
	a := r.begin() // 1
	r.put(a, "k", "2")
	all, one := r.watch(nil, 0), r.watch(a, 1)
	require.Equal(t, sequences(1, 2), all.read())
	require.Equal(t, sequences(2, 2), one.read())
	require.Empty(t, all.read())
	b := r.begin() // 3
	r.put(b, "k", "4")
	require.True(t, all.rang())
	require.False(t, one.rang())
	require.Equal(t, sequences(3, 4), all.read())
	require.Empty(t, one.read())
	require.EqualValues(t, 4, one.After())
	r.put(a, "k", "5")
	require.True(t, one.rang())
	require.Equal(t, sequences(5, 5), one.read())
	require.EqualValues(t, 5, r.Published())

	// It can stop in the middle, and goes on behind what it was given.
	r.put(a, "k", "6")
	r.put(a, "k", "7")
	stop := fmt.Errorf("enough")
	require.ErrorIs(t, all.Read(ctx, func(l Logged) error {
		if l.Sequence == 6 {
			return stop
		}
		return nil
	}), stop)
	require.EqualValues(t, 6, all.After())
	require.Equal(t, sequences(7, 7), all.read())
	late := r.watch(nil, 100)
	require.Empty(t, late.read(), "it waits for what comes after its place")

	// With nobody watching nothing is kept.
	for _, w := range []*reader{all, one, late} {
		w.Stop()
		w.Watcher.Stop() // as the end of the test does again
	}
}

// However many commits come at once, and however far a watcher has fallen
// behind what is kept, it gets each of them once.
func TestWatchersFallBehind(t *testing.T) {
	for _, seed := range []uint64{rand.Uint64N(1 << 32), 1} {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, unsealed)
		runs := []*Handle{r.begin(), r.begin(), r.begin()}
		watchers := []*reader{r.watch(nil, 0), r.watch(runs[0], 0), r.watch(runs[1], 0)}
		seen := make([][]uint64, len(watchers))
		mine := map[run.ID][]uint64{runs[0].ID: {1}, runs[1].ID: {2}, runs[2].ID: {3}}
		seq := uint64(3)
		read := func(i int) { seen[i] = append(seen[i], watchers[i].read()...) }
		for range 60 {
			h := runs[rng.IntN(len(runs))]
			n := []int{1, 10, 300, 2000}[rng.IntN(4)]
			value := strings.Repeat("v", []int{1, 20_000 / n}[rng.IntN(2)])
			for range n {
				seq++
				r.put(h, "k", value)
				mine[h.ID] = append(mine[h.ID], seq)
			}
			read(rng.IntN(len(watchers)))
		}
		for i := range watchers {
			read(i)
		}
		require.Equal(t, sequences(1, seq), seen[0], "seed %d", seed)
		require.Equal(t, mine[runs[0].ID], seen[1], "seed %d", seed)
		require.Equal(t, mine[runs[1].ID], seen[2], "seed %d", seed)
	}
}

// What is kept is bounded in number and in bytes.
func TestFeedIsBounded(t *testing.T) {
	var f feed
	f.reset()
	f.watchers.Store(1)
	seq := uint64(10)
	add := func(n, size int) {
		for range n {
			seq++
			f.keep(Logged{Sequence: seq, Payload: make([]byte, size)})
		}
		f.publish(seq)
	}
	for range 40 {
		add(1000, 10)
		require.LessOrEqual(t, len(f.recent), feedCommits)
	}
	for range 10 {
		add(3, 4<<20)
		require.NotEmpty(t, f.recent)
		require.LessOrEqual(t, f.bytes, feedBytes)
	}
	sum := 0
	for _, c := range f.recent {
		sum += len(c.Payload)
	}
	require.Equal(t, f.bytes, sum)
	require.Equal(t, f.from+1, f.recent[0].Sequence)
	_, _, ok := f.since(f.from-1, nil)
	require.False(t, ok, "that is in the log only")
	list, last, ok := f.since(f.from, nil)
	require.True(t, ok)
	require.Equal(t, seq, last)
	require.Equal(t, f.recent, list)

	f.watchers.Store(0)
	add(5, 1)
	f.reset()
	f.watchers.Store(1)
	_, _, ok = f.since(seq-1, nil)
	require.False(t, ok, "nothing was kept with nobody there")
	add(2, 1)
	list, _, ok = f.since(seq-2, nil)
	require.True(t, ok)
	require.Len(t, list, 2)
}

// A shard that is only read shows its watchers what others have logged, with
// each Refresh.
func TestWatchersOfAReadOnlyShard(t *testing.T) {
	r := newRig(t, unsealed)
	h := r.begin()
	past := func() (*wal.History, error) { return r.Shard.History(ctx) }
	first, err := past()
	require.NoError(t, err)
	state, replayed := NewState(), uint64(0)
	catchUp := func(to *wal.History) error {
		var c op.Commit
		return to.Records(ctx, replayed+1, to.Last(), func(f wal.Frame) error {
			replayed = f.Sequence
			require.NoError(t, c.Decode(f.Payload))
			return state.Replay(&c, f.Sequence)
		})
	}
	require.NoError(t, catchUp(first))
	more := error(nil)
	s := NewReadOnly(Config{FS: r.fs, State: state, History: first, More: func() (*wal.History, error) {
		if more != nil {
			return nil, more
		}
		now, err := past()
		if err == nil {
			err = catchUp(now)
		}
		return now, err
	}})
	mine, err := s.Find(h.ID)
	require.NoError(t, err)
	bell := make(chan struct{}, 1)
	w := &reader{Watcher: s.Watch(nil, 0, bell), t: t, bell: bell}
	defer w.Stop()
	require.Equal(t, sequences(1, 1), w.read())
	r.put(h, "k", "v")
	require.Empty(t, w.read())
	more = errFault
	require.ErrorIs(t, s.Refresh(), errFault)
	require.EqualValues(t, 1, mine.snapshot.Load().Version)
	more = nil
	require.NoError(t, s.Refresh())
	require.True(t, w.rang())
	require.Equal(t, sequences(2, 2), w.read())
	require.EqualValues(t, 2, mine.snapshot.Load().Version)
	_, err = s.Commit(ctx, h.ID, put("k", "v"))
	require.ErrorIs(t, err, op.ErrReadOnly)
}

// What a watcher reads from the log may be damaged.
func TestWatcherOfADamagedLog(t *testing.T) {
	r := newRig(t, unsealed)
	h := r.begin()
	for range 20 {
		r.put(h, "k", strings.Repeat("v", 100))
	}
	require.NoError(t, r.Flush(ctx))
	files := r.fs.Files()
	at := slices.IndexFunc(files, func(name string) bool { return strings.HasSuffix(name, ".wal") })
	require.NoError(t, r.fs.Flip(files[at], 8*1000))
	for _, w := range []*reader{r.watch(nil, 0), r.watch(h, 0)} {
		require.ErrorIs(t, w.Read(ctx, func(Logged) error { return nil }), op.ErrCorrupt)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	w := r.watch(nil, 0)
	require.ErrorIs(t, w.Read(cancelled, func(Logged) error { return nil }), context.Canceled)
}
