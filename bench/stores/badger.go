package stores

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"inmem/bench/store"
)

// Badger is a log-structured merge tree.
func Badger() store.Kind {
	const same = "Keys with the run before them, one transaction a put. No compression (the values are random), and no " +
		"block cache, as is advised without compression: tables are mapped into memory. No metrics, no log. "
	return store.Kind{
		Name:    "badger",
		Version: moduleVersion(badgerModule),
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict: same + "SyncWrites: each transaction is synced by itself, also where many come at once. " +
				"A power cut loses nothing.",
			store.Batched: same + "No SyncWrites, and a Sync every 100 ms. A killed process loses nothing " +
				"(its log is mapped, too), a power cut the last 100 ms.",
		},
		Open:    openBadger,
		Missing: present,
	}
}

type badgerStore struct {
	db     *badger.DB
	syncer *syncer
}

func openBadger(dir string, class store.Class) (store.Store, error) {
	opts := badger.DefaultOptions(dir).
		WithSyncWrites(class == store.Strict).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMetricsEnabled(false).
		WithLogger(nil)
	db, err := badger.Open(opts)
	if err != nil {
		return nil, err
	}
	s := &badgerStore{db: db}
	if class == store.Batched {
		s.syncer = startSyncer(db.Sync)
	}
	return s, nil
}

func (s *badgerStore) Begin(int) error { return nil }

func (s *badgerStore) Put(run int, key string, value []byte) error {
	return s.db.Update(func(txn *badger.Txn) error { return badgerTx{txn, run}.Put(key, value) })
}

func (s *badgerStore) Get(run int, key string) ([]byte, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return badgerTx{txn, run}.Get(key)
}

func (s *badgerStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	first := appendKey(nil, run, from)
	opts := badger.DefaultIteratorOptions
	opts.PrefetchValues = false // they lie with the keys
	opts.Prefix = first[:prefixLen]
	it := txn.NewIterator(opts)
	defer it.Close()
	more := true
	for it.Seek(first); more && limit > 0 && it.Valid(); it.Next() {
		item := it.Item()
		err := item.Value(func(value []byte) error {
			more = visit(lent(item.Key()[prefixLen:]), value)
			return nil
		})
		if err != nil {
			return err
		}
		limit--
	}
	return nil
}

func (s *badgerStore) Write(run int, pairs []store.Pair) error {
	return s.db.Update(func(txn *badger.Txn) error { return putAll(badgerTx{txn, run}, pairs) })
}

func (s *badgerStore) Update(run int, fn func(store.Tx) error) error {
	for {
		err := s.db.Update(func(txn *badger.Txn) error { return fn(badgerTx{txn, run}) })
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

type badgerTx struct {
	txn *badger.Txn
	run int
}

func (t badgerTx) Get(key string) ([]byte, error) {
	item, err := t.txn.Get(appendKey(make([]byte, 0, prefixLen+len(key)), t.run, key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// Put implements store.Tx. The transaction keeps key and value until its commit.
func (t badgerTx) Put(key string, value []byte) error {
	return t.txn.Set(appendKey(make([]byte, 0, prefixLen+len(key)), t.run, key), value)
}

func (s *badgerStore) Flush() error { return s.db.Sync() }

func (s *badgerStore) Close() error {
	err := s.syncer.close()
	return errors.Join(err, s.db.Close())
}
