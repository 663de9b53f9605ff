package inmem_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// images returns the sizes of the checkpoint files of the store, by name.
func (s *store) images() map[string]int {
	sizes := map[string]int{}
	for name, b := range filesOf(s.t, s.fs, s.dir) {
		if strings.HasSuffix(name, ".ckpt") {
			sizes[name] = len(b)
		}
	}
	return sizes
}

func sumOf(sizes map[string]int) (n int) {
	for _, size := range sizes {
		n += size
	}
	return n
}

// holds is a run that has large values, and what it must have.
type holds struct {
	*store
	id   run.ID
	want map[string][]byte
}

func withLarge(s *store, values, size int) *holds {
	r := s.begin()
	h := &holds{s, r.ID(), map[string][]byte{}}
	for i := range values {
		h.put(key(i), largeValue(uint64(i), size))
	}
	return h
}

func (h *holds) put(key string, value []byte) {
	h.t.Helper()
	putReader(h.t, h.run(h.id), key, value)
	h.want[key] = value
}

// requireIn holds the run in a store against what it must have.
func (h *holds) requireIn(db *inmem.DB, what string) {
	h.t.Helper()
	r, err := db.Run(h.id)
	require.NoError(h.t, err, what)
	for key, value := range h.want {
		got, err := r.KV().Get(ctx, key)
		require.NoError(h.t, err, "%s: %s", what, key)
		require.True(h.t, bytes.Equal(value, got), "%s: %s", what, key)
	}
	n := 0
	for _, err := range r.KV().List(ctx, "key-", kv.Limit(0)) {
		require.NoError(h.t, err, what)
		n++
	}
	require.Equal(h.t, len(h.want), n, what)
}

// TestLargeValuesAreInCheckpointsOnce: a checkpoint of a run with large values
// writes those that are new; files of which little is needed go; and the values are
// there in copies, after a reopening, and for those who only read.
func TestLargeValuesAreInCheckpointsOnce(t *testing.T) {
	for _, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
		t.Run(fmt.Sprint("compression ", compression), func(t *testing.T) {
			values, size := 100, 1<<18
			if testing.Short() || raceEnabled {
				values, size = 20, 100_000
			}
			s := newOSStore(t, small, func(o *inmem.Options) { o.SegmentSize, o.Compression = 64<<20, compression })
			h := withLarge(s, values, size)
			require.NoError(t, s.Checkpoint(ctx))
			first := sumOf(s.images())
			require.Greater(t, first, values*size)
			for i := range 5 {
				put(t, s.run(h.id), "counter", fmt.Sprint(i))
				if i == 3 {
					s.reopen()
				}
				before := s.images()
				require.NoError(t, s.Checkpoint(ctx))
				for name, n := range s.images() {
					if before[name] == 0 {
						require.Less(t, n, min(1<<20, size), "a checkpoint wrote large values again")
					}
				}
			}
			require.Less(t, sumOf(s.images()), first+values*size/10)

			// A fork has its own.
			fork, err := s.Fork(ctx, h.id, 0, run.Meta{})
			require.NoError(t, err)
			require.NoError(t, s.Checkpoint(ctx))
			require.Greater(t, sumOf(s.images()), 2*values*size)
			require.NoError(t, s.DeleteRun(ctx, fork.ID()))

			// What is replaced gives its room back, once more than half of a file is dead.
			for i := range values * 3 / 4 {
				h.put(key(i), []byte("small now"))
			}
			for i := range 3 {
				put(t, s.run(h.id), "counter", fmt.Sprint(i))
				require.NoError(t, s.Checkpoint(ctx))
			}
			require.Less(t, sumOf(s.images()), values*size/4+values*size/8)

			h.requireIn(s.readOnly().DB, "read only")
			_, err = s.Backup(ctx, s.dir+"-copy")
			require.NoError(t, err)
			h.requireIn(s.copied(s.dir+"-copy").DB, "copy")
			h.requireIn(s.DB, "store")
			s.reopen()
			h.requireIn(s.DB, "reopened")
			stat, err := s.Prune(ctx, &inmem.PruneOptions{DryRun: true})
			require.NoError(t, err)
			require.EqualValues(t, sumOf(s.images()), stat.ImageBytes)
		})
	}
}

