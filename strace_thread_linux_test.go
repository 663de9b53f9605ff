package inmem_test

import (
	"errors"
	"io"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"

	"inmem/vfs"
)

// startupCalls is more than any other thread makes of the calls that a program
// needs to start.
const (
	startupCalls = 64
	startupFile  = "/dev/zero"
)

// startup are the calls that a program needs to start.
var startup = []string{"openat", "pread64"}

// oneThread is the operating system's disk, but one thread makes all the calls:
// strace counts those of each thread apart, so that only of this one the n-th
// call means the store's n-th.
type oneThread struct{ calls chan func() }

// newOneThread returns the ID of the thread as well. Its first calls have nothing
// to do with the store, so that the numbers of the store's are beyond those that
// another thread gets to: what fails must not be the start of the program.
func newOneThread() (d *oneThread, thread int) {
	d = &oneThread{make(chan func())}
	threads := make(chan int)
	go d.serve(threads)
	thread = <-threads
	must(d.do(func() error {
		for range startupCalls {
			fd, err := unix.Open(startupFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			_, err = unix.Pread(fd, make([]byte, 1), 0)
			if err := errors.Join(err, unix.Close(fd)); err != nil {
				return err
			}
		}
		return nil
	}))
	return d, thread
}

// serve makes the calls, on any thread but the first, which has opened what the
// program needs to start.
func (d *oneThread) serve(threads chan<- int) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		go d.serve(threads) // not here: the lock on this thread is held
		select {}
	}
	threads <- unix.Gettid()
	for call := range d.calls {
		call()
	}
}

func (d *oneThread) do(call func() error) error {
	result := make(chan error)
	d.calls <- func() { result <- call() }
	return <-result
}

// ask is do for a call with a result.
func ask[T any](d *oneThread, call func() (T, error)) (result T, err error) {
	err = d.do(func() (err error) {
		result, err = call()
		return err
	})
	return result, err
}

func (d *oneThread) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := ask(d, func() (vfs.File, error) { return vfs.OS.OpenFile(name, flag, perm) })
	if err != nil {
		return nil, err
	}
	return &oneThreadFile{f, d}, nil
}

func (d *oneThread) Remove(name string) error {
	return d.do(func() error { return vfs.OS.Remove(name) })
}

func (d *oneThread) Rename(oldname, newname string) error {
	return d.do(func() error { return vfs.OS.Rename(oldname, newname) })
}

func (d *oneThread) MkdirAll(dir string, perm fs.FileMode) error {
	return d.do(func() error { return vfs.OS.MkdirAll(dir, perm) })
}

func (d *oneThread) ReadDir(dir string) ([]fs.DirEntry, error) {
	return ask(d, func() ([]fs.DirEntry, error) { return vfs.OS.ReadDir(dir) })
}

func (d *oneThread) Stat(name string) (fs.FileInfo, error) {
	return ask(d, func() (fs.FileInfo, error) { return vfs.OS.Stat(name) })
}

func (d *oneThread) SyncDir(dir string) error {
	return d.do(func() error { return vfs.OS.SyncDir(dir) })
}

func (d *oneThread) Lock(name, holder string) (io.Closer, error) {
	return ask(d, func() (io.Closer, error) { return vfs.OS.Lock(name, holder) })
}

func (d *oneThread) Locked(name string) (holder string, locked bool, err error) {
	err = d.do(func() (err error) {
		holder, locked, err = vfs.OS.Locked(name)
		return err
	})
	return holder, locked, err
}

type oneThreadFile struct {
	vfs.File // for its name
	disk     *oneThread
}

func (f *oneThreadFile) ReadAt(b []byte, off int64) (int, error) {
	return ask(f.disk, func() (int, error) { return f.File.ReadAt(b, off) })
}

func (f *oneThreadFile) WriteAt(b []byte, off int64) (int, error) {
	return ask(f.disk, func() (int, error) { return f.File.WriteAt(b, off) })
}

func (f *oneThreadFile) Close() error { return f.disk.do(f.File.Close) }

func (f *oneThreadFile) Sync() error { return f.disk.do(f.File.Sync) }

func (f *oneThreadFile) Truncate(size int64) error {
	return f.disk.do(func() error { return f.File.Truncate(size) })
}

func (f *oneThreadFile) Size() (int64, error) { return ask(f.disk, f.File.Size) }

func (f *oneThreadFile) Allocate(off, n int64) error {
	return f.disk.do(func() error { return f.File.Allocate(off, n) })
}
