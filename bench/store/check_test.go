package store_test

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/bench/store"
	"inmem/bench/stores"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// base is a store that works. Each broken one has one method of its own.
type base struct{ store.Transactor }

func newBase(t *testing.T) base {
	t.Helper()
	s, err := stores.Btree().Open("", store.Volatile)
	require.NoError(t, err)
	return base{s.(store.Transactor)}
}

// kind hands out one store at each opening, so that it keeps all: durable, as
// far as Check can see.
func kind(s store.Store) store.Kind {
	return store.Kind{Name: "fake", Open: func(string, store.Class) (store.Store, error) { return s, nil }}
}

func TestCheckAcceptsWhatWorks(t *testing.T) {
	for _, c := range []store.Class{store.Strict, store.Batched, store.Volatile} {
		require.NoError(t, store.Check(kind(newBase(t)), c, t.TempDir()))
	}
}

type losesWrites struct {
	base
	puts int
}

func (s *losesWrites) Put(run int, key string, value []byte) error {
	if s.puts++; s.puts == 50 {
		return nil
	}
	return s.base.Put(run, key, value)
}

type keepsOldValues struct{ base }

func (s keepsOldValues) Put(run int, key string, value []byte) error {
	if _, err := s.Get(run, key); err == nil {
		return nil
	}
	return s.base.Put(run, key, value)
}

type backwards struct{ base }

func (s backwards) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	var pairs []store.Pair
	err := s.base.Scan(run, from, limit, func(key string, value []byte) bool {
		pairs = append(pairs, store.Pair{Key: key, Value: value})
		return true
	})
	slices.Reverse(pairs)
	for _, p := range pairs {
		if !visit(p.Key, p.Value) {
			break
		}
	}
	return err
}

// aliases keeps the caller's bytes, and hands out its own.
type aliases struct {
	base
	in, out bool
	values  map[string][]byte
}

func (s aliases) Put(run int, key string, value []byte) error {
	if !s.in {
		value = slices.Clone(value)
	}
	s.values[string(rune(run))+key] = value
	return s.base.Put(run, key, value)
}

func (s aliases) Get(run int, key string) ([]byte, error) {
	value, ok := s.values[string(rune(run))+key]
	if !ok {
		return s.base.Get(run, key)
	}
	if !s.out {
		value = slices.Clone(value)
	}
	return value, nil
}

// neighbours takes runs for the same that have the same last byte.
type neighbours struct{ base }

func (s neighbours) Put(run int, key string, value []byte) error {
	return s.base.Put(run%256, key, value)
}
func (s neighbours) Get(run int, key string) ([]byte, error) { return s.base.Get(run%256, key) }

// runsOn does not end a scan with its run.
type runsOn struct{ base }

func (s runsOn) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	n := 0
	more := true
	err := s.base.Scan(run, from, limit, func(key string, value []byte) bool {
		n++
		more = visit(key, value)
		return more
	})
	if err != nil || !more || n >= limit || run == 257 {
		return err
	}
	return s.base.Scan(run+1, "", limit-n, visit)
}

type noLimit struct{ base }

func (s noLimit) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	return s.base.Scan(run, from, limit+1, visit)
}

type noStop struct{ base }

func (s noStop) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	return s.base.Scan(run, from, limit, func(key string, value []byte) bool { visit(key, value); return true })
}

type afterFrom struct{ base }

func (s afterFrom) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	return s.base.Scan(run, from+"\x00", limit, visit)
}

type halfWrites struct{ base }

func (s halfWrites) Write(run int, pairs []store.Pair) error {
	return s.base.Write(run, pairs[:(len(pairs)+1)/2])
}

// tornWrites writes a pair after another, and lets transactions come between.
type tornWrites struct {
	base
	updates atomic.Int64
}

func (s *tornWrites) Write(run int, pairs []store.Pair) error {
	for _, p := range pairs {
		if err := s.Put(run, p.Key, p.Value); err != nil {
			return err
		}
		for before, n := s.updates.Load(), 0; n < 1000 && s.updates.Load() == before; n++ {
			runtime.Gosched()
		}
	}
	return nil
}

func (s *tornWrites) Update(run int, fn func(store.Tx) error) error {
	defer s.updates.Add(1)
	return s.base.Update(run, fn)
}

type nilMisses struct{ base }

func (s nilMisses) Get(run int, key string) ([]byte, error) {
	value, err := s.base.Get(run, key)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return value, err
}

type noEmptyValues struct{ base }

func (s noEmptyValues) Get(run int, key string) ([]byte, error) {
	value, err := s.base.Get(run, key)
	if err == nil && len(value) == 0 {
		err = store.ErrNotFound
	}
	return value, err
}

