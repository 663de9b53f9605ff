package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// disk is a file system under test and an empty directory of it.
type disk struct {
	FS
	dir string
}

func (d disk) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

func (d disk) open(t *testing.T, name string, flag int) File {
	t.Helper()
	f, err := d.OpenFile(d.path(name), flag, 0o644)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() }) // may be closed already
	return f
}

func (d disk) create(t *testing.T, name, data string) {
	t.Helper()
	f := d.open(t, name, os.O_RDWR|os.O_CREATE)
	_, err := f.WriteAt([]byte(data), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func (d disk) read(t *testing.T, name string) string {
	t.Helper()
	data, err := ReadFile(d, d.path(name), 1<<20)
	require.NoError(t, err)
	return string(data)
}

func (d disk) list(t *testing.T, name string) []string {
	t.Helper()
	entries, err := d.ReadDir(d.path(name))
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// conformance is what every file system does alike.
var conformance = map[string]func(*testing.T, disk){
	"open":           testOpen,
	"open refused":   testOpenRefused,
	"read and write": testReadWrite,
	"file refused":   testFileRefused,
	"truncate":       testTruncate,
	"allocate":       testAllocate,
	"remove":         testRemove,
	"rename":         testRename,
	"rename refused": testRenameRefused,
	"directories":    testDirectories,
	"unlinked":       testUnlinked,
	"lock":           testLock,
	"parallel":       testParallel,
	"write atomic":   testWriteFileAtomic,
	"read limited":   testReadFileLimit,
}

func TestConformance(t *testing.T) {
	for name, test := range conformance {
		t.Run("os/"+name, func(t *testing.T) { test(t, disk{OS, t.TempDir()}) })
		t.Run("mem/"+name, func(t *testing.T) {
			m := NewMem()
			require.NoError(t, m.MkdirAll("/some/dir", 0o755))
			test(t, disk{m, "/some/dir"})
		})
	}
}

func testOpen(t *testing.T, d disk) {
	f := d.open(t, "a", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	assert.Equal(t, d.path("a"), f.Name())
	_, err := f.WriteAt([]byte("text"), 0)
	require.NoError(t, err)
	assert.Equal(t, "text", d.read(t, "a"))
	d.open(t, "a", os.O_RDWR|os.O_CREATE)
	assert.Equal(t, "text", d.read(t, "a"))
	d.open(t, "a", os.O_WRONLY|os.O_TRUNC)
	assert.Empty(t, d.read(t, "a"))
}

func testOpenRefused(t *testing.T, d disk) {
	d.create(t, "a", "text")
	for _, c := range []struct {
		name string
		flag int
		want error
	}{
		{"missing", os.O_RDONLY, fs.ErrNotExist},
		{"missing/b", os.O_RDWR | os.O_CREATE, fs.ErrNotExist},
		{"a", os.O_RDWR | os.O_CREATE | os.O_EXCL, fs.ErrExist},
		{"a/b", os.O_RDWR | os.O_CREATE, syscall.ENOTDIR},
		{"a/b/c", os.O_RDONLY, syscall.ENOTDIR},
		{"", os.O_RDWR, syscall.EISDIR},
		{"a", os.O_RDWR | os.O_APPEND, syscall.EINVAL},
	} {
		_, err := d.OpenFile(d.path(c.name), c.flag, 0o644)
		assert.ErrorIs(t, err, c.want, c.name)
		var pathErr *fs.PathError
		if assert.ErrorAs(t, err, &pathErr, c.name) {
			assert.Equal(t, d.path(c.name), pathErr.Path)
		}
	}
}

func testReadWrite(t *testing.T, d disk) {
	f := d.open(t, "a", os.O_RDWR|os.O_CREATE)
	big := bytes.Repeat([]byte("0123456789abcde"), 1000) // crosses pages
	n, err := f.WriteAt(big, 5000)
	require.NoError(t, err)
	assert.Equal(t, len(big), n)
	size, err := f.Size()
	require.NoError(t, err)
	assert.EqualValues(t, 5000+len(big), size)

	got := make([]byte, len(big))
	n, err = f.ReadAt(got, 5000)
	assert.Equal(t, len(big), n)
	assert.True(t, err == nil || err == io.EOF)
	assert.Equal(t, big, got)
	_, err = f.ReadAt(got[:5000], 0)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 5000), got[:5000], "a hole reads as zeros")

	n, err = f.ReadAt(got, size-10)
	assert.Equal(t, 10, n)
	assert.ErrorIs(t, err, io.EOF)
	n, err = f.ReadAt(got, size+10)
	assert.Equal(t, 0, n)
	assert.ErrorIs(t, err, io.EOF)
	n, err = f.ReadAt(nil, 0)
	assert.Equal(t, 0, n)
	assert.NoError(t, err)
	n, err = f.WriteAt(nil, size+10)
	assert.Equal(t, 0, n)
	assert.NoError(t, err)
	size2, err := f.Size()
	require.NoError(t, err)
	assert.Equal(t, size, size2, "writing nothing changes nothing")
	require.NoError(t, f.Sync())
}

func testFileRefused(t *testing.T, d disk) {
	rw := d.open(t, "a", os.O_RDWR|os.O_CREATE)
	r, w := d.open(t, "a", os.O_RDONLY), d.open(t, "a", os.O_WRONLY)
	refused := func(err, want error) {
		t.Helper()
		assert.ErrorIs(t, err, want)
		var pathErr *fs.PathError
		assert.ErrorAs(t, err, &pathErr)
	}
	b := make([]byte, 1)
	_, err := r.WriteAt(b, 0)
	refused(err, syscall.EBADF)
	_, err = w.ReadAt(b, 0)
	refused(err, syscall.EBADF)
	_, err = rw.WriteAt(b, -1)
	assert.Error(t, err)
	_, err = rw.ReadAt(b, -1)
	assert.Error(t, err)
	assert.Error(t, r.Truncate(0))
	refused(r.Allocate(0, 1), syscall.EBADF)
	refused(rw.Truncate(-1), syscall.EINVAL)
	refused(rw.Allocate(-1, 1), syscall.EINVAL)
	refused(rw.Allocate(0, -1), syscall.EINVAL)
	require.NoError(t, r.Sync(), "a file may be synced by who only reads it")

	require.NoError(t, rw.Close())
	refused(rw.Close(), fs.ErrClosed)
	_, err = rw.WriteAt(b, 0)
	refused(err, fs.ErrClosed)
	_, err = rw.ReadAt(b, 0)
	refused(err, fs.ErrClosed)
	_, err = rw.Size()
	assert.Error(t, err)
	refused(rw.Sync(), fs.ErrClosed)
	refused(rw.Truncate(0), fs.ErrClosed)
	refused(rw.Allocate(0, 1), fs.ErrClosed)
}

func testTruncate(t *testing.T, d disk) {
	f := d.open(t, "a", os.O_RDWR|os.O_CREATE)
	_, err := f.WriteAt(bytes.Repeat([]byte{'x'}, 10000), 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(3))
	assert.Equal(t, "xxx", d.read(t, "a"))
	require.NoError(t, f.Truncate(3))
	require.NoError(t, f.Truncate(5000))
	assert.Equal(t, "xxx"+string(make([]byte, 4997)), d.read(t, "a"), "what was cut off does not come back")
	require.NoError(t, f.Truncate(0))
	assert.Empty(t, d.read(t, "a"))
}

func testAllocate(t *testing.T, d disk) {
	f := d.open(t, "a", os.O_RDWR|os.O_CREATE)
	_, err := f.WriteAt([]byte("text"), 2)
	require.NoError(t, err)
	require.NoError(t, f.Allocate(0, 10000))
	want := append([]byte("\x00\x00text"), make([]byte, 9994)...)
	assert.Equal(t, string(want), d.read(t, "a"))
	require.NoError(t, f.Allocate(4, 2), "it never makes a file smaller")
	require.NoError(t, f.Allocate(20000, 0), "nothing is not an extension")
	assert.Equal(t, string(want), d.read(t, "a"))
	require.NoError(t, f.Allocate(20000, 10))
	assert.Len(t, d.read(t, "a"), 20010)
}

func testRemove(t *testing.T, d disk) {
	d.create(t, "a", "")
	require.NoError(t, d.MkdirAll(d.path("d/e"), 0o755))
	require.NoError(t, d.Remove(d.path("a")))
	err := d.Remove(d.path("a"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	var pathErr *fs.PathError
	assert.ErrorAs(t, err, &pathErr)
	assert.ErrorIs(t, d.Remove(d.path("d")), syscall.ENOTEMPTY)
	require.NoError(t, d.Remove(d.path("d/e")))
	require.NoError(t, d.Remove(d.path("d")))
	assert.Empty(t, d.list(t, ""))
}

func testRename(t *testing.T, d disk) {
	d.create(t, "a", "A")
	d.create(t, "b", "B")
	require.NoError(t, d.Rename(d.path("a"), d.path("b")))
	assert.Equal(t, []string{"b"}, d.list(t, ""))
	assert.Equal(t, "A", d.read(t, "b"))
	require.NoError(t, d.Rename(d.path("b"), d.path("b")))
	require.NoError(t, d.MkdirAll(d.path("d"), 0o755))
	require.NoError(t, d.Rename(d.path("b"), d.path("d/c")))
	require.NoError(t, d.Rename(d.path("d"), d.path("e")))
	assert.Equal(t, []string{"e"}, d.list(t, ""))
	assert.Equal(t, "A", d.read(t, "e/c"))
}

func testRenameRefused(t *testing.T, d disk) {
	d.create(t, "a", "A")
	require.NoError(t, d.MkdirAll(d.path("d"), 0o755))
	require.NoError(t, d.MkdirAll(d.path("e"), 0o755))
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"missing", "b", fs.ErrNotExist},
		{"missing/b", "b", fs.ErrNotExist},
		{"a", "missing/b", fs.ErrNotExist},
		{"a", "d", fs.ErrExist},
		{"d", "e", fs.ErrExist},
		{"d", "a", syscall.ENOTDIR},
		{"a/b", "c", syscall.ENOTDIR},
	} {
		err := d.Rename(d.path(c.from), d.path(c.to))
		assert.ErrorIs(t, err, c.want, "%s to %s", c.from, c.to)
		var linkErr *os.LinkError
		if assert.ErrorAs(t, err, &linkErr) {
			assert.Equal(t, d.path(c.to), linkErr.New)
		}
	}
	assert.Equal(t, []string{"a", "d", "e"}, d.list(t, ""))
}

func testDirectories(t *testing.T, d disk) {
	require.NoError(t, d.MkdirAll(d.path("x/y/z"), 0o755))
	require.NoError(t, d.MkdirAll(d.path("x/y/z"), 0o755))
	d.create(t, "x/b", "12345")
	d.create(t, "x/a", "")
	assert.Equal(t, []string{"a", "b", "y"}, d.list(t, "x"))
	assert.ErrorIs(t, d.MkdirAll(d.path("x/a"), 0o755), syscall.ENOTDIR)
	assert.ErrorIs(t, d.MkdirAll(d.path("x/a/b"), 0o755), syscall.ENOTDIR)

	fi, err := d.Stat(d.path("x/b"))
	require.NoError(t, err)
	assert.Equal(t, "b", fi.Name())
	assert.EqualValues(t, 5, fi.Size())
	assert.True(t, fi.Mode().IsRegular())
	fi, err = d.Stat(d.path("x"))
	require.NoError(t, err)
	assert.True(t, fi.IsDir())
	_, err = d.Stat(d.path("no"))
	assert.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, d.SyncDir(d.path("x")))
	assert.ErrorIs(t, d.SyncDir(d.path("x/a")), syscall.ENOTDIR)
	assert.ErrorIs(t, d.SyncDir(d.path("no")), fs.ErrNotExist)
	_, err = d.ReadDir(d.path("x/a"))
	assert.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = d.ReadDir(d.path("no"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// An open file outlives its name.
func testUnlinked(t *testing.T, d disk) {
	f := d.open(t, "a", os.O_RDWR|os.O_CREATE)
	require.NoError(t, d.Remove(d.path("a")))
	_, err := f.WriteAt([]byte("text"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	b := make([]byte, 4)
	_, err = f.ReadAt(b, 0)
	assert.True(t, err == nil || err == io.EOF)
	assert.Equal(t, "text", string(b))
	assert.Empty(t, d.list(t, ""))
}

func testLock(t *testing.T, d disk) {
	name := d.path("LOCK")
	_, locked, err := d.Locked(name)
	require.NoError(t, err)
	assert.False(t, locked)
	assert.Empty(t, d.list(t, ""), "asking creates nothing")

	l, err := d.Lock(name, "process 7\n")
	require.NoError(t, err)
	assert.Equal(t, "process 7\n", d.read(t, "LOCK"))
	_, err = d.Lock(d.path(".", "LOCK"), "process 8")
	assert.ErrorIs(t, err, ErrLocked)
	var lockedErr *LockedError
	require.ErrorAs(t, err, &lockedErr)
	assert.Equal(t, LockedError{Name: name, Holder: "process 7"}, *lockedErr)
	assert.Contains(t, err.Error(), "locked by process 7")
	holder, locked, err := d.Locked(name)
	require.NoError(t, err)
	assert.True(t, locked)
	assert.Equal(t, "process 7", holder)

	require.NoError(t, l.Close())
	_, locked, err = d.Locked(name)
	require.NoError(t, err)
	assert.False(t, locked)
	l2, err := d.Lock(name, "")
	require.NoError(t, err)
	require.NoError(t, l.Close(), "closing again is no harm to the next holder")
	_, err = d.Lock(name, "")
	require.ErrorAs(t, err, &lockedErr)
	assert.Equal(t, unknownHolder, lockedErr.Holder)
	require.NoError(t, l2.Close())
	assert.Equal(t, []string{"LOCK"}, d.list(t, ""), "the file stays")

	_, err = d.Lock(d.path("no/LOCK"), "")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.False(t, errors.Is(err, ErrLocked))
}

func testParallel(t *testing.T, d disk) {
	f := d.open(t, "a", os.O_RDWR|os.O_CREATE)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				_, err := f.WriteAt([]byte{byte(i)}, int64(j*8+i))
				assert.NoError(t, err)
			}
			assert.NoError(t, f.Sync())
			assert.NoError(t, d.SyncDir(d.dir))
			_, err := d.ReadDir(d.dir)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Equal(t, string(bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 6, 7}, 20)), d.read(t, "a"))
}

func testWriteFileAtomic(t *testing.T, d disk) {
	name := d.path("a")
	d.create(t, "a.tmp", "left by a crash, and longer than what is to come")
	require.NoError(t, WriteFileAtomic(d, name, []byte("one")))
	require.NoError(t, WriteFileAtomic(d, name, []byte("two")))
	assert.Equal(t, "two", d.read(t, "a"))
	assert.Equal(t, []string{"a"}, d.list(t, ""))
	assert.ErrorIs(t, WriteFileAtomic(d, d.path("no/a"), nil), fs.ErrNotExist)
	require.NoError(t, d.MkdirAll(d.path("dir"), 0o755))
	assert.ErrorIs(t, WriteFileAtomic(d, d.path("dir"), nil), fs.ErrExist)
	assert.Equal(t, []string{"a", "dir"}, d.list(t, ""), "no temporary file stays behind")
}

func testReadFileLimit(t *testing.T, d disk) {
	d.create(t, "a", "12345")
	data, err := ReadFile(d, d.path("a"), 5)
	require.NoError(t, err)
	assert.Equal(t, "12345", string(data))
	_, err = ReadFile(d, d.path("a"), 4)
	var large *TooLargeError
	require.ErrorAs(t, err, &large)
	assert.Equal(t, TooLargeError{Name: d.path("a"), Size: 5, Max: 4}, *large)
	assert.Contains(t, err.Error(), "5 bytes, more than the limit of 4")
	_, err = ReadFile(d, d.path("no"), 5)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
