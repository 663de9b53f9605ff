package inmem_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// replayOf replays a run and returns its commits, with the digest after each.
func replayOf(t testing.TB, db *inmem.DB, id run.ID, opts *inmem.ReplayOptions) (commits []*inmem.Commit, digests []inmem.Digest) {
	t.Helper()
	for c, err := range db.Replay(ctx, id, opts) {
		require.NoError(t, err)
		p, err := c.Past(ctx)
		require.NoError(t, err)
		require.Equal(t, c.Version, p.Version())
		require.Equal(t, c.Time, p.Time().UnixMilli())
		commits, digests = append(commits, c.Commit), append(digests, p.Digest())
	}
	return commits, digests
}

// replayError is how a replay ends.
func replayError(t testing.TB, db *inmem.DB, id run.ID, opts *inmem.ReplayOptions) (err error) {
	t.Helper()
	for c, failed := range db.Replay(ctx, id, opts) {
		require.NoError(t, err, "the loop ends after an error")
		require.Equal(t, failed == nil, c != nil)
		err = failed
	}
	return err
}

// TestReplay lives a random life, and replays it: each commit is that of the
// history, and the run after it is what it was by At and by other code, from
// whatever version on, in the store and in one that only reads it.
func TestReplay(t *testing.T) {
	for _, seed := range crashSeeds(t, 8) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 12))
			s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.CheckpointBytes = 8<<10, 16<<10 })
			r, other := s.begin(), s.begin()
			for range 200 {
				randomWrite(t, r, rng)
				randomWrite(t, other, rng)
				if rng.IntN(60) == 0 {
					s.reopen()
					r, other = s.run(r.ID()), s.run(other.ID())
				}
			}
			last := versionOf(t, r)
			life := historyOf(t, s.DB, r.ID())
			commits, digests := replayOf(t, s.DB, r.ID(), nil)
			require.Equal(t, history(t, r, 0), commits)
			for i, digest := range digests {
				require.Equal(t, newState(life[:i+1]).digest(), digest, "version %d", i+1)
				require.Equal(t, digest, at(t, r, uint64(i+1)).Digest())
			}
			again, same := replayOf(t, s.DB, r.ID(), &inmem.ReplayOptions{})
			require.Equal(t, commits, again)
			require.Equal(t, digests, same)

			reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
			require.NoError(t, err)
			defer func() { require.NoError(t, reader.Close()) }()
			for range 10 {
				from := 1 + rng.Uint64N(last)
				to := from + rng.Uint64N(last-from+1)
				for _, db := range []*inmem.DB{s.DB, reader} {
					part, partly := replayOf(t, db, r.ID(), &inmem.ReplayOptions{From: from, To: to})
					require.Equal(t, commits[from-1:to], part)
					require.Equal(t, digests[from-1:to], partly)
				}
			}
			for _, db := range []*inmem.DB{s.DB, reader} {
				found, err := db.Verify(ctx, r.ID(), 7)
				require.NoError(t, err)
				want := inmem.Verification{ID: r.ID(), First: 1, Last: last, Commits: last, Digest: digests[last-1], Image: found.Image}
				compared := map[uint64]bool{last: true, found.Image: found.Image > 0}
				for v := uint64(7); v <= last; v += 7 {
					compared[v] = true
				}
				for _, is := range compared {
					if is {
						want.Compared++
					}
				}
				require.Equal(t, want, *found)
			}
		})
	}
}

// What a commit of the loop led to can be asked for later too.
func TestReplayedPastLater(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	for i := range 20 {
		put(t, r, key(i%5), fmt.Sprint(i))
	}
	life := historyOf(t, s.DB, r.ID())
	var all []*inmem.Replayed
	for c, err := range s.Replay(ctx, r.ID(), nil) {
		require.NoError(t, err)
		c.Ops[0].Value = append(c.Ops[0].Value[:0], "mine"...) // it is the caller's
		all = append(all, c)
	}
	require.Len(t, all, 21)
	for i, c := range all {
		p, err := c.Past(ctx)
		require.NoError(t, err)
		require.Equal(t, newState(life[:i+1]).digest(), p.Digest())
		_, err = p.KV().Put(ctx, "k", nil)
		require.ErrorIs(t, err, inmem.ErrReadOnly)
	}
	s.end()
	for _, i := range []int{0, 20} {
		_, err := all[i].Past(ctx)
		require.ErrorIs(t, err, inmem.ErrClosed)
	}
}

