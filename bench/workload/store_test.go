package workload

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"inmem/bench/store"
)

// memory is a store that counts what is done to it, and can be told to misbehave.
type memory struct {
	mu    sync.Mutex
	runs  int
	data  map[int]map[string][]byte
	calls map[string]int
	// wrong may change what a get or a scan finds.
	wrong     func(key string, value []byte) ([]byte, bool)
	backwards bool // in scans
}

func newMemory() *memory {
	return &memory{data: map[int]map[string][]byte{}, calls: map[string]int{}}
}

var errUnknownRun = errors.New("no such run")

func (m *memory) run(call string, run int) (map[string][]byte, error) {
	m.calls[call]++
	if run < 0 || run >= m.runs {
		return nil, errUnknownRun
	}
	if m.data[run] == nil {
		m.data[run] = map[string][]byte{}
	}
	return m.data[run], nil
}

func (m *memory) Begin(runs int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs = max(m.runs, runs)
	return nil
}

func (m *memory) Put(run int, key string, value []byte) error {
	return m.write("put", run, []store.Pair{{Key: key, Value: value}})
}

func (m *memory) Write(run int, pairs []store.Pair) error { return m.write("write", run, pairs) }

func (m *memory) write(call string, run int, pairs []store.Pair) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.run(call, run)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		r[p.Key] = bytes.Clone(p.Value)
	}
	return nil
}

func (m *memory) Get(run int, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.run("get", run)
	if err != nil {
		return nil, err
	}
	value, ok := r[key]
	if m.wrong != nil && ok {
		value, ok = m.wrong(key, value)
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(value), nil
}

func (m *memory) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.run("scan", run)
	if err != nil {
		return err
	}
	var keys []string
	for key := range r {
		if key >= from {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	keys = keys[:min(limit, len(keys))]
	if m.backwards {
		slices.Reverse(keys)
	}
	for _, key := range keys {
		value, ok := r[key], true
		if m.wrong != nil {
			value, ok = m.wrong(key, value)
		}
		if ok && !visit(key, value) {
			break
		}
	}
	return nil
}

func (m *memory) Flush() error { return nil }
func (m *memory) Close() error { return nil }

// transactions adds transactions to it.
type transactions struct{ *memory }

type tx struct {
	m   *memory
	run int
}

func (t transactions) Update(run int, fn func(store.Tx) error) error { return fn(tx{t.memory, run}) }

func (t tx) Get(key string) ([]byte, error)     { return t.m.Get(t.run, key) }
func (t tx) Put(key string, value []byte) error { return t.m.Put(t.run, key, value) }
