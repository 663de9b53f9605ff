package stores

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidwall/buntdb"

	"inmem/bench/store"
)

// Buntdb is a B-tree in memory with a log of its writes.
func Buntdb() store.Kind {
	const same = "Keys with the run before them, one transaction a put. The log is rewritten when it has doubled, as by default. "
	return store.Kind{
		Name:    "buntdb",
		Version: moduleVersion(buntdbModule),
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict: same + "SyncPolicy Always: a sync for each transaction, while the store is locked. A power cut loses nothing.",
			store.Batched: same + "SyncPolicy EverySecond: it has nothing nearer to 100 ms. A killed process loses nothing, " +
				"a power cut the last second.",
		},
		Open:    openBuntdb,
		Missing: present,
	}
}

type buntdbStore struct {
	db   *buntdb.DB
	path string
}

func openBuntdb(dir string, class store.Class) (store.Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "buntdb.aof")
	db, err := buntdb.Open(path)
	if err != nil {
		return nil, err
	}
	var cfg buntdb.Config
	if err := db.ReadConfig(&cfg); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	cfg.SyncPolicy = buntdb.EverySecond
	if class == store.Strict {
		cfg.SyncPolicy = buntdb.Always
	}
	if err := db.SetConfig(cfg); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &buntdbStore{db, path}, nil
}

func (s *buntdbStore) Begin(int) error { return nil }

func buntdbKey(run int, key string) string {
	return lent(appendKey(make([]byte, 0, prefixLen+len(key)), run, key))
}

func (s *buntdbStore) Put(run int, key string, value []byte) error {
	return s.db.Update(func(tx *buntdb.Tx) error { return buntdbTx{tx, run}.Put(key, value) })
}

func (s *buntdbStore) Get(run int, key string) (value []byte, err error) {
	err = s.db.View(func(tx *buntdb.Tx) error {
		value, err = buntdbTx{tx, run}.Get(key)
		return err
	})
	return value, err
}

func (s *buntdbStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	first := buntdbKey(run, from)
	return s.db.View(func(tx *buntdb.Tx) error {
		return tx.AscendGreaterOrEqual("", first, func(key, value string) bool {
			if limit <= 0 || !strings.HasPrefix(key, first[:prefixLen]) {
				return false
			}
			limit--
			return visit(key[prefixLen:], lentBytes(value))
		})
	})
}

func (s *buntdbStore) Write(run int, pairs []store.Pair) error {
	return s.db.Update(func(tx *buntdb.Tx) error { return putAll(buntdbTx{tx, run}, pairs) })
}

func (s *buntdbStore) Update(run int, fn func(store.Tx) error) error {
	return s.db.Update(func(tx *buntdb.Tx) error { return fn(buntdbTx{tx, run}) })
}

type buntdbTx struct {
	tx  *buntdb.Tx
	run int
}

func (t buntdbTx) Get(key string) ([]byte, error) {
	value, err := t.tx.Get(buntdbKey(t.run, key))
	if errors.Is(err, buntdb.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	return []byte(value), err
}

func (t buntdbTx) Put(key string, value []byte) error {
	_, _, err := t.tx.Set(buntdbKey(t.run, key), string(value), nil)
	return err
}

// Flush syncs the log by its name: the store has no call for it, and each
// transaction is in the file when it returns.
func (s *buntdbStore) Flush() error { return syncFile(s.path) }

func (s *buntdbStore) Close() error { return s.db.Close() }

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
