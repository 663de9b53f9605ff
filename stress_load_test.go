package inmem_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

// footprint is what a store should not leave behind.
type footprint struct {
	goroutines int
	heap       uint64
}

func measure() footprint {
	runtime.GC()
	runtime.GC() // what the first one found to be unreachable is free now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), m.HeapAlloc}
}

// warmUp lets the runtime make what it keeps of n goroutines for ever.
func warmUp(n int) {
	gate := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() { <-gate })
	}
	close(gate)
	all.Wait()
}

// restored waits until nothing is left of a store: no goroutine, no memory, and
// nobody who holds it.
func (before footprint) restored(t testing.TB, gone func() bool) {
	t.Helper()
	const slack = 1 << 20 // of the test's own, in bytes
	var now footprint
	soon(t, "the end of the store's goroutines and memory", func() bool {
		now = measure()
		return now.goroutines <= before.goroutines && now.heap < before.heap+slack && gone()
	})
	t.Logf("goroutines %d → %d, heap %d → %d KiB", before.goroutines, now.goroutines, before.heap>>10, now.heap>>10)
}

// loadedRun is a run that several goroutines share.
type loadedRun struct {
	*inmem.Run
	fate int          // what becomes of it when the last goroutine has done its part
	left atomic.Int32 // parts to be done
	mu   sync.Mutex
	told map[uint64]string // the key of each commit that was acknowledged with its version
}

// The fates of runs.
const (
	staysActive = iota
	getsEnded
	getsPaused
	getsDeleted
	fates
)

const commitsOfAPart = 7

func (r *loadedRun) take(key string, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[version] = key
}

// Ten thousand goroutines on a thousand runs of all shards, on the real disk,
// while keys expire, checkpoints are taken and segments begun: versions have no
// gaps, who wrote reads it at once, and a store that is closed leaves nothing
// behind but its files, which hold the same state.
func TestTenThousandGoroutines(t *testing.T) {
	watchdog(t)
	goroutines, n := 10_000, 1_000
	if testing.Short() || raceEnabled { // the race detector takes 8,128 at most
		goroutines, n = 2_000, 200
	}
	warmUp(goroutines)
	before := measure()
	s := newOSStore(t, func(o *inmem.Options) {
		o.Shards, o.SegmentSize, o.CheckpointBytes = 4, 128<<10, 256<<10
	})
	runs := make([]*loadedRun, n)
	for i := range runs {
		runs[i] = &loadedRun{Run: s.begin(metaNamed(fmt.Sprint(i))), fate: i % fates, told: map[uint64]string{}}
		runs[i].left.Store(int32(goroutines / n))
	}
	calm := s.commotion()
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			r := runs[g%n]
			if err := r.part(fmt.Sprint(g, "/")); err != nil {
				t.Errorf("goroutine %d: %v", g, err)
			}
			if r.left.Add(-1) == 0 {
				r.meet(t, s)
			}
		})
	}
	all.Wait()
	calm()
	require.False(t, t.Failed())
	s.wall.move(time.Hour)
	soon(t, "the end of all deadlines", func() bool { return s.Metrics().Deadlines == 0 })
	s.healthy()
	for _, r := range runs {
		r.verify(t, goroutines/n)
	}
	s.wasBusy(goroutines * commitsOfAPart)
	want := s.digests()
	require.Len(t, want, n-n/fates)

	require.NoError(t, s.Close())
	s.sound()
	gone := weak.Make(s.DB)
	s.DB, s.ended, runs = nil, true, nil
	before.restored(t, func() bool { return gone.Value() == nil })
	s.open()
	assert.Equal(t, want, s.digests())
}

// commotion is everything that goes on beside the writers, until calm.
func (s *store) commotion() (calm func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, call := range []func() error{
		func() error { return s.DB.Checkpoint(ctx) },
		func() error { s.wall.move(time.Millisecond); return s.Flush(ctx) },
		func() error {
			for _, err := range s.Runs(ctx, run.Filter{Status: []run.Status{run.Active}, Limit: 100, Reverse: true}) {
				if err != nil {
					return err
				}
			}
			_ = s.Metrics()
			return nil
		},
	} {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond): // the writers shall not starve
				}
				if !assert.NoError(s.t, call()) {
					return
				}
			}
		})
	}
	return func() { close(stop); all.Wait() }
}

