package inmem_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

// small lets a store have many small segments, and only be pruned when asked.
func small(o *inmem.Options) {
	o.Shards, o.SegmentSize, o.CheckpointBytes, o.PruneInterval = 1, 8<<10, -1, -1
}

func keeps(r inmem.Retention) func(*inmem.Options) {
	return func(o *inmem.Options) { o.Retention = r }
}

func history0(v inmem.Versions) inmem.Retention {
	return inmem.Retention{Limits: inmem.RetentionLimits{History: v}}
}

// logBytes is what the segments take, and how many there are.
func (s *store) logBytes() (bytes, files int) {
	s.t.Helper()
	for _, name := range s.mem.Files() {
		if filepath.Ext(name) == ".wal" {
			b, err := s.mem.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the background was faster
			}
			require.NoError(s.t, err)
			bytes += len(b)
			files++
		}
	}
	return bytes, files
}

func (s *store) prune(opts *inmem.PruneOptions) *inmem.PruneReport {
	s.t.Helper()
	report, err := s.Prune(ctx, opts)
	require.NoError(s.t, err)
	return report
}

// requireGone wants a version not to be there, and to be told which the oldest is.
func requireGone(t testing.TB, r *inmem.Run, version, first uint64) {
	t.Helper()
	_, err := r.At(ctx, version)
	var gone *inmem.VersionGoneError
	require.ErrorAs(t, err, &gone, "version %d", version)
	require.ErrorIs(t, err, inmem.ErrVersionGone)
	require.Equal(t, first, gone.First)
}

// filled writes versions of a run, 300 bytes each over ten keys, and returns the
// digest of each.
func filled(t testing.TB, r *inmem.Run, versions int) map[uint64]inmem.Digest {
	t.Helper()
	digests := map[uint64]inmem.Digest{}
	for i := range versions {
		put(t, r, key(i%10), fmt.Sprint(i, strings.Repeat("x", 300)))
		d, v, err := r.Digest()
		require.NoError(t, err)
		digests[v] = d
	}
	return digests
}

func TestHistoryOff(t *testing.T) {
	s := newStore(t, small, keeps(history0(inmem.NoVersions)))
	r := s.begin()
	digests := filled(t, r, 300)
	other := s.begin(run.Meta{Tags: map[string]string{inmem.TagHistory: "all"}})
	all := filled(t, other, 100)
	before, _ := s.logBytes()

	planned := s.prune(&inmem.PruneOptions{DryRun: true})
	now, _ := s.logBytes()
	require.InDelta(t, before, now, 200, "a dry run changes nothing; the log is sealed when it is silent")
	require.InDelta(t, before, planned.LogBytes, 10<<10)
	require.Greater(t, planned.LogDead, int64(60_000))
	require.Greater(t, planned.LogFreed, int64(60_000))

	done := s.prune(nil)
	now, _ = s.logBytes()
	require.InDelta(t, before-int(done.LogFreed), now, 8<<10)
	require.InDelta(t, planned.LogFreed, done.LogFreed, float64(12<<10))
	for range 2 {
		requireGone(t, s.run(r.ID()), 100, 301)
		_, err := s.run(r.ID()).At(ctx, 301)
		require.NoError(t, err)
		for v, d := range all {
			past, err := s.run(other.ID()).At(ctx, v)
			require.NoError(t, err)
			require.Equal(t, d, past.Digest())
		}
		require.Less(t, len(history(t, s.run(r.ID()), 0)), 30, "what lies with what is kept")
		require.Len(t, history(t, s.run(other.ID()), 0), 101)
		d, v, err := s.run(r.ID()).Digest()
		require.NoError(t, err)
		require.Equal(t, digests[v], d)
		s.reopen()
	}
	r = s.run(r.ID())
	put(t, r, "more", "of it")
	past, err := r.At(ctx, 301)
	require.NoError(t, err, "what is behind the checkpoint can be read")
	require.Equal(t, digests[301], past.Digest())
	fork, err := s.Fork(ctx, r.ID(), 0, run.Meta{})
	require.NoError(t, err)
	require.Equal(t, "of it", get(t, fork, "more"))
	_, err = s.Fork(ctx, r.ID(), 5, run.Meta{})
	require.ErrorIs(t, err, inmem.ErrVersionGone)
	require.ErrorIs(t, s.Export(ctx, r.ID(), &strings.Builder{}, nil), inmem.ErrVersionGone)
	_, err = s.Verify(ctx, r.ID(), 0)
	require.ErrorIs(t, err, inmem.ErrVersionGone)
	_, err = s.Verify(ctx, other.ID(), 7)
	require.NoError(t, err)
}

