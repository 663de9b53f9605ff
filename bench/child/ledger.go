package child

import (
	"sync/atomic"
	"unsafe"

	"inmem/bench/workload"
)

// Ledger counts what was acknowledged to each writer, in a cache line of its own.
type Ledger struct {
	memory []byte
	free   func() error

	limit int // of the first writer, and so about of each

	reached chan struct{}
}

const (
	lineSize   = 64
	ledgerSize = workload.Writers * lineSize
)

func newLedger(memory []byte, free func() error) *Ledger {
	return &Ledger{memory: memory, free: free, limit: -1, reached: make(chan struct{})}
}

// Close lets the ledger go. What was counted stays in its file.
func (l *Ledger) Close() error { return l.free() }

func (l *Ledger) counter(writer int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&l.memory[writer*lineSize]))
}

// notify has reached closed when about so many commits are acknowledged.
func (l *Ledger) notify(commits int) { l.limit = max(1, commits/workload.Writers) }

// Acknowledge counts a commit of a writer.
func (l *Ledger) Acknowledge(writer int) {
	if n := l.counter(writer).Add(1); writer == 0 && int(n) == l.limit {
		close(l.reached)
	}
}

// Acknowledged returns how many there were.
func (l *Ledger) Acknowledged(writer int) int { return int(l.counter(writer).Load()) }
