package stores

import (
	"bytes"
	"errors"
	"sync"

	"github.com/puzpuzpuz/xsync/v4"
	"github.com/tidwall/btree"

	"inmem/bench/store"
)

// Map is a map for each run, all under one lock.
func Map() store.Kind {
	return ceiling("map", "", "A map for each run under one sync.RWMutex. It cannot scan.",
		func() store.Store { return &mapStore{} })
}

// Xsync is a concurrent map.
func Xsync() store.Kind {
	return ceiling("xsync.Map", moduleVersion(xsyncModule),
		"One map of runs and keys. It cannot scan, has no transactions, and a Write is a Put after another.",
		func() store.Store { return xsyncStore{xsync.NewMap[runKey, []byte]()} })
}

// Btree is a B-tree for each run, all under one lock.
func Btree() store.Kind {
	return ceiling("btree", moduleVersion(btreeModule), "A B-tree for each run under one sync.RWMutex.",
		func() store.Store { return &btreeStore{} })
}

func ceiling(name, version, note string, open func() store.Store) store.Kind {
	return store.Kind{
		Name:    name,
		Version: version,
		Classes: []store.Class{store.Volatile},
		Notes:   map[store.Class]string{store.Volatile: note + " It loses all with the process."},
		Open:    func(string, store.Class) (store.Store, error) { return open(), nil },
		Missing: present,
	}
}

type mapStore struct {
	mu   sync.RWMutex
	runs []map[string][]byte
}

func (s *mapStore) Begin(runs int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.runs) < runs {
		s.runs = append(s.runs, make(map[string][]byte))
	}
	return nil
}

func (s *mapStore) Put(run int, key string, value []byte) error {
	value = bytes.Clone(value)
	s.mu.Lock()
	s.runs[run][key] = value
	s.mu.Unlock()
	return nil
}

func (s *mapStore) Get(run int, key string) ([]byte, error) {
	s.mu.RLock()
	value, ok := s.runs[run][key]
	s.mu.RUnlock()
	return found(value, ok)
}

// found copies a value that was found. No one changes it after it was put.
func found(value []byte, ok bool) ([]byte, error) {
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(value), nil
}

func (s *mapStore) Scan(int, string, int, func(string, []byte) bool) error {
	return errors.ErrUnsupported
}

func (s *mapStore) Write(run int, pairs []store.Pair) error {
	return s.Update(run, func(tx store.Tx) error { return putAll(tx, pairs) })
}

func putAll(tx store.Tx, pairs []store.Pair) error {
	for _, p := range pairs {
		if err := tx.Put(p.Key, p.Value); err != nil {
			return err
		}
	}
	return nil
}

func (s *mapStore) Update(run int, fn func(store.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.runs[run]
	tx := overlay{under: func(key string) ([]byte, bool) { v, ok := m[key]; return v, ok }}
	if err := fn(&tx); err != nil {
		return err
	}
	for _, p := range tx.pairs {
		m[p.Key] = bytes.Clone(p.Value)
	}
	return nil
}

// overlay is a transaction whose writes are kept apart until it is over.
type overlay struct {
	under func(key string) ([]byte, bool)
	pairs []store.Pair
}

func (o *overlay) Get(key string) ([]byte, error) {
	for i := len(o.pairs) - 1; i >= 0; i-- {
		if o.pairs[i].Key == key {
			return bytes.Clone(o.pairs[i].Value), nil
		}
	}
	return found(o.under(key))
}

func (o *overlay) Put(key string, value []byte) error {
	o.pairs = append(o.pairs, store.Pair{Key: key, Value: value})
	return nil
}

func (s *mapStore) Flush() error { return nil }
func (s *mapStore) Close() error { return nil }

type runKey struct {
	run int
	key string
}

type xsyncStore struct{ m *xsync.Map[runKey, []byte] }

func (xsyncStore) Begin(int) error { return nil }

func (s xsyncStore) Put(run int, key string, value []byte) error {
	s.m.Store(runKey{run, key}, bytes.Clone(value))
	return nil
}

func (s xsyncStore) Get(run int, key string) ([]byte, error) {
	return found(s.m.Load(runKey{run, key}))
}

func (xsyncStore) Scan(int, string, int, func(string, []byte) bool) error {
	return errors.ErrUnsupported
}

func (s xsyncStore) Write(run int, pairs []store.Pair) error {
	for _, p := range pairs {
		s.m.Store(runKey{run, p.Key}, bytes.Clone(p.Value))
	}
	return nil
}

func (xsyncStore) Flush() error { return nil }
func (xsyncStore) Close() error { return nil }

type btreeStore struct {
	mu   sync.RWMutex
	runs []*btree.Map[string, []byte]
}

func (s *btreeStore) Begin(runs int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.runs) < runs {
		s.runs = append(s.runs, new(btree.Map[string, []byte]))
	}
	return nil
}

func (s *btreeStore) Put(run int, key string, value []byte) error {
	value = bytes.Clone(value)
	s.mu.Lock()
	s.runs[run].Set(key, value)
	s.mu.Unlock()
	return nil
}

func (s *btreeStore) Get(run int, key string) ([]byte, error) {
	s.mu.RLock()
	value, ok := s.runs[run].Get(key)
	s.mu.RUnlock()
	return found(value, ok)
}

func (s *btreeStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.runs[run].Ascend(from, func(key string, value []byte) bool {
		limit--
		return limit >= 0 && visit(key, value)
	})
	return nil
}

func (s *btreeStore) Write(run int, pairs []store.Pair) error {
	return s.Update(run, func(tx store.Tx) error { return putAll(tx, pairs) })
}

func (s *btreeStore) Update(run int, fn func(store.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.runs[run]
	tx := overlay{under: m.Get}
	if err := fn(&tx); err != nil {
		return err
	}
	for _, p := range tx.pairs {
		m.Set(p.Key, bytes.Clone(p.Value))
	}
	return nil
}

func (s *btreeStore) Flush() error { return nil }
func (s *btreeStore) Close() error { return nil }
