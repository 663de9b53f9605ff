//go:build unix

package workload

import (
	"bytes"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"inmem/bench/store"
)

// guarded returns two pages of which the second cannot be read, and where it
// begins.
func guarded(t *testing.T) ([]byte, int) {
	page := unix.Getpagesize()
	memory, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(memory)) })
	for i := range page {
		memory[i] = 'x'
	}
	require.NoError(t, unix.Mprotect(memory[page:], unix.PROT_NONE))
	return memory, page
}

// faults says whether fn reads what cannot be read.
func faults(fn func()) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			_, faulted = p.(interface{ Addr() uintptr })
			if !faulted {
				panic(p)
			}
		}
	}()
	fn()
	return false
}

// No cache line is left out, wherever in one the data begin.
func TestTouchReadsAll(t *testing.T) {
	memory, page := guarded(t)
	for size := range 300 {
		assert.False(t, faults(func() { touch(memory[page-size : page]) }), "%d bytes", size)
		for beyond := 1; beyond <= min(size, 2*cacheLine+1); beyond++ {
			data := memory[page+beyond-size : page+beyond]
			assert.True(t, faults(func() { touch(data) }), "the last %d of %d bytes", beyond, size)
		}
	}
}

// lender hands out values whose last byte cannot be read.
type lender struct {
	*memory
	value []byte
}

func (l *lender) Get(run int, key string) ([]byte, error) { return l.value, nil }

func (l *lender) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	visit(from, l.value)
	return nil
}

func (l *lender) Update(_ int, fn func(store.Tx) error) error { return fn(lenderTx{l}) }

type lenderTx struct{ *lender }

func (l lenderTx) Get(string) ([]byte, error) { return l.value, nil }
func (l lenderTx) Put(string, []byte) error   { return nil }

// Whatever reads a value has read all of it.
func TestCellsTouchWhatTheyRead(t *testing.T) {
	memory, page := guarded(t)
	d := NewData(Size{Keys: 1000, Runs: 2, Value: 256}, 1)
	st := &lender{newMemory(), memory[page-255 : page+1]}
	require.NoError(t, st.Begin(d.Runs))
	for name, bind := range actions {
		if name == Put || name == Miss { // they read nothing
			continue
		}
		do, err := bind(d, st)
		require.NoError(t, err)
		rng := newRand(1, 0)
		assert.True(t, faults(func() {
			for range 1000 { // most of them write sometimes
				_ = do(rng)
			}
		}), name)
	}
	a := &agent{st: st, names: []string{messagePrefix}, said: 1, bytes: 256}
	assert.True(t, faults(func() { _ = a.readBack() }), Agents)
}

// The key of a scan is read, too.
func TestScansTouchKeys(t *testing.T) {
	memory, page := guarded(t)
	d := NewData(Size{Keys: 10, Runs: 1, Value: 1}, 1)
	key := unsafe.String(&memory[page-15], 16)
	copy(memory[page-15:page], bytes.Repeat([]byte("k"), 15))
	st := &keyLender{newMemory(), key}
	assert.True(t, faults(func() { _, _ = d.scanFrom(st, 0, 5, 1) }))
	// Behind the keys of the set nothing is compared.
	assert.True(t, faults(func() { _, _ = d.scanFrom(st, 0, d.perRun(), 1) }))
	a := &agent{st: st, names: []string{"m"}, said: 1, bytes: 1}
	assert.True(t, faults(func() { _ = a.readBack() }))
}

type keyLender struct {
	*memory
	key string
}

func (l *keyLender) Scan(_ int, _ string, _ int, visit func(string, []byte) bool) error {
	visit(l.key, []byte{1})
	return nil
}