// part is what one goroutine does with its keys: seven commits, each of which
// it sees at once.
func (r *loadedRun) part(prefix string) error {
	face, a, b := r.KV(), prefix+"a", prefix+"b"
	first, err := face.Put(ctx, a, []byte("first"))
	if err != nil {
		return err
	}
	if v, err := face.Get(ctx, a); err != nil || string(v) != "first" {
		return fmt.Errorf("read %q, %w, of what was just put", v, err)
	}
	late, err := face.Put(ctx, b, []byte(prefix), kv.TTL(time.Hour))
	if err != nil {
		return err
	}
	var items []string
	for it, err := range face.List(ctx, prefix) {
		if err != nil {
			return err
		}
		items = append(items, fmt.Sprint(it.Key, it.Version, it.Deadline.IsZero()))
	}
	if want := []string{fmt.Sprint(a, first, true), fmt.Sprint(b, late, false)}; !slices.Equal(items, want) {
		return fmt.Errorf("listed %v, not %v", items, want)
	}
	second, err := face.PutIf(ctx, a, []byte("second"), first)
	if err != nil {
		return err
	}
	if _, err := face.PutIf(ctx, a, nil, first); !errors.Is(err, inmem.ErrWrongVersion) {
		return fmt.Errorf("a version that is over: %w", err)
	}
	if old, err := face.Delete(ctx, b); err != nil || string(old) != prefix {
		return fmt.Errorf("deleted %q, %w", old, err)
	}
	if there, err := face.Exists(ctx, b); err != nil || there {
		return fmt.Errorf("deleted, but there: %v, %w", there, err)
	}
	soon, err := face.Put(ctx, prefix+"soon", nil, kv.TTL(5*time.Millisecond))
	if err != nil {
		return err
	}
	batch, err := r.batch(prefix)
	if err != nil {
		return err
	}
	last, err := face.Put(ctx, prefix+"last", nil)
	if err != nil {
		return err
	}
	told := []uint64{first, late, second, soon, batch, last}
	if !slices.IsSorted(told) {
		return fmt.Errorf("versions in this order: %v", told)
	}
	for i, key := range []string{a, b, a, prefix + "soon", prefix + "x", prefix + "last"} {
		r.take(key, told[i])
	}
	return nil
}

// batch writes two keys in one commit.
func (r *loadedRun) batch(prefix string) (version uint64, err error) {
	var b kv.Batch
	b.Put(prefix+"x", []byte("pair"))
	b.Put(prefix+"y", []byte("pair"))
	if version, err = r.KV().Write(ctx, &b); err != nil {
		return 0, err
	}
	for _, key := range []string{"x", "y"} {
		if it, err := r.KV().GetItem(ctx, prefix+key); err != nil || it.Version != version {
			return 0, fmt.Errorf("half a batch: %v, %w", it, err)
		}
	}
	return version, nil
}

// meet lets the run meet its fate, which is to be seen at once.
func (r *loadedRun) meet(t *testing.T, s *store) {
	var err, after error
	want := error(nil)
	switch r.fate {
	case getsEnded:
		err, want = r.End(ctx, run.Completed), inmem.ErrRunEnded
	case getsPaused:
		err, want = r.Pause(ctx), inmem.ErrRunNotActive
	case getsDeleted:
		err, want = s.DeleteRun(ctx, r.ID()), inmem.ErrRunDeleted
	default:
		return
	}
	assert.NoError(t, err)
	_, after = r.KV().Put(ctx, "too late", nil)
	assert.ErrorIs(t, after, want)
}

// verify holds the run's history against what its goroutines were told.
func (r *loadedRun) verify(t *testing.T, parts int) {
	t.Helper()
	require.Len(t, r.told, parts*(commitsOfAPart-1), "every commit has a version of its own")
	if r.fate == getsDeleted {
		_, err := r.Info()
		require.ErrorIs(t, err, inmem.ErrRunDeleted)
		return
	}
	last, deletes, statuses := uint64(0), 0, 0
	for c, err := range r.History(ctx, 0) {
		last++
		if err != nil || c.Version != last {
			t.Fatalf("%v, %v, where version %d was expected", c, err, last)
		}
		key, told := r.told[c.Version]
		switch {
		case told && c.Ops[0].Key == key:
			delete(r.told, c.Version)
		case c.Ops[0].Kind == inmem.OpDelete:
			deletes++
		case c.Ops[0].Tag == inmem.TagRunMetadata:
			statuses++
		case c.Ops[0].Kind != inmem.OpExpire:
			t.Fatalf("nobody asked for %v", c)
		}
	}
	require.Empty(t, r.told, "commits that the history does not have")
	require.Equal(t, parts, deletes)
	require.Equal(t, map[bool]int{true: 1, false: 2}[r.fate == staysActive], statuses)
	info, err := r.Info()
	require.NoError(t, err)
	require.Equal(t, last, info.LastVersion)
}

// wasBusy makes sure that there was something to disturb the writers.
func (s *store) wasBusy(commits int) {
	s.t.Helper()
	var sum inmem.ShardMetrics
	for _, m := range s.Metrics().Shards {
		require.Positive(s.t, m.Runs, "a shard without runs")
		sum.Checkpoints += m.Checkpoints
		sum.LogSegments += m.LogSegments
		sum.Commits += m.Commits
		sum.Expired += m.Expired
		sum.Batches += m.Batches
	}
	s.t.Logf("%d commits in %d batches, %d checkpoints, %d segments, %d expired",
		sum.Commits, sum.Batches, sum.Checkpoints, sum.LogSegments, sum.Expired)
	assert.Greater(s.t, sum.Commits, uint64(commits))
	assert.Greater(s.t, sum.Checkpoints, uint64(4))
	assert.Greater(s.t, sum.LogSegments, uint64(3))
	assert.Greater(s.t, sum.Expired, uint64(commits/commitsOfAPart/2))
}

// digests are the fingerprints of all runs, by ID.
func (s *store) digests() map[run.ID]string {
	s.t.Helper()
	all := map[run.ID]string{}
	for info, err := range s.Runs(ctx, run.Filter{}) {
		require.NoError(s.t, err)
		digest, version, err := s.run(info.ID).Digest()
		require.NoError(s.t, err)
		all[info.ID] = fmt.Sprint(digest, version, info.Status)
	}
	return all
}
