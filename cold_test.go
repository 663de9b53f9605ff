package inmem_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// cold counts the runs that are only on disk, and the loads of such runs.
func (s *store) cold() (runs int64, loads uint64) {
	for _, m := range s.Metrics().Shards {
		runs, loads = runs+m.ColdRuns, loads+m.Loads
	}
	return runs, loads
}

// coldStore is a store that was closed with a checkpoint and opened again: all
// its runs are cold.
func coldStore(t testing.TB, change ...func(*inmem.Options)) (*store, []run.ID) {
	s := newStore(t, change...)
	var ids []run.ID
	for _, r := range fillRuns(t, s, 12) {
		ids = append(ids, r.ID())
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	require.NoError(t, s.Close())
	s.open()
	runs, loads := s.cold()
	require.EqualValues(t, 12, runs)
	require.Zero(t, loads)
	return s, ids
}

// TestColdRuns uses cold runs in every way there is. What can do without the
// keys must not load them.
func TestColdRuns(t *testing.T) {
	all, ids := newStore(t), []run.ID(nil)
	for _, r := range fillRuns(t, all, 12) {
		ids = append(ids, r.ID())
	}
	want := all.pictures()
	id := ids[1]
	uses := map[string]struct {
		loads uint64
		use   func(s *store, r *inmem.Run) error
	}{
		"a tag is set": {1, func(_ *store, r *inmem.Run) error { return r.SetKeep(ctx, true) }},
		"runs": {0, func(s *store, r *inmem.Run) error {
			n := 0
			for info, err := range s.Runs(ctx, run.Filter{Tags: map[string]string{"i": "1"}}) {
				require.NoError(t, err)
				require.Equal(t, want[id].Info.LastVersion, info.LastVersion)
				n++
			}
			require.Equal(t, 1, n)
			return nil
		}},
		"info and counts": {0, func(s *store, r *inmem.Run) error {
			info, err := r.Info()
			require.NoError(t, err)
			require.Equal(t, want[id].Info.LastVersion, info.LastVersion)
			counts, err := r.Counts()
			require.Equal(t, map[inmem.Tag]int{inmem.TagKV: 20, inmem.TagRunMetadata: 1}, counts)
			keys := int64(0)
			for _, m := range s.Metrics().Shards {
				keys += m.Keys
			}
			require.EqualValues(t, 12*21, keys)
			require.Equal(t, 12, s.Metrics().Deadlines)
			return err
		}},
		"history": {0, func(s *store, r *inmem.Run) error { require.Len(t, history(t, r, 0), 23); return nil }},
		"an older version": {0, func(s *store, r *inmem.Run) error {
			p, err := r.At(ctx, 5)
			require.NoError(t, err)
			require.EqualValues(t, 5, p.Version())
			return nil
		}},
		"delete": {0, func(s *store, r *inmem.Run) error {
			require.NoError(t, s.DeleteRun(ctx, id))
			_, err := r.KV().Get(ctx, key(1))
			require.ErrorIs(t, err, inmem.ErrRunDeleted)
			return nil
		}},
		"backup": {0, func(s *store, r *inmem.Run) error { _, err := s.Backup(ctx, "/data/copy"); return err }},
		"get":    {1, func(s *store, r *inmem.Run) error { require.Equal(t, string(big(4)), get(t, r, key(4))); return nil }},
		"list": {1, func(s *store, r *inmem.Run) error {
			require.Equal(t, want[id].Items, list(t, r, ""))
			return nil
		}},
		"the newest version": {1, func(s *store, r *inmem.Run) error {
			p, err := r.At(ctx, want[id].Info.LastVersion)
			require.NoError(t, err)
			require.Equal(t, want[id].Digest, p.Digest())
			return nil
		}},
		"put": {1, func(s *store, r *inmem.Run) error {
			require.Equal(t, want[id].Info.LastVersion+1, put(t, r, "new", "value"))
			return nil
		}},
		"put if": {1, func(s *store, r *inmem.Run) error {
			_, err := r.KV().PutIf(ctx, key(4), []byte("x"), 1)
			require.ErrorIs(t, err, inmem.ErrWrongVersion)
			return nil
		}},
		"update": {1, func(s *store, r *inmem.Run) error {
			return r.Update(ctx, func(tx *inmem.Tx) error {
				if _, err := tx.KV().Get(ctx, key(4)); err != nil {
					return err
				}
				_, err := tx.KV().Put(ctx, "new", nil)
				return err
			})
		}},
		"end":    {1, func(s *store, r *inmem.Run) error { return r.End(ctx, run.Completed) }},
		"resume": {1, func(s *store, r *inmem.Run) error { _, err := s.Resume(ctx, id); return err }},
		"fork": {1, func(s *store, r *inmem.Run) error {
			f, err := s.Fork(ctx, id, 0, run.Meta{})
			require.NoError(t, err)
			require.Equal(t, want[id].Items, list(t, f, ""))
			return nil
		}},
		"replay": {0, func(s *store, r *inmem.Run) error {
			n := 0
			for _, err := range s.Replay(ctx, id, nil) {
				require.NoError(t, err)
				n++
			}
			require.Equal(t, 23, n)
			return nil
		}},
		"verify": {1, func(s *store, r *inmem.Run) error { _, err := s.Verify(ctx, id, 0); return err }},
		"diff": {2, func(s *store, r *inmem.Run) error {
			_, err := s.Diff(ctx, inmem.Point{Run: id}, inmem.Point{Run: ids[2]})
			return err
		}},
		"export": {1, func(s *store, r *inmem.Run) error {
			var b bytes.Buffer
			return s.Export(ctx, id, &b, nil)
		}},
		"warm": {2, func(s *store, r *inmem.Run) error {
			return s.Warm(ctx, run.Filter{Limit: 2})
		}},
	}
	for name, u := range uses {
		t.Run(name, func(t *testing.T) {
			s, _ := coldStore(t)
			require.NoError(t, u.use(s, s.run(id)))
			_, loads := s.cold()
			require.Equal(t, u.loads, loads, "loads")
		})
	}
}

// TestColdRunIsWatched: who watches a cold run sees what is written to it.
func TestColdRunIsWatched(t *testing.T) {
	s, ids := coldStore(t)
	r := s.run(ids[1])
	seen := make(chan uint64, 1)
	go func() {
		for c, err := range r.Watch(ctx, 24) {
			if assert.NoError(t, err) {
				seen <- c.Version
			}
			return
		}
	}()
	version := put(t, s.run(ids[1]), "new", "value")
	require.Equal(t, version, <-seen)
}

// TestColdRunIsLoadedOnce, however many come for it at once, to read and to write.
func TestColdRunIsLoadedOnce(t *testing.T) {
	s, ids := coldStore(t)
	for n, id := range ids[1:] {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				r, err := s.Run(id)
				assert.NoError(t, err)
				if i%4 == 0 {
					_, err = r.KV().Put(ctx, fmt.Sprint("new ", i), nil)
				} else {
					_, err = r.KV().Get(ctx, key(4))
				}
				assert.NoError(t, err)
			})
		}
		all.Wait()
		_, loads := s.cold()
		require.EqualValues(t, n+1, loads)
		info, err := s.run(id).Info()
		require.NoError(t, err)
		require.EqualValues(t, 23+4, info.LastVersion)
	}
}

