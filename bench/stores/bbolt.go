package stores

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"inmem/bench/store"
)

// Bbolt is a B+tree in a file that is mapped into memory.
func Bbolt() store.Kind {
	const same = "A bucket for each run. Puts that come while a transaction is committed share the next one, as in Batch, " +
		"but without its timer, which fits only one number of callers: none waits that is alone, and many fill a transaction. " +
		"No freelist on the disk, in memory it is a map; 1 GiB mapped from the start; no statistics. "
	return store.Kind{
		Name:    "bbolt",
		Version: moduleVersion(bboltModule),
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict: same + "A power cut loses nothing.",
			store.Batched: same + "NoSync, and a Sync every 100 ms. A killed process loses nothing; a power cut " +
				"may damage the file, as pages are not written in order.",
		},
		Open:    openBbolt,
		Missing: present,
	}
}

type bboltStore struct {
	db     *bbolt.DB
	syncer *syncer

	mu      sync.Mutex
	waiting []*bboltCall // for the next transaction
	busy    bool         // someone will take them
}

// bboltCall is a change that waits for its transaction.
type bboltCall struct {
	fn   func(*bbolt.Tx) error
	done chan error
}

func openBbolt(dir string, class store.Class) (store.Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "bbolt.db"), 0o644, &bbolt.Options{
		Timeout:         10 * time.Second, // of the wait for the lock of a process that was killed
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 1 << 30,
		NoStatistics:    true,
		NoSync:          class == store.Batched,
	})
	if err != nil {
		return nil, err
	}
	s := &bboltStore{db: db}
	if class == store.Batched {
		s.syncer = startSyncer(db.Sync)
	}
	return s, nil
}

func (s *bboltStore) Begin(runs int) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for n := range runs {
			if _, err := tx.CreateBucketIfNotExists(runName(n)); err != nil {
				return err
			}
		}
		return nil
	})
}

func runName(run int) []byte { return appendKey(nil, run, "") }

func bucket(tx *bbolt.Tx, run int) bboltTx {
	var name [prefixLen]byte
	return bboltTx{tx.Bucket(appendKey(name[:0], run, ""))}
}

// write carries fn out in one transaction with others that wait.
func (s *bboltStore) write(fn func(*bbolt.Tx) error) error {
	call := &bboltCall{fn, make(chan error, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, call)
	idle := !s.busy
	s.busy = true
	s.mu.Unlock()
	if idle {
		go s.drain()
	}
	return <-call.done
}

func (s *bboltStore) drain() {
	for {
		runtime.Gosched() // those that were just answered may come back
		s.mu.Lock()
		calls := s.waiting
		s.waiting = nil
		s.busy = len(calls) > 0
		s.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		s.commit(calls)
	}
}

// commit carries calls out in one transaction, or, where one of them fails,
// each in its own.
func (s *bboltStore) commit(calls []*bboltCall) {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, call := range calls {
			if err := call.fn(tx); err != nil {
				return err
			}
		}
		return nil
	})
	for _, call := range calls {
		if err != nil && len(calls) > 1 {
			call.done <- s.db.Update(call.fn)
		} else {
			call.done <- err
		}
	}
}

func (s *bboltStore) Put(run int, key string, value []byte) error {
	return s.write(func(tx *bbolt.Tx) error { return bucket(tx, run).Put(key, value) })
}

func (s *bboltStore) Get(run int, key string) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		value, err = bucket(tx, run).Get(key)
		return err
	})
	return value, err
}

func (s *bboltStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		c := bucket(tx, run).bucket.Cursor()
		for k, v := c.Seek(lentBytes(from)); k != nil && limit > 0; k, v = c.Next() {
			if !visit(lent(k), v) {
				break
			}
			limit--
		}
		return nil
	})
}

func (s *bboltStore) Write(run int, pairs []store.Pair) error {
	return s.write(func(tx *bbolt.Tx) error { return putAll(bucket(tx, run), pairs) })
}

func (s *bboltStore) Update(run int, fn func(store.Tx) error) error {
	return s.write(func(tx *bbolt.Tx) error { return fn(bucket(tx, run)) })
}

type bboltTx struct{ bucket *bbolt.Bucket }

func (t bboltTx) Get(key string) ([]byte, error) {
	v := t.bucket.Get(lentBytes(key))
	if v == nil {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(v), nil
}

// Put implements store.Tx. The bucket copies the key, and keeps the value until
// the commit.
func (t bboltTx) Put(key string, value []byte) error {
	return t.bucket.Put(lentBytes(key), notNil(value))
}

func (s *bboltStore) Flush() error { return s.db.Sync() }

func (s *bboltStore) Close() error {
	err := s.syncer.close()
	return errors.Join(err, s.db.Sync(), s.db.Close())
}
