package inmem_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// countedFS is a disk that counts what is open.
type countedFS struct {
	vfs.FS
	files, locks atomic.Int64
}

type countedFile struct {
	vfs.File
	open *atomic.Int64
}

func (f *countedFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	f.files.Add(1)
	return &countedFile{file, &f.files}, nil
}

// Close counts each file once: a second Close of it is an error.
func (f *countedFile) Close() error {
	err := f.File.Close()
	if err == nil {
		f.open.Add(-1)
	}
	return err
}

type countedLock struct {
	io.Closer
	once func()
}

func (f *countedFS) Lock(name, holder string) (io.Closer, error) {
	lock, err := f.FS.Lock(name, holder)
	if err != nil {
		return nil, err
	}
	f.locks.Add(1)
	return &countedLock{lock, sync.OnceFunc(func() { f.locks.Add(-1) })}, nil
}

func (l *countedLock) Close() error {
	l.once()
	return l.Closer.Close()
}

// lender is a store that must give everything back.
type lender struct {
	*store
	disk *countedFS
	runs []*inmem.Run
	// clockBroken lets the wall clock panic, once.
	clockBroken atomic.Bool
}

func newLender(t testing.TB) *lender {
	l := &lender{}
	mem := vfs.NewMem()
	l.disk = &countedFS{FS: mem}
	l.store = openStore(t, l.disk, "/store", func(o *inmem.Options) {
		o.Shards, o.SegmentSize, o.CheckpointBytes = 2, 4<<10, -1
		o.Now = func() time.Time {
			if l.clockBroken.CompareAndSwap(true, false) {
				panic(errDisk)
			}
			return time.UnixMilli(epoch)
		}
	})
	l.mem = mem
	l.runs = l.oneOfEach()
	for _, r := range l.runs {
		for i := range 60 {
			put(t, r, key(i), string(big(200)), kv.TTL(time.Hour))
		}
	}
	require.NoError(t, l.DB.Checkpoint(ctx))
	for _, r := range l.runs {
		put(t, r, "k", "v")
	}
	return l
}

// broken brings the store to its end by a failure, with callers at work.
func (l *lender) broken(how func()) {
	require.NoError(l.t, l.Flush(ctx))
	how()
	var callers sync.WaitGroup
	for i := range 40 {
		callers.Go(func() {
			for {
				_, err := l.runs[i%2].KV().Put(ctx, "k", nil)
				if i%10 == 0 {
					err = l.DB.Checkpoint(ctx)
				}
				if err != nil {
					assert.ErrorIs(l.t, err, errDisk)
					return
				}
			}
		})
	}
	callers.Wait()
	assert.ErrorIs(l.t, l.Close(), errDisk)
	l.mem.SetFault(nil)
}

// lendings are lives of a store that end in different ways, all of them with
// the store closed.
var lendings = map[string]func(l *lender){
	"closed": func(l *lender) { require.NoError(l.t, l.Close()) },
	"opened again": func(l *lender) {
		l.reopen()
		require.NoError(l.t, l.Close())
	},
	"full disk": func(l *lender) {
		l.mem.SetCapacity(1)
		assert.ErrorIs(l.t, l.DB.Checkpoint(ctx), inmem.ErrDiskFull)
		assert.ErrorIs(l.t, l.Close(), inmem.ErrDiskFull)
		l.mem.SetCapacity(0)
	},
	"failed write":  func(l *lender) { l.broken(func() { l.failing(vfs.Write) }) },
	"failed sync":   func(l *lender) { l.broken(func() { l.failing(vfs.Sync) }) },
	"failed rename": func(l *lender) { l.broken(func() { l.failing(vfs.Rename) }) },
	"failed create": func(l *lender) { l.broken(func() { l.failing(vfs.Create) }) },
	"panic":         func(l *lender) { l.broken(func() { l.clockBroken.Store(true) }) },
	"panic of the deadlines": func(l *lender) {
		l.clockBroken.Store(true)
		soon(l.t, "the panic", func() bool { return l.Flush(ctx) != nil })
		assert.ErrorIs(l.t, l.Close(), errDisk)
	},
	"loops that are left": func(l *lender) {
		for _, r := range l.runs {
			leave(l.t, func(c context.Context) iter.Seq2[kv.Item, error] { return r.KV().List(c, "") })
			leave(l.t, func(c context.Context) iter.Seq2[kv.Item, error] {
				return r.KV().Range(c, key(3), key(9), kv.Reverse())
			})
			leave(l.t, func(c context.Context) iter.Seq2[*inmem.Commit, error] { return r.History(c, 0) })
		}
		leave(l.t, func(c context.Context) iter.Seq2[*run.Info, error] { return l.Runs(c, run.Filter{}) })
		require.NoError(l.t, l.Close())
	},
	"calls that are given up": func(l *lender) {
		// The owner gets to where a full segment waits for its index. Up to two segments
		// of calls are answered before, and as many as there is room for are in his hands.
		resume := l.standstill(vfs.Write, ".wal")
		quitting, quit := context.WithCancel(ctx)
		given := startCalls(quitting, "given up", l.runs, mailboxRoom)
		stays := startCalls(ctx, "stays", l.runs, 2*mailboxRoom)
		soon(l.t, "full mailboxes", func() bool { return slices.Min(l.queues()) == mailboxRoom })
		quit()
		given.all.Wait()
		resume(nil)
		stays.answered(l.t, nil, "")
		require.NoError(l.t, l.Close())
	},
}