func TestLastVersions(t *testing.T) {
	for _, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
		s := newStore(t, small, keeps(history0(20)), func(o *inmem.Options) { o.Compression = compression })
		a, b := s.begin(), s.begin()
		digests := filled(t, a, 10)
		for i := range 20 {
			for v, d := range filled(t, a, 15+i%3) {
				digests[v] = d
			}
			filled(t, b, 3)
			s.prune(nil)
			if i%4 == 0 {
				s.reopen() // versions that were looked at are kept for a while
				a, b = s.run(a.ID()), s.run(b.ID())
			}
			_, newest, err := a.Digest()
			require.NoError(t, err)
			if i%4 != 0 {
				continue
			}
			first := uint64(0)
			for v := newest; v > 1; v-- {
				past, err := s.run(a.ID()).At(ctx, v)
				var gone *inmem.VersionGoneError
				if errors.As(err, &gone) {
					first = gone.First
					require.Equal(t, v+1, first, "the oldest there is")
					break
				}
				require.NoError(t, err, "version %d of %d", v, newest)
				require.Equal(t, digests[v], past.Digest(), "version %d", v)
			}
			if newest > 20 {
				require.LessOrEqual(t, first, newest-19, "the last 20 at least")
			}
			commits := history(t, a, newest-19)
			require.GreaterOrEqual(t, len(commits), int(min(newest, 20)))
			for i, c := range commits[1:] {
				require.Equal(t, commits[i].Version+1, c.Version)
			}
		}
		s.reopen()
		a = s.run(a.ID())
		bytes, _ := s.logBytes()
		require.Less(t, bytes, 80<<10, "of some 130 KiB that were written")
		_, newest, err := a.Digest()
		require.NoError(t, err)
		if compression == inmem.NoCompression { // else it takes less than a base would
			requireGone(t, a, 5, firstOf(t, a, newest))
		}
		replayed := 0
		for c, err := range s.Replay(ctx, a.ID(), &inmem.ReplayOptions{From: newest - 5}) {
			require.NoError(t, err)
			past, err := c.Past(ctx)
			require.NoError(t, err)
			require.Equal(t, digests[c.Version], past.Digest())
			replayed++
		}
		require.Equal(t, 6, replayed)
	}
}

// firstOf is the oldest version of a run that there is.
func firstOf(t testing.TB, r *inmem.Run, newest uint64) uint64 {
	for v := newest; v > 0; v-- {
		if _, err := r.At(ctx, v); err != nil {
			require.ErrorIs(t, err, inmem.ErrVersionGone)
			return v + 1
		}
	}
	return 1
}

func TestEndedRunsAreRemoved(t *testing.T) {
	s := newStore(t, small, keeps(inmem.Retention{
		Limits: inmem.RetentionLimits{EndedFor: time.Hour},
		Rules: []inmem.RetentionRule{
			{Namespace: run.Namespace{App: "few"}, Limits: inmem.RetentionLimits{EndedRuns: 2}},
		},
	}))
	end := func(meta run.Meta) *inmem.Run {
		r := s.begin(meta)
		filled(t, r, 20)
		require.NoError(t, r.End(ctx, run.Completed))
		s.wall.move(time.Second)
		return r
	}
	parent := s.begin()
	active := s.begin()
	filled(t, active, 20)
	old, child := end(run.Meta{}), end(run.Meta{Parent: parent.ID()})
	kept := end(run.Meta{Tags: map[string]string{inmem.TagKeep: "true"}})
	keptLater := end(run.Meta{})
	require.NoError(t, keptLater.SetKeep(ctx, true))
	fork, err := s.Fork(ctx, old.ID(), 3, run.Meta{})
	require.NoError(t, err)
	few := []*inmem.Run{}
	for range 4 {
		few = append(few, end(run.Meta{Namespace: run.Namespace{App: "few"}}))
	}
	require.Equal(t, []run.ID{few[0].ID(), few[1].ID()}, s.prune(nil).Runs)
	s.wall.move(2 * time.Hour)
	young := end(run.Meta{})

	planned := s.prune(&inmem.PruneOptions{DryRun: true})
	require.Equal(t, []run.ID{old.ID()}, planned.Runs)
	require.Positive(t, planned.ImageDead)
	ro, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	same, err := ro.Prune(ctx, &inmem.PruneOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, planned.Runs, same.Runs)
	_, err = ro.Prune(ctx, nil)
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	require.NoError(t, ro.Close())

	require.Equal(t, planned.Runs, s.prune(nil).Runs)
	require.NoError(t, parent.End(ctx, run.Failed))
	require.Equal(t, []run.ID{child.ID()}, s.prune(nil).Runs, "nobody waits for it any more")
	for range 2 {
		for _, gone := range []*inmem.Run{old, child, few[0], few[1]} {
			_, err := s.Run(gone.ID())
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
			_, err = s.BeginRun(ctx, run.Meta{ID: gone.ID()})
			require.ErrorIs(t, err, inmem.ErrRunDeleted, "also not after a restart")
		}
		for _, there := range []*inmem.Run{parent, active, kept, keptLater, few[2], few[3], young, fork} {
			_, err := s.run(there.ID()).Info()
			require.NoError(t, err)
		}
		_, err := s.Verify(ctx, fork.ID(), 1)
		require.NoError(t, err, "a fork stands by itself")
		s.reopen()
	}
	s.wall.move(2 * time.Hour)
	require.Len(t, s.prune(nil).Runs, 2, "the parent and the young one are old by now")
}