type shortValues struct{ base }

func (s shortValues) Put(run int, key string, value []byte) error {
	return s.base.Put(run, key, value[:min(len(value), 1<<15)])
}

// dirty has transactions that read and write as they come: they are lost
// updates, torn reads, and not taken back.
type dirty struct {
	base
	abandons bool // takes them back at least
}

func (s dirty) Update(run int, fn func(store.Tx) error) error {
	tx := &dirtyTx{s: s, run: run}
	if err := fn(tx); err != nil {
		return err
	}
	for _, p := range tx.pairs {
		if err := s.Put(run, p.Key, p.Value); err != nil {
			return err
		}
	}
	return nil
}

type dirtyTx struct {
	s     dirty
	run   int
	pairs []store.Pair
}

func (t *dirtyTx) Get(key string) ([]byte, error) {
	for _, p := range slices.Backward(t.pairs) {
		if p.Key == key {
			return slices.Clone(p.Value), nil
		}
	}
	return t.s.Get(t.run, key)
}

func (t *dirtyTx) Put(key string, value []byte) error {
	if !t.s.abandons {
		return t.s.Put(t.run, key, value)
	}
	t.pairs = append(t.pairs, store.Pair{Key: key, Value: value})
	return nil
}

// blind has transactions that do not see their own writes.
type blind struct{ base }

func (s blind) Update(run int, fn func(store.Tx) error) error {
	return s.base.Update(run, func(tx store.Tx) error { return fn(&blindTx{Tx: tx, wrote: make(map[string]bool)}) })
}

type blindTx struct {
	store.Tx
	wrote map[string]bool
}

func (t *blindTx) Put(key string, value []byte) error {
	t.wrote[key] = true
	return t.Tx.Put(key, value)
}

func (t *blindTx) Get(key string) ([]byte, error) {
	if t.wrote[key] {
		return nil, store.ErrNotFound
	}
	return t.Tx.Get(key)
}

type fails struct{ base }

var errDisk = errors.New("the disk is gone")

func (fails) Flush() error { return errDisk }

func TestCheckCatches(t *testing.T) {
	for _, test := range []struct {
		broken func(base) store.Store
		want   string
	}{
		{func(b base) store.Store { return &losesWrites{base: b} }, "puts and gets"},
		{func(b base) store.Store { return keepsOldValues{b} }, "overwrites"},
		{func(b base) store.Store { return backwards{b} }, "scan of run 0"},
		{func(b base) store.Store { return aliases{b, true, false, make(map[string][]byte)} }, "changed after the put"},
		{func(b base) store.Store { return aliases{b, false, true, make(map[string][]byte)} }, "that a get returned"},
		{func(b base) store.Store { return neighbours{b} }, "of run 0"},
		{func(b base) store.Store { return runsOn{b} }, "after the last one"},
		{func(b base) store.Store { return noLimit{b} }, "after the last one"},
		{func(b base) store.Store { return noStop{b} }, "ends it at the 5th key"},
		{func(b base) store.Store { return afterFrom{b} }, "scans"},
		{func(b base) store.Store { return halfWrites{b} }, "after the write"},
		{func(b base) store.Store { return nilMisses{b} }, "that nobody put"},
		{func(b base) store.Store { return noEmptyValues{b} }, "empty and large values"},
		{func(b base) store.Store { return shortValues{b} }, "empty and large values"},
		{func(b base) store.Store { return dirty{base: b} }, "abandoned"},
		{func(b base) store.Store { return dirty{base: b, abandons: true} }, "a counter"},
		{func(b base) store.Store { return &tornWrites{base: b} }, "half of a write"},
		{func(b base) store.Store { return blind{b} }, "own writes"},
		{func(b base) store.Store { return fails{b} }, errDisk.Error()},
	} {
		s := test.broken(newBase(t))
		err := store.Check(kind(s), store.Batched, t.TempDir())
		assert.ErrorContains(t, err, "fake, batched: ", "%T", s)
		assert.ErrorContains(t, err, test.want, "%T", s)
	}
}

// A store that has forgotten all is broken where it is durable, and as it
// should be where it is not.
func TestCheckCatchesForgetting(t *testing.T) {
	forgets := stores.Btree()
	assert.NoError(t, store.Check(forgets, store.Volatile, t.TempDir()))
	assert.ErrorContains(t, store.Check(forgets, store.Strict, t.TempDir()), "btree, strict: reopened: ")
}

func TestCheckPassesErrorsOn(t *testing.T) {
	k := store.Kind{Name: "fake", Open: func(string, store.Class) (store.Store, error) { return nil, errDisk }}
	assert.ErrorIs(t, store.Check(k, store.Strict, t.TempDir()), errDisk)
}
