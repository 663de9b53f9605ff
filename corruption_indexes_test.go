package inmem_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vector"
	"inmem/vfs"
)

// indexedStore is a closed store with the index of a collection in its file.
func indexedStore(t testing.TB) (disk *vfs.Mem, opts inmem.Options, id run.ID, file string) {
	t.Helper()
	disk = vfs.NewMem()
	opts = idle(inmem.Options{Shards: 1, FS: disk, Now: scriptClock})
	db, err := inmem.Open(storeDir, &opts)
	require.NoError(t, err)
	r, err := db.BeginRun(bg, run.Meta{Name: "demo"})
	require.NoError(t, err)
	_, err = r.Vectors().Create(bg, "notes", notes)
	require.NoError(t, err)
	putVectors(t, r.Vectors(), rand.New(rand.NewPCG(8, 8)), 0, 50, 3)
	searchBothWays(t, r)
	require.NoError(t, db.Close())
	for name := range indexFiles(t, disk, storeDir) {
		file = filepath.FromSlash(name)
	}
	require.NotEmpty(t, file)
	return disk, opts, r.ID(), file
}

// TestCorruptionOfIndexes: whatever is wrong with the file of an index, the store
// opens, searches are right, the check says what it is and calls the store sound, and
// the index is made anew.
func TestCorruptionOfIndexes(t *testing.T) {
	master, opts, id, file := indexedStore(t)
	good, err := vfs.ReadFile(master, file, 1<<20)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(9, 9))
	hold := func(data []byte) {
		t.Helper()
		disk := master.Clone()
		require.NoError(t, vfs.WriteFileAtomic(disk, file, data))
		checked, err := recovery.Check(disk, storeDir)
		require.NoError(t, err)
		require.Empty(t, checked.Problems)
		require.Len(t, checked.Indexes, 1)
		require.Error(t, checked.Indexes[0].Err)
		opts := opts
		opts.FS = disk
		reader, err := inmem.OpenReadOnly(storeDir, &opts)
		require.NoError(t, err)
		searchBothWays(t, runOf(t, reader, id))
		require.NoError(t, reader.Close())
		still, err := vfs.ReadFile(disk, file, 1<<20)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, still), "who reads changes nothing")
		db, err := inmem.Open(storeDir, &opts)
		require.NoError(t, err)
		searchBothWays(t, runOf(t, db, id))
		m := db.Metrics().Indexes
		require.Equal(t, inmem.IndexMetrics{Made: 1, Saved: 1, Refused: 1, Files: 1, Bytes: m.Bytes}, m)
		require.NoError(t, db.Close())
		checked, err = recovery.Check(disk, storeDir)
		require.NoError(t, err)
		require.NoError(t, checked.Indexes[0].Err)
	}
	flips := 300
	if raceEnabled || testing.Short() {
		flips = 40
	}
	for range flips {
		bad := bytes.Clone(good)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		hold(bad)
	}
	for _, n := range []int{0, 1, 47, 48, len(good) / 2, len(good) - 1} {
		hold(good[:n])
	}
	hold(append(bytes.Clone(good), 0))
}