// leave leaves a loop in the middle, in every way there is.
func leave[T any](t testing.TB, loop func(context.Context) iter.Seq2[T, error]) {
	t.Helper()
	for _, err := range loop(ctx) {
		assert.NoError(t, err)
		break
	}
	func() {
		defer func() { assert.Equal(t, errDisk, recover()) }()
		for range loop(ctx) {
			panic(errDisk)
		}
	}()
	next, stop := iter.Pull2(loop(ctx))
	_, err, ok := next()
	assert.True(t, ok && err == nil, "%v", err)
	stop()
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	var last error
	for _, last = range loop(ending) {
		cancel()
	}
	assert.ErrorIs(t, last, context.Canceled)
}

// nothingLeft checks that everything was given back but what was there before.
func (d *countedFS) nothingLeft(t testing.TB, before goleak.Option) {
	t.Helper()
	assert.Zero(t, d.files.Load(), "open files")
	assert.Zero(t, d.locks.Load(), "locks")
	require.NoError(t, goleak.Find(before))
}

// However a store comes to its end, and whatever its callers left half done:
// once it is closed there is no goroutine, no open file and no lock of it.
func TestNothingIsLeftBehind(t *testing.T) {
	watchdog(t)
	for name, live := range lendings {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := newLender(t)
			live(l)
			l.disk.nothingLeft(t, before)
			l.open() // for the full check at the end
		})
	}
}

// interrupted is a disk with all that a store may have on it, as a process left
// it that was killed.
func interrupted(t *testing.T) *vfs.Mem {
	l := newLender(t)
	require.NoError(t, l.Flush(ctx))
	left := l.mem.Clone()
	require.NoError(t, l.Close())
	l.ended = true
	return left
}

// An Open that fails leaves no goroutine, no open file and no lock, whichever
// operation or read it was that failed.
func TestFailedOpensLeaveNothingBehind(t *testing.T) {
	watchdog(t)
	full := interrupted(t)
	before := goleak.IgnoreCurrent()
	for _, disk := range []struct {
		name  string
		mem   *vfs.Mem
		set   func(*vfs.Mem, func(vfs.Op) error)
		least int
	}{
		{"creation", vfs.NewMem(), (*vfs.Mem).SetFault, 15},
		{"recovery", full, (*vfs.Mem).SetFault, 5},
		{"reads", full, (*vfs.Mem).SetReadFault, 15},
	} {
		t.Run(disk.name, func(t *testing.T) {
			for n := 1; ; n++ {
				mem := disk.mem.Clone()
				fsys := &countedFS{FS: mem}
				var ops atomic.Int64
				disk.set(mem, func(vfs.Op) error {
					if int(ops.Add(1)) == n {
						return errDisk
					}
					return nil
				})
				db, err := inmem.Open("/store", &inmem.Options{FS: fsys, Shards: 2})
				if err == nil {
					disk.set(mem, nil)
					assert.Greater(t, n, disk.least)
					if err = db.Close(); err == nil {
						return
					}
				}
				// What is at work behind an Open that succeeded may have been faster.
				require.ErrorIs(t, err, errDisk)
				fsys.nothingLeft(t, before)
			}
		})
	}
}

