// Package store is what the harness asks of a store: the work of a program
// that keeps the state of many runs. Who implements it is in package stores.
package store

import (
	"errors"
	"fmt"
)

// ErrNotFound is what Get returns for a key that is not there.
var ErrNotFound = errors.New("not found")

// Class says when a write is acknowledged, and so what a crash may lose.
type Class int

const (
	// Strict: when it is synced to the device. A power cut loses nothing.
	Strict Class = iota + 1
	// Batched: when it was handed over, with a sync in the background at least
	// every 100 ms or as near to that as the store has it. Stores differ in what
	// a killed process loses; their Notes say it.
	Batched
	// Volatile: in memory only. Not durable: a ceiling, not a peer.
	Volatile
)

// Store is open and holds keys of runs. All of its methods but Close may be
// called by many goroutines at once. Keys are ordered by their bytes.
type Store interface {
	// Begin makes the runs 0 … n-1 that are not there yet known. It is called
	// after each opening, before anything else.
	Begin(runs int) error

	// Put stores a value. The caller may change the bytes afterwards.
	Put(run int, key string, value []byte) error
	// Get returns a copy that belongs to the caller, or ErrNotFound.
	Get(run int, key string) ([]byte, error)
	// Scan visits up to limit keys of the run from the key on, in order. Key and
	// value are lent until visit returns, and must not be changed; it may return
	// false to end the scan. A store that keeps no order that it could scan at a
	// fair price returns errors.ErrUnsupported, and has no such cells.
	Scan(run int, from string, limit int, visit func(key string, value []byte) bool) error
	// Write puts all pairs, or none of them.
	Write(run int, pairs []Pair) error

	// Flush returns when all that was acknowledged is on the device.
	Flush() error
	Close() error
}

// Pair is a key and its value.
type Pair struct {
	Key   string
	Value []byte
}

// Transactor is a Store with serializable transactions on a run. What was read
// is unchanged at the commit; fn is called again after a conflict.
type Transactor interface {
	Store
	Update(run int, fn func(Tx) error) error
}

// Server is a Store that another process keeps: its CPU time and its memory
// belong to the store, too. That process does not outlive this one.
type Server interface {
	Store
	Pid() int
}

// Tx is the inside of a transaction. It sees its own writes.
type Tx interface {
	// Get returns a copy that belongs to the caller, or ErrNotFound.
	Get(key string) ([]byte, error)
	// Put stores a value, which the caller leaves alone until Update returned.
	Put(key string, value []byte) error
}

// Kind is a way to keep runs: a store in a configuration for each class that
// it has.
type Kind struct {
	Name    string // "bbolt"
	Version string // of the module or the server; "" for what is in this repository
	Classes []Class
	// Notes say, for a class, how the store is configured, and why that is the
	// best that is fair; and what a killed process and a power cut lose.
	Notes map[Class]string
	// Open opens the directory, and creates it where it is missing.
	Open func(dir string, class Class) (Store, error)
	// Lean is Open for a store that is to keep nothing but the newest values; nil =
	// it never keeps more.
	Lean func(dir string, class Class) (Store, error)
	// Missing says why the store cannot be had on this machine, or "".
	Missing func() string
}

func (c Class) String() string {
	switch c {
	case Strict:
		return "strict"
	case Batched:
		return "batched"
	case Volatile:
		return "volatile"
	}
	return fmt.Sprintf("Class(%d)", int(c))
}
