package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// copied opens a copy of the store, to be written to.
func (s *store) copied(dir string) *store {
	s.t.Helper()
	c := &store{t: s.t, mem: s.mem, fs: s.fs, dir: dir, wall: s.wall, opts: s.opts}
	c.opts.Shards = 0
	c.open()
	s.t.Cleanup(c.end)
	return c
}

// TestBackup copies a store that is open, one that is open for reading only,
// and one that is not: the same runs with the same histories, to go on with.
func TestBackup(t *testing.T) {
	for name, open := range map[string]func(testing.TB, ...func(*inmem.Options)) *store{"memory": newStore, "disk": newOSStore} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(o *inmem.Options) { o.BatchInterval = time.Hour }) // no seal by itself
			s.everyKind()
			before := s.pictures()
			ro := s.readOnly()
			files := filesOf(t, s.fs, s.dir)
			for i, backup := range []func(to string) (*inmem.Checked, error){
				func(to string) (*inmem.Checked, error) { return ro.Backup(ctx, to) },
				func(to string) (*inmem.Checked, error) { return s.Backup(ctx, to) },
				func(to string) (*inmem.Checked, error) {
					if s.mem == nil {
						return inmem.Backup(ctx, s.dir, to)
					}
					return recovery.Backup(ctx, s.fs, s.dir, to, "us")
				},
			} {
				to := fmt.Sprint(s.dir, "-copies/", i)
				checked, err := backup(to)
				require.NoError(t, err)
				require.Empty(t, checked.Problems)
				require.Empty(t, checked.Holder)
				require.Len(t, checked.Shards, 3)
				if i == 0 {
					require.Equal(t, files, filesOf(t, s.fs, s.dir))
				}
				c := s.copied(to)
				require.Equal(t, i > 0, c.Recovery().Verdict == recovery.Clean, "only a writer seals what it copies")
				c.same(before)
				s.same(before)
				for id := range before {
					require.Equal(t, history(t, s.run(id), 0), history(t, c.run(id), 0))
				}
				c.everyKind() // which the original does not see
				s.same(before)
			}
			s.everyKind()
			last, err := s.Backup(ctx, s.dir+"-last")
			require.NoError(t, err)
			require.Greater(t, last.Shards[0].Commits+last.Shards[1].Commits+last.Shards[2].Commits, uint64(50))
			s.copied(s.dir + "-last").same(s.pictures())
		})
	}
}

// TestBackupKeepsTheDead: a run that was deleted stays deleted in a copy, and a
// deadline stays where it was.
func TestBackupKeepsTheDead(t *testing.T) {
	s := newStore(t)
	r, gone := s.begin(), s.begin()
	put(t, r, "k", "v", kv.TTL(time.Minute))
	require.NoError(t, s.DeleteRun(ctx, gone.ID()))
	_, err := s.Backup(ctx, "/copy")
	require.NoError(t, err)
	c := s.copied("/copy")
	_, err = c.BeginRun(ctx, run.Meta{ID: gone.ID()})
	require.ErrorIs(t, err, inmem.ErrRunDeleted)
	require.Equal(t, "v", get(t, c.run(r.ID()), "k"))
	s.wall.move(time.Minute)
	require.Equal(t, "-", get(t, c.run(r.ID()), "k"))
	require.Equal(t, "-", get(t, r, "k"))
}

// TestBackupHasWhatWasAcknowledged: under every mode, also what is in memory
// only, and also where the power fails right after.
func TestBackupHasWhatWasAcknowledged(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		s := newStore(t, func(o *inmem.Options) { o.Durability = mode; o.BatchInterval = time.Hour })
		runs := []*inmem.Run{s.begin(), s.begin(), s.begin(), s.begin()}
		for i := range 40 {
			put(t, runs[i%4], key(i), "v")
		}
		_, err := s.Backup(ctx, "/copy")
		require.NoError(t, err)
		left := openStore(t, powerLoss(s.mem), "/copy")
		left.same(s.pictures())
	}
}

// TestBackupWhereItCannot has the errors, and leaves no store behind.
func TestBackupWhereItCannot(t *testing.T) {
	s := newStore(t)
	put(t, s.begin(), "k", string(big(5000)))
	require.NoError(t, s.mem.WriteFile("/full/file", nil))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	before := s.mem.Files()
	for want, to := range map[error]string{inmem.ErrNotEmpty: "/full", inmem.ErrNotDirectory: "/full/file"} {
		_, err := s.Backup(ctx, to)
		require.ErrorIs(t, err, want)
	}
	_, err := s.Backup(ctx, s.dir)
	require.ErrorIs(t, err, inmem.ErrNotEmpty, "itself")
	_, err = s.Backup(cancelled, "/copy")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, s.mem.Files())

	var used int64
	for _, name := range before {
		b, err := s.mem.ReadFile(name)
		require.NoError(t, err)
		used += int64(len(b))
	}
	s.mem.SetCapacity(used + 3000)
	_, err = s.Backup(ctx, "/copy")
	require.ErrorIs(t, err, inmem.ErrDiskFull)
	s.mem.SetCapacity(0)
	s.healthy()
	opts := inmem.Options{FS: s.mem}
	_, err = inmem.OpenReadOnly("/copy", &opts)
	require.ErrorIs(t, err, inmem.ErrCorrupt, "a copy that was not finished")
	_, err = inmem.Open("/copy", &opts)
	require.ErrorIs(t, err, inmem.ErrCorrupt)
	_, err = s.Backup(ctx, "/copy")
	require.ErrorIs(t, err, inmem.ErrNotEmpty)

	s.mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	_, err = s.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	_, err = s.Backup(ctx, "/other")
	require.ErrorIs(t, err, inmem.ErrPoisoned)
	s.mem.SetFault(nil)
	require.ErrorIs(t, s.Close(), inmem.ErrPoisoned)
	_, err = s.Backup(ctx, "/other")
	require.ErrorIs(t, err, inmem.ErrClosed)
	_, err = s.mem.Stat("/other")
	require.ErrorIs(t, err, os.ErrNotExist)
	s.open()
}

// TestBackupTwiceAtOnce has several copies go to one place: one of them gets
// there.
func TestBackupTwiceAtOnce(t *testing.T) {
	s := newOSStore(t)
	s.everyKind()
	to := filepath.Join(t.TempDir(), "copy")
	var all sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		all.Go(func() {
			if i%2 == 0 {
				_, errs[i] = inmem.Backup(ctx, s.dir, to)
			} else {
				_, errs[i] = s.Backup(ctx, to)
			}
		})
	}
	all.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		assert.True(t, errors.Is(err, inmem.ErrNotEmpty) || errors.Is(err, inmem.ErrLocked), "%v", err)
	}
	require.Equal(t, 1, done)
	s.copied(to).same(s.pictures())
}