// A replay shows the run as of its beginning, whatever becomes of it.
func TestReplayOfARunThatGoesOn(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	for range 9 {
		put(t, r, "k", "v")
	}
	n := uint64(0)
	for c, err := range s.Replay(ctx, r.ID(), nil) {
		require.NoError(t, err)
		n++
		require.Equal(t, n, c.Version)
		switch n {
		case 3:
			put(t, r, "k", "later")
		case 5:
			require.NoError(t, s.DeleteRun(ctx, r.ID()))
		}
	}
	require.EqualValues(t, 10, n)
	require.ErrorIs(t, replayError(t, s.DB, r.ID(), nil), inmem.ErrRunNotFound)
	_, err := s.Verify(ctx, r.ID(), 0)
	require.ErrorIs(t, err, inmem.ErrRunNotFound)
}

func TestReplayRefuses(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	for _, opts := range []inmem.ReplayOptions{{From: 3}, {To: 3}, {From: 1, To: 3}, {From: 7, To: 9}} {
		var gone *inmem.VersionGoneError
		require.ErrorAs(t, replayError(t, s.DB, r.ID(), &opts), &gone)
		require.Equal(t, inmem.VersionGoneError{Version: max(opts.From, opts.To), First: 1, Last: 2}, *gone)
	}
	require.ErrorIs(t, replayError(t, s.DB, r.ID(), &inmem.ReplayOptions{From: 2, To: 1}), inmem.ErrInvalidOption)
	require.ErrorIs(t, replayError(t, s.DB, run.ID{1}, nil), inmem.ErrRunNotFound)
	_, err := s.Verify(ctx, run.ID{1}, 0)
	require.ErrorIs(t, err, inmem.ErrRunNotFound)

	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	for c, err := range s.Replay(cancelled, r.ID(), nil) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			continue
		}
		require.EqualValues(t, 1, c.Version)
		cancel()
	}
	require.ErrorIs(t, cancelled.Err(), context.Canceled)
	_, err = s.Verify(cancelled, r.ID(), 0)
	require.ErrorIs(t, err, context.Canceled)
	for c, err := range s.Replay(ctx, r.ID(), nil) {
		require.NoError(t, err)
		require.EqualValues(t, 1, c.Version)
		break
	}
	s.end()
	require.ErrorIs(t, replayError(t, s.DB, r.ID(), nil), inmem.ErrClosed)
}

// TestVerifyOfTwoCopies mixes files of two copies of a store that both went on:
// each file is sound, and only a rebuilding from the history tells.
func TestVerifyOfTwoCopies(t *testing.T) {
	f := newForked(t)
	verify := func(disk *vfs.Mem, every uint64) (*inmem.Verification, error) {
		opts := f.opts
		opts.FS = disk
		db, err := inmem.Open(storeDir, &opts)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		return db.Verify(ctx, forkRun, every)
	}
	found, err := verify(f.disks["a"].Clone(), 1)
	require.NoError(t, err)
	require.EqualValues(t, 47, found.Image)
	require.EqualValues(t, found.Last, found.Compared)

	for name, c := range map[string]struct {
		suffix  string
		i       int
		against string
	}{
		"a segment before the checkpoint": {".wal", 4, "the image in the checkpoint"},
		"the checkpoint":                  {".ckpt", 0, "the image in the checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := f.mixed(c.suffix, c.i)
			_, err := verify(disk, 0)
			var wrong *inmem.VerifyError
			require.ErrorAs(t, err, &wrong)
			require.ErrorIs(t, err, inmem.ErrNotReproduced)
			require.Equal(t, c.against, wrong.Against)
			require.EqualValues(t, 47, wrong.Version)
			require.NotEqual(t, wrong.Expected, wrong.Actual)
		})
	}
	// What was overwritten again since tells at the versions in between only:
	// nobody but the history knows these.
	disk, _ := f.mixed(".wal", 3)
	_, err = verify(disk, 0)
	require.NoError(t, err)
}

func logFiles(disk *vfs.Mem) []string {
	return slices.DeleteFunc(disk.Files(), func(name string) bool { return !strings.HasSuffix(name, ".wal") })
}

