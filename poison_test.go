package inmem_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/vfs"
)

var errDisk = errors.New("the disk is broken")

// failing lets every operation of the kind fail from now on.
func (s *store) failing(kind vfs.OpKind) {
	s.mem.SetFault(func(o vfs.Op) error {
		if o.Kind == kind {
			return errDisk
		}
		return nil
	})
}

// stopped checks a poisoned store: every call that needs a shard says why,
// whatever was published can be read, and Close returns.
func (s *store) stopped(r *inmem.Run, cause error) {
	s.t.Helper()
	errs := s.everyCall(r)
	for _, read := range []string{"Get", "GetItem", "Exists", "List", "Range", "Info", "Digest"} {
		assert.NoError(s.t, errs[read], read)
		delete(errs, read)
	}
	more := s.everyDBCall(r)
	assert.NoError(s.t, more["Run"])
	assert.NoError(s.t, more["Runs"])
	delete(more, "Run")
	delete(more, "Runs")
	for _, list := range []map[string]error{errs, more} {
		requireAll(s.t, list, inmem.ErrPoisoned)
		requireAll(s.t, list, cause)
	}
	ends(s.t, "Close", func() {
		err := s.Close()
		assert.ErrorIs(s.t, err, inmem.ErrPoisoned)
		assert.ErrorIs(s.t, err, cause)
	})
	requireAll(s.t, s.everyCall(r), inmem.ErrClosed)
}

func TestFailedDiskStopsTheStore(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.Write, vfs.Sync} {
		for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
			t.Run(fmt.Sprint(kind, " ", mode), func(t *testing.T) {
				s := newStore(t, func(o *inmem.Options) { o.Durability = mode })
				runs := []*inmem.Run{s.begin(), s.begin(), s.begin(), s.begin()}
				for _, r := range runs {
					put(t, r, "k", "kept")
				}
				require.NoError(t, s.Flush(ctx))
				s.failing(kind)
				var callers sync.WaitGroup
				for i := range 40 {
					callers.Go(func() {
						for n := 0; ; n++ {
							_, err := runs[i%4].KV().Put(ctx, fmt.Sprint(i, n%100), []byte("lost?"))
							if err != nil {
								assert.ErrorIs(t, err, inmem.ErrPoisoned)
								assert.ErrorIs(t, err, errDisk)
								return
							}
						}
					})
				}
				callers.Go(func() {
					for s.DB.Checkpoint(ctx) == nil {
						continue
					}
				})
				ends(t, "callers", callers.Wait)
				for _, r := range runs {
					assert.Equal(t, "kept", get(t, r, "k"))
				}
				s.stopped(runs[0], errDisk)
				s.mem.SetFault(nil)
				s.open()
				for _, r := range runs {
					assert.Equal(t, "kept", get(t, s.run(r.ID()), "k"))
				}
				put(t, s.run(runs[0].ID()), "k", "on")
			})
		}
	}
}

func TestFailedCheckpointStopsTheStore(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	require.NoError(t, s.Flush(ctx))
	s.mem.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync && strings.HasSuffix(o.Name, ".tmp") {
			return errDisk
		}
		return nil
	})
	ends(t, "Checkpoint", func() {
		err := s.DB.Checkpoint(ctx)
		assert.ErrorIs(t, err, inmem.ErrPoisoned)
		assert.ErrorIs(t, err, errDisk)
	})
	s.stopped(r, errDisk)
	s.mem.SetFault(nil)
	s.open()
	assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
}

// A panic in a shard is our bug, not the program's end: the store stops, those
// who wait get an answer, and what is published can be read.
func TestPanicStopsTheStore(t *testing.T) {
	var broken atomic.Bool
	s := newStore(t, func(o *inmem.Options) {
		o.Now = func() time.Time {
			if broken.Load() {
				panic(errDisk)
			}
			return time.UnixMilli(epoch)
		}
	})
	r := s.begin()
	put(t, r, "k", "v")
	broken.Store(true)
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			_, err := r.KV().Put(ctx, "k", []byte("lost"))
			assert.ErrorIs(t, err, inmem.ErrPoisoned)
			assert.ErrorIs(t, err, errDisk)
		})
	}
	ends(t, "callers", callers.Wait)
	assert.Equal(t, "v", get(t, r, "k"))
	ends(t, "Close", func() { assert.ErrorIs(t, s.Close(), errDisk) })
	broken.Store(false)
	s.open()
	assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
}

// The goroutine of the deadlines stops the store as well.
func TestPanicOfTheDeadlinesStopsTheStore(t *testing.T) {
	var broken atomic.Bool
	s := newStore(t, func(o *inmem.Options) {
		o.Now = func() time.Time {
			if broken.CompareAndSwap(true, false) {
				panic(errDisk)
			}
			return time.UnixMilli(epoch)
		}
	})
	r := s.begin()
	put(t, r, "k", "v", kv.TTL(time.Hour)) // it looks at the clock once a second from now on
	broken.Store(true)
	soon(t, "the panic", func() bool { return s.Flush(ctx) != nil })
	s.stopped(r, errDisk)
	s.open()
}

// An open that fails lets go of everything.
func TestFailedOpenLetsGo(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	require.NoError(t, s.DB.Checkpoint(ctx))
	put(t, r, "k", "w")
	require.NoError(t, s.Close())
	s.mem.SetReadFault(func(o vfs.Op) error { return errDisk })
	_, err := inmem.Open(s.dir, &s.opts)
	assert.ErrorIs(t, err, errDisk)
	s.mem.SetReadFault(nil)
	for _, kind := range []vfs.OpKind{vfs.Sync, vfs.SyncDir} {
		s.failing(kind)
		_, err := inmem.Open(s.dir, &s.opts)
		assert.ErrorIs(t, err, errDisk, kind)
		assert.NotErrorIs(t, err, inmem.ErrLocked, kind)
	}
	s.mem.SetFault(nil)
	s.open()
	assert.Equal(t, "w", get(t, s.run(r.ID()), "k"))
}