// TestIndexIsOfNoImportance: a disk that takes no index takes everything else, and
// the failure is told; a copy of a store has none, and makes its own.
func TestIndexIsOfNoImportance(t *testing.T) {
	master, opts, id, file := indexedStore(t)
	disk := master.Clone()
	require.NoError(t, disk.Remove(file))
	opts.FS = disk
	told := make(chan inmem.VectorIndex, 16)
	opts.OnEvent = func(e inmem.Event) {
		if e, ok := e.(inmem.VectorIndex); ok {
			told <- e
		}
	}
	failed := errors.New("no room for indexes")
	disk.SetFault(func(o vfs.Op) error {
		if filepath.Dir(o.Name) == filepath.Dir(file) {
			return failed
		}
		return nil
	})
	db, err := inmem.Open(storeDir, &opts)
	require.NoError(t, err)
	searchBothWays(t, runOf(t, db, id))
	require.Equal(t, inmem.IndexMetrics{Made: 1, Failed: 1}, db.Metrics().Indexes)
	made, saved := <-told, <-told
	require.Equal(t, inmem.IndexMade, made.Kind)
	require.Regexp(t, `index of "notes" in run .*: made: 47 vectors`, made.String())
	require.Equal(t, inmem.IndexSaved, saved.Kind)
	require.ErrorIs(t, saved.Err, failed)
	require.Regexp(t, "not saved: .*no room for indexes", saved.String())
	putVectors(t, runOf(t, db, id).Vectors(), rand.New(rand.NewPCG(1, 8)), 50, 90, 1)
	disk.SetFault(nil)
	searchBothWays(t, runOf(t, db, id)) // extends it
	require.Equal(t, 1, db.Metrics().Indexes.Files)
	<-told
	require.Regexp(t, "saved: .* bytes", (<-told).String())

	checked, err := db.Backup(bg, "copy")
	require.NoError(t, err)
	require.Empty(t, checked.Indexes)
	require.NoError(t, db.Close())
	opts.OnEvent = nil
	copied, err := inmem.Open("copy", &opts)
	require.NoError(t, err)
	searchBothWays(t, runOf(t, copied, id))
	require.EqualValues(t, 1, copied.Metrics().Indexes.Saved)
	require.NoError(t, copied.Close())

	// In a transaction a collection goes with its index when that is committed.
	opts.FS = master
	db, err = inmem.Open(storeDir, &opts)
	require.NoError(t, err)
	r := runOf(t, db, id)
	searchBothWays(t, r)
	rolledBack := errors.New("no")
	require.ErrorIs(t, r.Update(bg, func(tx *inmem.Tx) error {
		require.NoError(t, tx.Vectors().Drop(bg, "notes"))
		return rolledBack
	}), rolledBack)
	require.Equal(t, 1, db.Metrics().Indexes.Files)
	require.NoError(t, r.Update(bg, func(tx *inmem.Tx) error { return tx.Vectors().Drop(bg, "notes") }))
	require.Zero(t, db.Metrics().Indexes.Files)
	require.Zero(t, db.Metrics().Memory.Vectors)
	require.NoError(t, db.Close())
	require.Empty(t, indexFiles(t, master, storeDir))
}

// TestIndexesThatCannotBeListed: the store opens all the same, and tells.
func TestIndexesThatCannotBeListed(t *testing.T) {
	disk, opts, id, file := indexedStore(t)
	opts.FS = disk
	require.NoError(t, disk.Remove(file))
	require.NoError(t, disk.Remove(filepath.Dir(file)))
	require.NoError(t, disk.WriteFile(filepath.Dir(file), []byte("no directory")))
	told := make(chan inmem.VectorIndex, 16)
	opts.OnEvent = func(e inmem.Event) {
		if e, ok := e.(inmem.VectorIndex); ok {
			told <- e
		}
	}
	db, err := inmem.Open(storeDir, &opts)
	require.NoError(t, err)
	listed := <-told
	require.ErrorIs(t, listed.Err, syscall.ENOTDIR)
	require.Regexp(t, "indexes: their files could not be listed: ", listed.String())
	searchBothWays(t, runOf(t, db, id))
	require.Equal(t, inmem.IndexMetrics{Made: 1, Failed: 1, Refused: 2}, db.Metrics().Indexes, "the listing, and the file")
	require.NoError(t, db.Close())
}

// TestIndexOutlivesMemory: an index is loaded again after its run has left memory.
func TestIndexOutlivesMemory(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.MemoryBudget = 4 << 20 })
	r := s.begin()
	fillVectors(t, r.Vectors(), "notes", 100, 3)
	searchBothWays(t, r)
	require.NoError(t, s.Checkpoint(bg))
	require.EqualValues(t, 1, s.Metrics().Indexes.Saved)
	for n := 0; s.Metrics().Memory.Vectors > 0; n++ {
		require.Less(t, n, 50, "it does not leave memory")
		put(t, s.begin(), "key", string(make([]byte, 1<<20)))
		require.NoError(t, s.Checkpoint(bg))
	}
	require.Equal(t, 1, s.Metrics().Indexes.Files)
	require.NoError(t, r.Vectors().Prepare(bg, "notes", vector.Approximate(0)))
	require.EqualValues(t, 1, s.Metrics().Indexes.Loaded)
	searchBothWays(t, r)
	require.NoError(t, s.DeleteRun(bg, r.ID()))
	require.Zero(t, s.Metrics().Indexes.Files)
}
