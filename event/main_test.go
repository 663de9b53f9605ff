package event_test

import (
	"context"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// epoch is when the clock of a test stands at first, Unix milliseconds.
const epoch = 1_700_000_000_000

// world is a store on a disk in memory, with a clock that stands still until a
// test moves it, and one run in it.
type world struct {
	t    tester
	disk *vfs.Mem
	ms   atomic.Int64
	opts inmem.Options
	db   *inmem.DB
	run  *inmem.Run
}

// tester is a test, or a run of a property's check.
type tester interface {
	require.TestingT
	Helper()
}

func newWorld(t testing.TB, change ...func(*inmem.Options)) *world {
	t.Helper()
	w := makeWorld(t, change...)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	return w
}

// makeWorld is newWorld whose store the caller closes.
func makeWorld(t tester, change ...func(*inmem.Options)) *world {
	t.Helper()
	w := &world{t: t, disk: vfs.NewMem()}
	w.ms.Store(epoch)
	w.opts = inmem.Options{Shards: 1, Now: func() time.Time { return time.UnixMilli(w.ms.Load()) }}
	for _, c := range change {
		c(&w.opts)
	}
	w.open()
	var err error
	w.run, err = w.db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	return w
}

func (w *world) open() {
	w.t.Helper()
	w.opts.FS = w.disk
	var err error
	w.db, err = inmem.Open("store", &w.opts)
	require.NoError(w.t, err)
}

// reopen closes the store and opens it again.
func (w *world) reopen() {
	w.t.Helper()
	require.NoError(w.t, w.db.Close())
	w.again()
}

// again opens the disk's store and finds the run.
func (w *world) again() {
	w.t.Helper()
	w.open()
	var err error
	w.run, err = w.db.Run(w.run.ID())
	require.NoError(w.t, err)
}

// version returns the run's version: it tells whether there was a commit.
func (w *world) version() uint64 {
	w.t.Helper()
	_, v, err := w.run.Digest()
	require.NoError(w.t, err)
	return v
}

func add(t tester, s event.Store, stream string, e event.New, opts ...event.WriteOption) event.Event {
	t.Helper()
	got, err := s.Append(ctx, stream, e, opts...)
	require.NoError(t, err)
	return got
}

func collect[T any](t tester, seq iter.Seq2[T, error]) []T {
	t.Helper()
	list := []T{}
	for x, err := range seq {
		require.NoError(t, err)
		list = append(list, x)
	}
	return list
}

// failure returns the error that ends a loop, and fails the test where
// something comes after it.
func failure[T any](t tester, seq iter.Seq2[T, error]) (failed error) {
	t.Helper()
	for _, err := range seq {
		require.NoError(t, failed, "the loop ends after an error")
		failed = err
	}
	return failed
}

// begin begins a transaction, which ends with the store at the latest.
func (w *world) begin() *inmem.Tx {
	w.t.Helper()
	tx, err := w.run.Begin(ctx)
	require.NoError(w.t, err)
	return tx
}

// powerCut is a power cut that takes whatever was not synced.
func (w *world) powerCut() {
	w.t.Helper()
	left := w.disk.CrashWith(rand.New(rand.NewPCG(1, 2)), vfs.DropAll)
	require.NoError(w.t, w.db.Close())
	w.disk = left
	w.again()
}

// kill is the end of a process that was not asked to end.
func (w *world) kill() {
	w.t.Helper()
	left := w.disk.Clone()
	require.NoError(w.t, w.db.Close())
	w.disk = left
	w.again()
}

func (w *world) past(version uint64) event.Store {
	w.t.Helper()
	p, err := w.run.At(ctx, version)
	require.NoError(w.t, err)
	return p.Events()
}