// TestLargeValuesAreSalvaged: images with large values come out of a store whose
// checkpoint has lost its header, and its log.
func TestLargeValuesAreSalvaged(t *testing.T) {
	s := newStore(t, small)
	h := withLarge(s, 5, op.Large)
	require.NoError(t, s.Checkpoint(ctx))
	h.put("key-b", largeValue(77, op.Large))
	require.NoError(t, s.Checkpoint(ctx))
	require.NoError(t, s.Close())
	s.ended = true
	newest := slices.Max(slices.DeleteFunc(s.mem.Files(), func(name string) bool { return path.Ext(name) != ".ckpt" }))
	require.NoError(t, s.mem.Flip(newest, 8*8)) // in the format version
	for _, name := range s.mem.Files() {
		if path.Ext(name) == ".wal" {
			require.NoError(t, s.mem.Remove(name))
		}
	}
	_, err := inmem.Open(s.dir, &s.opts)
	require.ErrorIs(t, err, inmem.ErrCorrupt)
	opts := s.opts
	opts.Shards = 0
	report, err := inmem.Salvage(ctx, s.dir, "out", &opts)
	require.NoError(t, err)
	require.NotEmpty(t, report.Damage)
	checked, err := recovery.Check(s.mem, "out")
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	db, err := inmem.Open("out", &opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	h.requireIn(db, "salvaged")
}

// TestLargeValuesSurviveCrashes cuts the power, and kills, before each operation of
// checkpoints that refer to values in earlier ones, and move some of them.
func TestLargeValuesSurviveCrashes(t *testing.T) {
	slowAndAlone(t)
	for _, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
		s := newStore(t, small, func(o *inmem.Options) {
			o.SegmentSize, o.Compression, o.Durability = 1<<20, compression, inmem.Strict
		})
		h := withLarge(s, 4, op.Large)
		other := withLarge(s, 1, op.Large)
		require.NoError(t, s.Checkpoint(ctx))
		type crash struct {
			what string
			disk *vfs.Mem
		}
		var mu sync.Mutex
		var crashes []crash
		rng := rand.New(rand.NewPCG(crashSeeds(t, 1)[0], 9))
		record := func(fn func()) {
			s.mem.SetFault(func(o vfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				crashes = append(crashes, crash{fmt.Sprint("killed before ", o), s.mem.Clone()},
					crash{fmt.Sprint("power cut before ", o), s.mem.Crash(rng)},
					crash{fmt.Sprint("all dropped before ", o), s.mem.CrashWith(rng, vfs.DropAll)})
				return nil
			})
			fn()
			s.mem.SetFault(nil)
			for _, c := range crashes {
				checked, err := recovery.Check(c.disk, s.dir)
				require.NoError(t, err, c.what)
				require.Empty(t, checked.Problems, c.what)
				opts := s.opts
				opts.FS = c.disk
				db, err := inmem.Open(s.dir, &opts)
				require.NoError(t, err, c.what)
				h.requireIn(db, c.what)
				other.requireIn(db, c.what)
				require.NoError(t, db.Close(), c.what)
			}
			crashes = nil
		}
		for i := range 3 {
			h.put("key-x", largeValue(uint64(100+i), op.Large))
			record(func() { require.NoError(t, s.Checkpoint(ctx)) })
		}
		for i := range 3 {
			h.put(key(i), []byte("small now"))
		}
		before := s.images()
		record(func() { require.NoError(t, s.Checkpoint(ctx)) })
		require.Less(t, sumOf(s.images()), sumOf(before), "values were moved, and a file went")
	}
}

// TestLargeValuesFailing lets each operation of a checkpoint with large values fail:
// the store stops, or goes on, and has everything.
func TestLargeValuesFailing(t *testing.T) {
	failed := errors.New("the disk failed")
	for n := 1; ; n++ {
		s := newStore(t, small, func(o *inmem.Options) { o.SegmentSize = 1 << 20 })
		h := withLarge(s, 3, op.Large)
		require.NoError(t, s.Checkpoint(ctx))
		h.put("key-x", largeValue(9, op.Large))
		require.NoError(t, s.Flush(ctx))
		var mu sync.Mutex
		count := 0
		s.mem.SetFault(func(vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == n {
				return failed
			}
			return nil
		})
		err := s.Checkpoint(ctx)
		s.mem.SetFault(nil)
		if count < n {
			require.NoError(t, err)
			require.Greater(t, n, 8)
			return
		}
		s.abandon()
		s.open()
		h.requireIn(s.DB, fmt.Sprint("operation ", n))
		s.reopen()
	}
}