// TestPruneGivesBack: what is deleted does not stay on the disk, with the default
// policy too.
func TestPruneGivesBack(t *testing.T) {
	s := newStore(t, small)
	keep := s.begin()
	digests := filled(t, keep, 30)
	for range 10 {
		r := s.begin()
		filled(t, r, 60)
		require.NoError(t, s.DeleteRun(ctx, r.ID()))
		filled(t, keep, 2)
	}
	before, files := s.logBytes()
	report := s.prune(nil)
	after, filesAfter := s.logBytes()
	require.Less(t, after, before/3)
	require.Less(t, filesAfter, files/2)
	require.Positive(t, report.SegmentsCompacted)
	for v, d := range digests {
		past, err := keep.At(ctx, v)
		require.NoError(t, err)
		require.Equal(t, d, past.Digest())
	}
	_, err := s.Verify(ctx, keep.ID(), 5)
	require.NoError(t, err)
	m := s.Metrics().Shards[0]
	require.EqualValues(t, report.SegmentsCompacted, m.SegmentsCompacted)
	require.EqualValues(t, report.LogFreed, m.FreedBytes)
	require.Zero(t, s.prune(nil).SegmentsCompacted, "there is nothing left to do")
}

func TestSetHistory(t *testing.T) {
	s := newStore(t, small)
	r := s.begin()
	filled(t, r, 100)
	require.NoError(t, r.SetHistory(ctx, inmem.NoVersions))
	info, err := r.Info()
	require.NoError(t, err)
	require.Equal(t, "none", info.Tags[inmem.TagHistory])
	version := info.LastVersion
	require.NoError(t, r.SetHistory(ctx, inmem.NoVersions), "that changes nothing")
	s.prune(nil)
	s.reopen()
	r = s.run(r.ID())
	requireGone(t, r, 50, version)
	require.NoError(t, r.SetHistory(ctx, inmem.AllVersions))
	digests := filled(t, r, 100)
	for v, d := range digests {
		past, err := r.At(ctx, v)
		require.NoError(t, err)
		require.Equal(t, d, past.Digest())
	}
	s.prune(nil)
	require.Len(t, history(t, r, version+1), 101)
	require.ErrorIs(t, r.SetHistory(ctx, -2), inmem.ErrInvalidOption)
	_, err = s.BeginRun(ctx, run.Meta{Tags: map[string]string{inmem.TagHistory: "some"}})
	var meta *run.MetaError
	require.ErrorAs(t, err, &meta)
	found := 0
	for _, err := range s.Runs(ctx, run.Filter{Tags: map[string]string{inmem.TagHistory: "all"}}) {
		require.NoError(t, err)
		found++
	}
	require.Equal(t, 1, found)
}

// TestPruneInTheBackground: nobody has to ask for it.
func TestPruneInTheBackground(t *testing.T) {
	s := newStore(t, small, keeps(history0(inmem.NoVersions)), func(o *inmem.Options) {
		o.PruneInterval, o.SegmentSize, o.CheckpointBytes = 2*time.Millisecond, 256<<10, 0
	})
	r := s.begin()
	for i := range 400 {
		put(t, r, key(i%10), string(big(10_000)))
	}
	soon(t, "the log is small", func() bool {
		bytes, _ := s.logBytes()
		return bytes < 1<<20
	})
	requireGone(t, r, 5, 401)
	require.Positive(t, s.Metrics().Shards[0].SegmentsRemoved)
}

