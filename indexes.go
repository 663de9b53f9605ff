package inmem

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"inmem/op"
	"inmem/run"
	"inmem/vector"
	"inmem/vector/indexfile"
	"inmem/vector/matrix"
)

// IndexMetrics say what became of the indexes of collections of vectors since the
// store was opened (vector.Approximate), and what they take on disk.
type IndexMetrics struct {
	Made    uint64 // or extended
	Loaded  uint64 // from files
	Saved   uint64 // to files
	Refused uint64 // files that were damaged, could not be read or listed, or of too much that was changed: made anew
	Failed  uint64 // files that could not be written: they are made anew after the next opening
	Files   int
	Bytes   int64 // of the files
}

// VectorIndex tells what became of the index of a collection of vectors; without a
// run, that Open could not list the files of indexes.
type VectorIndex matrix.IndexEvent

// What becomes of an index.
const (
	IndexMade   = matrix.Made   // or extended
	IndexSaved  = matrix.Saved  // to its file; with Err it was not
	IndexLoaded = matrix.Loaded // from its file; with Err it is made anew
)

func (e VectorIndex) String() string {
	name := fmt.Sprintf("index of %q in run %v", e.Collection, e.Run)
	switch {
	case e.Run.IsZero():
		return fmt.Sprintf("indexes: their files could not be listed: %v", e.Err)
	case e.Err != nil && e.Kind == IndexSaved:
		return fmt.Sprintf("%s: not saved: %v", name, e.Err)
	case e.Err != nil:
		return fmt.Sprintf("%s: made anew: %v", name, e.Err)
	case e.Kind == IndexSaved:
		return fmt.Sprintf("%s: saved: %d vectors, %d bytes", name, e.Rows, e.Bytes)
	case e.Kind == IndexLoaded:
		return fmt.Sprintf("%s: loaded: %d vectors, %d bytes", name, e.Rows, e.Bytes)
	}
	return fmt.Sprintf("%s: made: %d vectors", name, e.Rows)
}

func (e VectorIndex) level() slog.Level {
	if e.Err != nil && (e.Kind == IndexSaved || e.Run.IsZero() || errors.Is(e.Err, op.ErrCorrupt)) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// indexes is what a store knows of indexes: their files, and what became of them.
type indexes struct {
	files *indexfile.Files
	mu    sync.Mutex
	count IndexMetrics
}

// leastIndexed is how many vectors are worth an index; 0 = what package matrix says.
// Tests have it lower.
var leastIndexed int

// openVectors makes the cache of vectors, with the files of its indexes. The runs
// are known.
func (db *DB) openVectors() {
	guard := func(fn func()) { db.health.Guard("vectors", fn) }
	files, err := indexfile.Open(indexfile.Config{
		FS: db.opts.FS, Dir: db.dir, Store: db.store.ID, Exists: db.exists, ReadOnly: db.readOnly(), Guard: guard,
	})
	db.indexes.files = files
	if err != nil { // which is no reason not to open the store
		db.toldOfIndex(matrix.IndexEvent{Kind: IndexLoaded, Err: err})
	}
	db.vectors = matrix.NewCache(matrix.Config{
		Limit: db.opts.VectorMemory, Charge: func(bytes int64) { db.memory.Charge(bytes) }, Guard: guard,
		Least: leastIndexed, Shelf: db.indexes.files, Told: db.toldOfIndex,
	})
}

// exists reports whether there is a run.
func (db *DB) exists(id run.ID) bool {
	_, err := db.place(id).Find(id)
	return err == nil
}

func (db *DB) toldOfIndex(e matrix.IndexEvent) {
	x := &db.indexes
	x.mu.Lock()
	switch {
	case e.Kind == IndexSaved && e.Err != nil:
		x.count.Failed++
	case e.Kind == IndexSaved:
		x.count.Saved++
	case e.Kind == IndexLoaded && e.Err != nil:
		x.count.Refused++
	case e.Kind == IndexLoaded:
		x.count.Loaded++
	default:
		x.count.Made++
	}
	x.mu.Unlock()
	db.events.tell(VectorIndex(e))
}

func (x *indexes) metrics() IndexMetrics {
	x.mu.Lock()
	m := x.count
	x.mu.Unlock()
	m.Files, m.Bytes = x.files.Size()
	return m
}

// committed is told of what was committed to a run: the indexes of collections that
// were dropped go.
func (db *DB) committed(id run.ID, writes []op.Write) {
	for i := range writes {
		if name, dropped := vector.Dropped(&writes[i]); dropped {
			db.vectors.Drop(id, name)
		}
	}
}