// Damage is said as damage, not as a difference, and the rest can be replayed.
func TestReplayOfADamagedHistory(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.Shards = 8<<10, 1 })
	r := s.begin()
	for i := range 300 {
		put(t, r, key(i%7), fmt.Sprint(i, string(big(100))))
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	put(t, r, "k", "later")
	s.reopen()
	logs := logFiles(s.mem)
	require.NoError(t, s.mem.Flip(logs[0], 8*200))
	require.ErrorIs(t, replayError(t, s.DB, r.ID(), nil), inmem.ErrCorrupt)
	_, err := s.Verify(ctx, r.ID(), 0)
	require.ErrorIs(t, err, inmem.ErrCorrupt)
	require.NotErrorIs(t, err, inmem.ErrNotReproduced)
	require.NoError(t, replayError(t, s.DB, r.ID(), &inmem.ReplayOptions{From: 302}), "from the image on")
	require.NoError(t, s.mem.Flip(logs[0], 8*200))
	require.NoError(t, replayError(t, s.DB, r.ID(), nil))
}

// A run that was salvaged from its image has no beginning to be rebuilt from.
func TestReplayWithoutTheBeginning(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.Shards = 4<<10, 1 })
	r := s.begin()
	for i := range 100 {
		put(t, r, key(i%7), string(big(100)))
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	put(t, r, "k", "later")
	require.NoError(t, s.Close())
	disk := s.mem.Clone()
	require.NoError(t, disk.Remove(logFiles(disk)[0]))
	s.open()
	opts := s.opts
	opts.FS = disk
	_, err := inmem.Salvage(ctx, s.dir, "new", &opts)
	require.NoError(t, err)
	db, err := inmem.Open("new", &opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, err := range []error{
		replayError(t, db, r.ID(), nil), verifyError(db, r.ID()), db.Export(ctx, r.ID(), new(discard), nil),
	} {
		var gone *inmem.VersionGoneError
		require.ErrorAs(t, err, &gone)
	}
	require.NoError(t, replayError(t, db, r.ID(), &inmem.ReplayOptions{From: 102}))
}

type discard struct{}

func (*discard) Write(b []byte) (int, error) { return len(b), nil }

func verifyError(db *inmem.DB, id run.ID) error {
	_, err := db.Verify(ctx, id, 0)
	return err
}

// A run is verified while others, and it itself, go on.
func TestVerifyBesideWriters(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.CheckpointBytes = 16<<10, 32<<10 })
	r := s.begin()
	const rounds, each = 20, 1000
	// The writer is given so many puts for each verification: one that may write
	// without end outruns who reads all of its history.
	puts := make(chan int, rounds*each)
	ended := make(chan error)
	go func() {
		var err error
		for i := range puts {
			if err == nil {
				_, err = r.KV().Put(ctx, key(i%50), big(20), kv.Durability(inmem.Async))
			}
		}
		ended <- err
	}()
	for range rounds {
		for i := range each {
			puts <- i
		}
		found, err := s.Verify(ctx, r.ID(), 100)
		require.NoError(t, err)
		require.Equal(t, found.Last, found.Commits)
	}
	close(puts)
	require.NoError(t, <-ended)
	checked, err := recovery.Check(s.fs, s.dir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

// A fork is replayed from its own beginning, and moved, like any other run.
func TestReplayOfAFork(t *testing.T) {
	s := newStore(t)
	r := s.begin(run.Meta{Name: "first"})
	for i := range 50 {
		put(t, r, key(i%20), fmt.Sprint(i), kv.TTL(time.Hour))
	}
	fork, err := s.Fork(ctx, r.ID(), 30, run.Meta{})
	require.NoError(t, err)
	put(t, fork, "k", "of the fork")
	put(t, r, "k", "of the other")
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	check := func(db *inmem.DB) {
		commits, _ := replayOf(t, db, fork.ID(), nil)
		require.Len(t, commits, 2)
		require.EqualValues(t, 30, commits[0].Version)
		found, err := db.Verify(ctx, fork.ID(), 1)
		require.NoError(t, err)
		require.EqualValues(t, 30, found.First)
		require.Equal(t, 2, found.Compared)
	}
	check(s.DB)
	require.NoError(t, s.DB.Checkpoint(ctx))
	check(s.DB)
	s.reopen()
	check(s.DB)
	other := newStore(t)
	_, err = other.Import(ctx, bytes.NewReader(exported(t, s.DB, fork.ID(), nil)))
	require.NoError(t, err)
	check(other.DB)
	sameRun(t, s.DB, other.DB, fork.ID())
}