// TestReadersOfWhatIsPruned: who is at reading history goes on to the end, or is
// told that it is gone.
func TestReadersOfWhatIsPruned(t *testing.T) {
	s := newStore(t, small)
	r, doomed := s.begin(), s.begin()
	for range 20 {
		filled(t, r, 5)
		filled(t, doomed, 20)
	}
	seen := uint64(0)
	for c, err := range r.History(ctx, 0) {
		require.NoError(t, err)
		require.Equal(t, seen+1, c.Version)
		if seen = c.Version; seen == 20 {
			require.NoError(t, s.DeleteRun(ctx, doomed.ID()))
			require.Positive(t, s.prune(nil).SegmentsCompacted)
		}
	}
	require.EqualValues(t, 101, seen)

	ro, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	again, err := ro.Run(r.ID())
	require.NoError(t, err)
	filled(t, s.begin(run.Meta{Tags: map[string]string{inmem.TagHistory: "none"}}), 100)
	s.prune(nil)
	require.Len(t, history(t, again, 0), 101, "it reads on where it was compacted")
	filled(t, s.begin(run.Meta{Tags: map[string]string{inmem.TagHistory: "none"}}), 100)
	s.prune(nil)
	require.ErrorIs(t, ro.Refresh(ctx), inmem.ErrPruned)
	require.NoError(t, ro.Close())
}

// TestCloseEndsPruning: when Close returns, nothing touches the files any more.
func TestCloseEndsPruning(t *testing.T) {
	for n := range 12 {
		s := newStore(t, small)
		r, doomed := s.begin(), s.begin()
		for range 20 {
			filled(t, r, 5)
			filled(t, doomed, 15)
		}
		require.NoError(t, s.DeleteRun(ctx, doomed.ID()))
		require.NoError(t, s.Flush(ctx))
		atWork, begun, ops := make(chan error, 1), make(chan struct{}), 0
		var mu sync.Mutex
		s.mem.SetFault(func(vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if ops++; ops == 5*n+1 {
				close(begun)
			}
			return nil
		})
		go func() {
			_, err := s.Prune(ctx, nil)
			atWork <- err
		}()
		<-begun
		require.NoError(t, s.Close())
		mu.Lock()
		closed := ops
		mu.Unlock()
		if err := <-atWork; err != nil {
			require.ErrorIs(t, err, inmem.ErrClosed)
		}
		mu.Lock()
		require.Equal(t, closed, ops)
		mu.Unlock()
		s.mem.SetFault(nil)
		s.sound()
		s.open()
		require.Len(t, history(t, s.run(r.ID()), 0), 101)
	}
}

// TestWatchersKeepWhatTheyHaveNotRead: who watches gets every commit, whatever is
// to be removed.
func TestWatchersKeepWhatTheyHaveNotRead(t *testing.T) {
	s := newStore(t, small, keeps(history0(inmem.NoVersions)))
	r := s.begin()
	filled(t, r, 5)
	want := uint64(1)
	for c, err := range r.Watch(ctx, 0) {
		require.NoError(t, err)
		require.Equal(t, want, c.Version)
		switch want++; c.Version {
		case 3:
			filled(t, r, 200)
			before, _ := s.logBytes()
			s.prune(nil)
			after, _ := s.logBytes()
			require.InDelta(t, before, after, 10_000, "it stays for the one who watches")
		case 100:
			before, _ := s.logBytes()
			s.prune(nil)
			after, _ := s.logBytes()
			require.Less(t, after, before-20_000, "what was seen goes")
		}
		if c.Version == 206 {
			break
		}
	}
	s.prune(nil)
	after, _ := s.logBytes()
	require.Less(t, after, 10_000)
}

func TestRetentionIsValidated(t *testing.T) {
	for _, r := range []inmem.Retention{
		history0(-2), {Limits: inmem.RetentionLimits{EndedFor: -1}},
		{Rules: []inmem.RetentionRule{{Limits: inmem.RetentionLimits{History: -5}}}},
	} {
		_, err := inmem.Open(t.TempDir(), &inmem.Options{Retention: r})
		require.ErrorIs(t, err, inmem.ErrInvalidOption)
	}
	s := newStore(t)
	_, err := s.Prune(ctx, &inmem.PruneOptions{Retention: &inmem.Retention{Limits: inmem.RetentionLimits{History: -2}}})
	require.ErrorIs(t, err, inmem.ErrInvalidOption)
}

// TestImportOverPrunedHistory: a run whose history was cut is not taken for
// another one, and gets what it does not have.
func TestImportOverPrunedHistory(t *testing.T) {
	s := newStore(t, small)
	r := s.begin()
	filled(t, r, 50)
	var early, late strings.Builder
	require.NoError(t, s.Export(ctx, r.ID(), &early, nil))
	filled(t, r, 10)
	require.NoError(t, s.Export(ctx, r.ID(), &late, nil))
	digest, _, err := r.Digest()
	require.NoError(t, err)

	other := newStore(t, small, keeps(history0(inmem.NoVersions)))
	_, err = other.Import(ctx, strings.NewReader(early.String()))
	require.NoError(t, err)
	other.prune(nil)
	imported, err := other.Import(ctx, strings.NewReader(late.String()))
	require.NoError(t, err)
	got, _, err := imported.Digest()
	require.NoError(t, err)
	require.Equal(t, digest, got)
}