// TestColdDeadlines: keys of cold runs are invisible from their deadlines on, and
// are removed soon, though nobody uses the run.
func TestColdDeadlines(t *testing.T) {
	s, ids := coldStore(t)
	require.Equal(t, 12, s.Metrics().Deadlines)
	require.Equal(t, "v", get(t, s.run(ids[2]), "ttl"))
	s.wall.move(time.Hour - time.Millisecond)
	put(t, s.run(ids[3]), "later", "v", kv.TTL(time.Minute))
	require.Equal(t, 13, s.Metrics().Deadlines)
	runs, _ := s.cold()
	require.EqualValues(t, 10, runs)
	s.wall.move(2 * time.Millisecond)
	require.Equal(t, "-", get(t, s.run(ids[4]), "ttl"))
	soon(t, "the keys are removed", func() bool {
		expired := uint64(0)
		for _, m := range s.Metrics().Shards {
			expired += m.Expired
		}
		return expired == 12
	})
	require.Equal(t, 1, s.Metrics().Deadlines)
}

// TestColdRunOfAStoreThatStopped: reads go on, of cold runs too.
func TestColdRunOfAStoreThatStopped(t *testing.T) {
	s, ids := coldStore(t)
	s.mem.SetFault(func(op vfs.Op) error {
		if strings.HasSuffix(op.Name, ".wal") && op.Kind == vfs.Write {
			return errors.New("broken")
		}
		return nil
	})
	_, err := s.run(ids[1]).KV().Put(ctx, "k", nil)
	require.ErrorIs(t, err, inmem.ErrPoisoned)
	for _, id := range ids[2:] {
		for range 2 {
			require.Len(t, list(t, s.run(id), ""), 20)
		}
	}
	s.abandon()
}

