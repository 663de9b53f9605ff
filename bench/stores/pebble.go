package stores

import (
	"bytes"
	"errors"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"

	"inmem/bench/store"
)

// Pebble is a log-structured merge tree.
func Pebble() store.Kind {
	const same = "Keys with the run before them. Memtables of 64 MB, a cache of 512 MB, Bloom filters in all levels, " +
		"no compression (the values are random), the newest format, a compaction for each processor. No transactions. "
	return store.Kind{
		Name:    "pebble",
		Version: moduleVersion(pebbleModule),
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict: same + "pebble.Sync: callers share syncs. A power cut loses nothing.",
			store.Batched: same + "pebble.NoSync, and an empty synced record every 100 ms. Its log is buffered in the process: " +
				"a killed process loses what was not yet written to the file, a power cut the last 100 ms.",
		},
		Open:    openPebble,
		Missing: present,
	}
}

type pebbleStore struct {
	db     *pebble.DB
	mode   *pebble.WriteOptions
	syncer *syncer
}

// quiet is a logger that says only why the process dies.
type quiet struct{ pebble.Logger }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

func openPebble(dir string, class store.Class) (store.Store, error) {
	cache := pebble.NewCache(512 << 20)
	defer cache.Unref() // the store has its own reference
	opts := &pebble.Options{
		Cache:                       cache,
		MemTableSize:                64 << 20,
		MemTableStopWritesThreshold: 4,
		FormatMajorVersion:          pebble.FormatNewest,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)) },
		Logger:                      quiet{pebble.DefaultLogger},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, err
	}
	s := &pebbleStore{db: db, mode: pebble.Sync}
	if class == store.Batched {
		s.mode, s.syncer = pebble.NoSync, startSyncer(s.Flush)
	}
	return s, nil
}

func (s *pebbleStore) Begin(int) error { return nil }

func (s *pebbleStore) Put(run int, key string, value []byte) error {
	var buf [64]byte
	return s.db.Set(appendKey(buf[:0], run, key), value, s.mode)
}

func (s *pebbleStore) Get(run int, key string) ([]byte, error) {
	var buf [64]byte
	value, closer, err := s.db.Get(appendKey(buf[:0], run, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	value = bytes.Clone(value)
	return value, closer.Close()
}

func (s *pebbleStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendKey(nil, run, from),
		UpperBound: appendKey(nil, run+1, ""),
	})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && limit > 0; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !visit(lent(it.Key()[prefixLen:]), value) {
			break
		}
		limit--
	}
	return it.Close()
}

func (s *pebbleStore) Write(run int, pairs []store.Pair) error {
	batch := s.db.NewBatch()
	var buf [64]byte
	for _, p := range pairs {
		if err := batch.Set(appendKey(buf[:0], run, p.Key), p.Value, nil); err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	return errors.Join(batch.Commit(s.mode), batch.Close())
}

// Flush syncs the log: records before the empty one go to the disk with it.
func (s *pebbleStore) Flush() error { return s.db.LogData(nil, pebble.Sync) }

func (s *pebbleStore) Close() error {
	err := s.syncer.close()
	return errors.Join(err, s.db.Close())
}
