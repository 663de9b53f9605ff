// Package stores has the ways to keep runs that are compared: inmem, other
// durable stores, each in its best fair configuration, and maps in memory that
// show how fast anything could be.
//
// An adapter does what a careful user of the store would do, and says it in its
// notes. It gathers no calls where neither the store nor its client does, and
// adds no cache.
package stores

import (
	"context"
	"encoding/binary"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"

	"inmem/bench/store"
)

// All returns every kind, inmem first. Some may be missing on this machine.
func All() []store.Kind {
	return []store.Kind{
		Inmem(), Pebble(), Badger(), Bbolt(), Buntdb(), SQLite(), Redis(), // durable
		Map(), Xsync(), Btree(), // ceilings
	}
}

// ctx is for calls that want one: nothing here is called off.
var ctx = context.Background()

// background is how often a Batched store is synced that leaves it to us.
const background = 100 * time.Millisecond

// appendKey appends what a run's key is in a store that knows no runs: the
// number of the run in 4 bytes, so that a run lies in one piece, and the key.
func appendKey(buf []byte, run int, key string) []byte {
	return append(binary.BigEndian.AppendUint32(buf, uint32(run)), key...)
}

const prefixLen = 4

// lent returns bytes as a string that is valid as long as they are not changed.
func lent(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// lentBytes returns a string as bytes that must not be changed.
func lentBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// notNil returns a value that stores do not take for none.
func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// present is Kind.Missing of what needs nothing but its module.
func present() string { return "" }

// The modules of the stores.
const (
	bboltModule  = "go.etcd.io/bbolt"
	badgerModule = "github.com/dgraph-io/badger/v4"
	pebbleModule = "github.com/cockroachdb/pebble/v2"
	buntdbModule = "github.com/tidwall/buntdb"
	sqliteModule = "github.com/mattn/go-sqlite3"
	xsyncModule  = "github.com/puzpuzpuz/xsync/v4"
	btreeModule  = "github.com/tidwall/btree"

	rueidisModule = "github.com/redis/rueidis" // the client of Redis
)

// moduleVersion returns the version of a module that this program was built
// with. The program of a test does not know it.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			if dep.Replace != nil {
				return strings.TrimSpace(dep.Replace.Path + " " + dep.Replace.Version)
			}
			return dep.Version
		}
	}
	return ""
}

// syncer syncs a store every now and then, until it is closed or fails.
type syncer struct {
	stop chan struct{}
	done chan error
}

func startSyncer(sync func() error) *syncer {
	s := &syncer{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { s.done <- s.run(sync) }()
	return s
}

func (s *syncer) run(sync func() error) error {
	ticker := time.NewTicker(background)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return nil
		case <-ticker.C:
			if err := sync(); err != nil {
				return err
			}
		}
	}
}

// close waits for the last sync and returns the error that ended them. A nil
// syncer is one that was not needed.
func (s *syncer) close() error {
	if s == nil {
		return nil
	}
	close(s.stop)
	return <-s.done
}
