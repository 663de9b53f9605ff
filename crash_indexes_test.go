package inmem_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vector"
	"inmem/vector/indexfile"
	"inmem/vfs"
)

// indexFiles returns the files of indexes, with what is in them.
func indexFiles(t testing.TB, disk *vfs.Mem, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for name, data := range filesOf(t, disk, indexfile.Dir(dir)) {
		if strings.HasSuffix(name, ".index") {
			files[name] = data
		}
	}
	return files
}

// putVectors puts vectors of 4 elements, and deletes as many others.
func putVectors(t testing.TB, s vector.Store, rng *rand.Rand, from, to, deleted int) {
	t.Helper()
	var list []vector.New
	for i := from; i < to; i++ {
		list = append(list, vector.New{Key: key(i), Vector: []float32{rng.Float32(), rng.Float32(), rng.Float32(), rng.Float32() - 1}})
	}
	_, err := s.UpsertBatch(bg, "notes", list)
	require.NoError(t, err)
	for i := range deleted {
		require.NoError(t, s.Delete(bg, "notes", key(from+i)))
	}
}

var notes = vector.Config{Dimension: 4, Metric: vector.Euclidean}

// indexLife is a life in which indexes are made, loaded, extended, and go.
func indexLife(t testing.TB, disk *vfs.Mem, opts inmem.Options) {
	rng := rand.New(rand.NewPCG(3, 4))
	opts.FS = disk
	open := func() *inmem.DB {
		db, err := inmem.Open(storeDir, &opts)
		require.NoError(t, err)
		return db
	}
	db := open()
	runs := make([]run.ID, 2)
	for i := range runs {
		r, err := db.BeginRun(bg, run.Meta{Name: fmt.Sprint("run ", i)})
		require.NoError(t, err)
		runs[i] = r.ID()
		_, err = r.Vectors().Create(bg, "notes", notes)
		require.NoError(t, err)
		putVectors(t, r.Vectors(), rng, 0, 40, 2)
		searchBothWays(t, r)
		putVectors(t, r.Vectors(), rng, 10, 13, 1)
	}
	require.EqualValues(t, 2, db.Metrics().Indexes.Saved)
	require.NoError(t, db.Close())
	db = open()
	r, err := db.Run(runs[0])
	require.NoError(t, err)
	searchBothWays(t, r)
	require.EqualValues(t, 1, db.Metrics().Indexes.Loaded)
	putVectors(t, r.Vectors(), rng, 40, 90, 5)
	searchBothWays(t, r)
	require.Equal(t, inmem.IndexMetrics{Loaded: 1, Made: 1, Saved: 1, Files: 2, Bytes: db.Metrics().Indexes.Bytes}, db.Metrics().Indexes)
	require.NoError(t, r.Vectors().Drop(bg, "notes"))
	require.Equal(t, 1, db.Metrics().Indexes.Files)
	_, err = r.Vectors().Create(bg, "notes", notes)
	require.NoError(t, err)
	putVectors(t, r.Vectors(), rng, 0, 30, 0)
	searchBothWays(t, r)
	require.NoError(t, db.DeleteRun(bg, runs[1]))
	require.NoError(t, db.Close())
	require.Len(t, indexFiles(t, disk, storeDir), 1)
}

// TestIndexCrashes crashes a store before every operation on its disk while indexes
// are made, saved, loaded and removed. Whatever became of their files, and whatever
// else is done to them, searches are right, and the next opening loads them.
func TestIndexCrashes(t *testing.T) {
	opts := idle(inmem.Options{Shards: 1, CheckpointBytes: -1, PruneInterval: -1})
	disk, dice := vfs.NewMem(), rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	var crashes []crashed
	disk.SetFault(func(o vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		what := fmt.Sprintf("%d: before %v", len(crashes), o)
		crashes = append(crashes, crashed{what: "kill " + what, disk: disk.Clone()}, crashed{what: "power cut " + what, disk: disk.Crash(dice)})
		return nil
	})
	indexLife(t, disk, opts)
	disk.SetFault(nil)
	loaded, refused := 0, 0
	for _, c := range crashes {
		files := indexFiles(t, c.disk, storeDir)
		a, b := reviveIndexes(t, c.disk, opts, c.what)
		loaded, refused = loaded+a, refused+b
		for name, data := range files {
			garbled := bytes.Clone(data)
			if len(data) > 0 && dice.IntN(2) == 0 {
				garbled[dice.IntN(len(data))] ^= 1 << dice.IntN(8)
			} else {
				garbled = garbled[:len(data)/2]
			}
			require.NoError(t, vfs.WriteFileAtomic(c.disk, filepath.FromSlash(name), garbled))
		}
		a, b = reviveIndexes(t, c.disk, opts, c.what+", garbled")
		loaded, refused = loaded+a, refused+b
	}
	t.Logf("%d crashes; %d indexes loaded, %d refused", len(crashes), loaded, refused)
	require.Positive(t, loaded)
	require.Positive(t, refused)
}

// reviveIndexes opens what a crash left, twice, and searches.
func reviveIndexes(t *testing.T, disk *vfs.Mem, opts inmem.Options, what string) (loaded, refused int) {
	t.Helper()
	opts.FS = disk
	for round := range 2 {
		db, err := inmem.Open(storeDir, &opts)
		require.NoError(t, err, what)
		large := 0
		for info, err := range db.Runs(bg, run.Filter{}) {
			require.NoError(t, err)
			r, err := db.Run(info.ID)
			require.NoError(t, err)
			searchBothWays(t, r)
			for c, err := range r.Vectors().Collections(bg) {
				require.NoError(t, err)
				n, err := r.Vectors().Len(bg, c.Name)
				require.NoError(t, err)
				if n >= inmem.LeastIndexed {
					large++
				}
			}
		}
		m := db.Metrics().Indexes
		if round == 0 {
			loaded, refused = int(m.Loaded), int(m.Refused)
		} else {
			require.EqualValues(t, large, m.Loaded, "%s: %+v", what, m)
			require.Zero(t, m.Made+m.Refused+m.Failed, what)
		}
		require.NoError(t, db.Close(), what)
		for name := range filesOf(t, disk, indexfile.Dir(storeDir)) {
			require.False(t, strings.HasSuffix(name, ".tmp"), "%s: %s is left", what, name)
		}
	}
	return loaded, refused
}
