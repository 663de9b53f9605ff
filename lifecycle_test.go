package inmem_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

func TestOpenCreatesAndReopens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	assert.Equal(t, recovery.Created, db.Recovery().Verdict)
	assert.Equal(t, dir, db.DataDir())
	assert.Equal(t, inmem.Batched, db.Durability())
	r, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	put(t, r, "k", "v")
	require.NoError(t, db.Close())

	db, err = inmem.Open(dir, nil)
	require.NoError(t, err)
	assert.Equal(t, recovery.Clean, db.Recovery().Verdict)
	r, err = db.Run(r.ID())
	require.NoError(t, err)
	assert.Equal(t, "v", get(t, r, "k"))
	require.NoError(t, db.Close())
	checked, err := inmem.Check(dir)
	require.NoError(t, err)
	assert.Empty(t, checked.Problems)
}

func TestOpenWithAnotherShardCount(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Close())
	s.opts.Shards = 2
	_, err := inmem.Open(s.dir, &s.opts)
	var e *inmem.ShardCountError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, inmem.ShardCountError{Stored: 3, Wanted: 2}, *e)
	assert.ErrorIs(t, err, inmem.ErrShardCount)
	s.opts.Shards = 0
	s.open()
	assert.Len(t, s.Metrics().Shards, 3, "0 takes what the store has")
}

func TestLockedInTheSameProcess(t *testing.T) {
	for _, s := range []*store{newOSStore(t), newStore(t)} {
		_, err := inmem.Open(s.dir, &s.opts)
		assert.ErrorIs(t, err, inmem.ErrLocked)
		var e *inmem.LockedError
		require.ErrorAs(t, err, &e)
		assert.Contains(t, e.Holder, fmt.Sprint("process ", os.Getpid()))
		assert.Contains(t, err.Error(), e.Holder, "the message names the holder")
		checked, err := recovery.Check(s.fs, s.dir)
		require.NoError(t, err, "checking needs no lock")
		assert.Empty(t, checked.Problems)
		assert.Equal(t, e.Holder, checked.Holder)
	}
}

// The other process of TestLockedByAnotherProcess.
func init() {
	children["lock holder"] = func() {
		db, err := inmem.Open(os.Getenv("INMEM_TEST_DIR"), nil)
		fmt.Println(os.Getpid(), err)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the parent closes it
		fmt.Println(db.Close())
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "INMEM_TEST_CHILD=lock holder", "INMEM_TEST_DIR="+dir)
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, fmt.Sprint(child.Process.Pid, " <nil>"), lines.Text())

	_, err = inmem.Open(dir, nil)
	var e *inmem.LockedError
	require.ErrorAs(t, err, &e)
	assert.Contains(t, e.Holder, fmt.Sprint("process ", child.Process.Pid))
	checked, err := inmem.Check(dir)
	require.NoError(t, err, "checking needs no lock")
	assert.Empty(t, checked.Problems)
	assert.Equal(t, e.Holder, checked.Holder)

	require.NoError(t, in.Close())
	require.True(t, lines.Scan())
	assert.Equal(t, "<nil>", lines.Text())
	require.NoError(t, child.Wait())
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func TestEverythingAfterCloseIsErrClosed(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	require.NoError(t, s.Close())
	s.sound()
	requireAll(t, s.everyCall(r), inmem.ErrClosed)
	requireAll(t, s.everyDBCall(r), inmem.ErrClosed)
	assert.False(t, r.ID().IsZero(), "an ID needs no store")
	assert.NotNil(t, s.Metrics())
	assert.Equal(t, s.dir, s.DataDir())
	s.ended = true
}

func TestCloseIsIdempotentAndConcurrent(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { assert.NoError(t, s.Close()) })
	}
	ends(t, "Close", all.Wait)
	assert.NoError(t, s.Close())
	s.open()
	assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
}

// Calls that are under way while the store closes all get an answer, and what
// was acknowledged is there.
func TestCloseWithCallsInFlight(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStore(t, func(o *inmem.Options) { o.Durability = mode; o.SegmentSize = 64 << 10 })
			runs := []*inmem.Run{s.begin(), s.begin(), s.begin()}
			var callers sync.WaitGroup
			last := make([]uint64, 40)
			started := make(chan struct{}, len(last))
			for i := range last {
				r := runs[i%len(runs)]
				callers.Go(func() {
					for n := uint64(1); ; n++ {
						_, err := r.KV().Put(ctx, key(i), fmt.Append(nil, n))
						if err != nil {
							assert.ErrorIs(t, err, inmem.ErrClosed)
							return
						}
						if last[i] = n; n == 10 {
							started <- struct{}{}
						}
					}
				})
				callers.Go(func() {
					for {
						var err error
						for range 3 {
							err = errors.Join(err, s.DB.Checkpoint(ctx), s.Flush(ctx))
						}
						for _, e := range r.History(ctx, 5) {
							if e != nil {
								err = errors.Join(err, e)
							}
							break
						}
						if err != nil {
							assert.ErrorIs(t, err, inmem.ErrClosed)
							return
						}
					}
				})
			}
			for range last {
				<-started
			}
			ends(t, "Close", func() { assert.NoError(t, s.Close()) })
			ends(t, "callers", callers.Wait)
			s.sound()
			s.open()
			for i, n := range last {
				assert.Equal(t, fmt.Sprint(n), get(t, s.run(runs[i%len(runs)].ID()), key(i)))
			}
		})
	}
}

// Close unlocks and never hangs, whatever became of the store.
func TestCloseAfterAFailure(t *testing.T) {
	failure := errors.New("the disk failed")
	for _, kind := range []vfs.OpKind{vfs.Write, vfs.Sync, vfs.Truncate, vfs.Create, vfs.Rename, vfs.SyncDir} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newStore(t)
			r := s.begin()
			put(t, r, "k", "v")
			require.NoError(t, s.Flush(ctx))
			s.mem.SetFault(func(o vfs.Op) error {
				if o.Kind == kind {
					return failure
				}
				return nil
			})
			ends(t, "Close", func() { assert.ErrorIs(t, s.Close(), failure) })
			assert.ErrorIs(t, s.Close(), failure, "the same again")
			s.mem.SetFault(nil)
			s.open()
			assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
		})
	}
}

func TestFlushMakesBatchedAndAsyncDurable(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Batched, inmem.Async} {
		s := newStore(t, func(o *inmem.Options) { o.Durability = mode; o.BatchInterval = time.Hour })
		r := s.begin()
		for i := range 10 {
			put(t, r, key(i), "v")
		}
		require.NoError(t, s.Flush(ctx))
		put(t, r, "later", "v")
		left := openStore(t, powerLoss(s.mem), s.dir)
		assert.Len(t, list(t, left.run(r.ID()), "key-"), 10, mode)
		assert.Equal(t, "-", get(t, left.run(r.ID()), "later"), mode)
	}
}