// TestWarm loads what is chosen, and tells of damage after all else.
func TestWarm(t *testing.T) {
	s, ids := coldStore(t)
	require.NoError(t, s.Warm(ctx, run.Filter{Status: []run.Status{run.Paused}}))
	runs, _ := s.cold()
	require.EqualValues(t, 11, runs)
	require.NoError(t, s.Warm(ctx, run.Filter{}))
	require.NoError(t, s.Warm(ctx, run.Filter{}))
	runs, loads := s.cold()
	require.Zero(t, runs)
	require.EqualValues(t, 12, loads)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Warm(ctx, run.Filter{}), inmem.ErrClosed)

	files := slices.DeleteFunc(s.mem.Files(), func(name string) bool { return !strings.HasSuffix(name, ".ckpt") })
	require.NoError(t, s.mem.Flip(files[0], 8*100))
	s.open()
	require.ErrorIs(t, s.Warm(ctx, run.Filter{}), inmem.ErrCorrupt)
	runs, _ = s.cold()
	require.EqualValues(t, 1, runs, "all others are there")
	bad := 0
	for _, id := range ids {
		if _, err := s.run(id).KV().Get(ctx, key(4)); err != nil {
			require.ErrorIs(t, err, inmem.ErrCorrupt)
			require.ErrorIs(t, s.run(id).Update(ctx, func(*inmem.Tx) error { return nil }), inmem.ErrCorrupt)
			bad++
		}
	}
	require.Equal(t, 1, bad)
	s.healthy()
	s.abandon()
}

// TestColdRunsReadOnly: a reader of a store loads nothing that it does not look at,
// also from files that the store's owner has replaced since, and follows it.
func TestColdRunsReadOnly(t *testing.T) {
	s, ids := coldStore(t)
	put(t, s.run(ids[9]), "tail", "v")
	want := s.pictures()
	db, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	ro := &store{t: t, mem: s.mem, fs: s.fs, dir: s.dir, wall: s.wall, DB: db}
	runs, loads := ro.cold()
	require.EqualValues(t, 11, runs, "all but the one in the tail")
	require.Zero(t, loads)
	for round := range 6 { // until no file is left that there was
		for i, id := range ids[1:] {
			put(t, s.run(id), "more", string(big(100*round+i)))
		}
		require.NoError(t, s.DB.Checkpoint(ctx))
	}
	ro.same(want)
	runs, _ = ro.cold()
	require.Zero(t, runs)
	require.NoError(t, ro.Close())

	// What was written since is applied to runs that were not loaded yet.
	require.NoError(t, s.DB.Checkpoint(ctx))
	db, err = inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	ro.DB = db
	for _, id := range ids[2:6] {
		put(t, s.run(id), "again", "v")
	}
	require.NoError(t, s.DeleteRun(ctx, ids[7]))
	require.NoError(t, s.Flush(ctx))
	require.NoError(t, ro.Refresh(ctx))
	runs, _ = ro.cold()
	require.EqualValues(t, 12-4-1, runs)
	ro.same(s.pictures())
	r := ro.run(ids[8])
	require.NoError(t, ro.Close())
	_, err = r.KV().Get(ctx, key(1))
	require.ErrorIs(t, err, inmem.ErrClosed)
}