// The same of an Open that is refused for what it finds.
func TestRefusedOpensLeaveNothingBehind(t *testing.T) {
	watchdog(t)
	full := interrupted(t)
	before := goleak.IgnoreCurrent()
	flip := func(suffix string) func(*vfs.Mem, *inmem.Options) {
		return func(m *vfs.Mem, _ *inmem.Options) {
			for _, name := range m.Files() {
				if strings.HasSuffix(name, suffix) {
					require.NoError(t, m.Flip(name, 8*20))
					return
				}
			}
			t.Errorf("there is no file %s", suffix)
		}
	}
	for name, c := range map[string]struct {
		spoil func(*vfs.Mem, *inmem.Options)
		want  error
	}{
		"manifest":   {flip("MANIFEST"), inmem.ErrCorrupt},
		"checkpoint": {flip(".ckpt"), inmem.ErrCorrupt},
		"log":        {flip(".wal"), inmem.ErrCorrupt},
		"shards":     {func(_ *vfs.Mem, o *inmem.Options) { o.Shards = 3 }, inmem.ErrShardCount},
		"option":     {func(_ *vfs.Mem, o *inmem.Options) { o.MaxKeySize = -1 }, inmem.ErrInvalidOption},
		"not a directory": {func(m *vfs.Mem, _ *inmem.Options) {
			require.NoError(t, m.Rename("/store", "/elsewhere"))
			require.NoError(t, m.WriteFile("/store", nil))
		}, inmem.ErrNotDirectory},
		"full disk": {func(m *vfs.Mem, _ *inmem.Options) {
			require.NoError(t, m.Rename("/store", "/elsewhere"))
			m.SetCapacity(1)
		}, inmem.ErrDiskFull},
	} {
		t.Run(name, func(t *testing.T) {
			mem := full.Clone()
			fsys := &countedFS{FS: mem}
			opts := inmem.Options{FS: fsys, Shards: 2}
			c.spoil(mem, &opts)
			_, err := inmem.Open("/store", &opts)
			require.ErrorIs(t, err, c.want)
			fsys.nothingLeft(t, before)
		})
	}
	t.Run("locked", func(t *testing.T) {
		l := newLender(t)
		// What the store itself has open changes in the background.
		fsys, opts, before := &countedFS{FS: l.mem}, l.opts, goleak.IgnoreCurrent()
		opts.FS = fsys
		_, err := inmem.Open(l.dir, &opts)
		require.ErrorIs(t, err, inmem.ErrLocked)
		fsys.nothingLeft(t, before)
	})
}

const leakProfile = "goroutineleak"

// blockedForEver is what the runtime knows of goroutines that nobody can wake:
// how many, and where they are.
func blockedForEver() (total int, text string, err error) {
	var out bytes.Buffer
	if err := pprof.Lookup(leakProfile).WriteTo(&out, 1); err != nil {
		return 0, "", err
	}
	_, err = fmt.Sscanf(out.String(), leakProfile+" profile: total %d", &total)
	return total, out.String(), err
}

// The program that shows TestNobodyIsBlockedForEver that its check can fail.
func init() {
	children["blocked for ever"] = func() {
		go func() { <-make(chan struct{}) }()
		for range patience { // until it waits
			if total, text, err := blockedForEver(); err != nil || total > 0 {
				fmt.Println(total, strings.Contains(text, "inmem_test"), err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// The runtime's own opinion on the same lives: no goroutine waits for something
// that nobody holds any more, be it the store's or one of its callers'.
func TestNobodyIsBlockedForEver(t *testing.T) {
	if pprof.Lookup(leakProfile) == nil {
		t.Skip("the profile " + leakProfile + " is not built in: run with GOEXPERIMENT=goroutineleakprofile")
	}
	watchdog(t)
	control := exec.Command(os.Args[0])
	control.Env = append(os.Environ(), "INMEM_TEST_CHILD=blocked for ever")
	said, err := control.Output()
	require.NoError(t, err)
	require.Equal(t, "1 true <nil>\n", string(said))
	for name, live := range lendings {
		t.Run(name, func(t *testing.T) {
			l := newLender(t)
			live(l)
			l.ended = true
			total, text, err := blockedForEver()
			require.NoError(t, err)
			require.Zero(t, total, text)
		})
	}
}
