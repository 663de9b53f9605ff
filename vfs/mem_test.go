package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errInjected = errors.New("injected")

// memOpen opens a file of a Mem for reading and writing, created if missing.
func memOpen(t require.TestingT, m *Mem, name string) File {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	return f
}

func TestOpsAreCounted(t *testing.T) {
	m := NewMem()
	var ops []string
	m.SetFault(func(op Op) error {
		ops = append(ops, op.String())
		return nil
	})
	require.NoError(t, m.MkdirAll("/d/e", 0o755))
	f := memOpen(t, m, "/d/a")
	_, err := f.WriteAt([]byte("text"), 3)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(5))
	require.NoError(t, f.Allocate(2, 9))
	require.NoError(t, f.Sync())
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = m.OpenFile("/d/a", os.O_RDONLY, 0)
	require.NoError(t, err)
	_, err = m.Lock("/d/LOCK", "me")
	require.NoError(t, err)
	require.NoError(t, m.Rename("/d/a", "/d/b"))
	require.NoError(t, m.SyncDir("/d"))
	require.NoError(t, m.Remove("/d/b"))
	assert.Error(t, m.Remove("/d/b"))
	assert.Equal(t, []string{
		"#1 mkdir d/e [0,+0)",
		"#2 create d/a [0,+0)",
		"#3 write d/a [3,+4)",
		"#4 truncate d/a [5,+0)",
		"#5 allocate d/a [2,+9)",
		"#6 sync d/a [0,+0)",
		"#7 rename d/b [0,+0)",
		"#8 syncdir d [0,+0)",
		"#9 remove d/b [0,+0)",
		"#10 remove d/b [0,+0)",
	}, ops)
	assert.Equal(t, 10, m.Ops())
	assert.Equal(t, "opkind(77)", OpKind(77).String())
}

// Every operation can fail, and then has done nothing.
func TestFaults(t *testing.T) {
	m := NewMem()
	f := memOpen(t, m, "a")
	_, err := f.WriteAt([]byte("text"), 0)
	require.NoError(t, err)
	m.SetFault(func(Op) error { return errInjected })
	m.SetReadFault(func(op Op) error {
		assert.Equal(t, Op{Kind: Read, Name: "a", Offset: 1, Size: 2}, op)
		return errInjected
	})

	_, err = f.WriteAt([]byte("x"), 0)
	assert.Equal(t, errInjected, err)
	_, err = f.ReadAt(make([]byte, 2), 1)
	assert.Equal(t, errInjected, err)
	_, err = m.OpenFile("b", os.O_RDWR|os.O_CREATE, 0o644)
	assert.Equal(t, errInjected, err)
	_, err = m.OpenFile("a", os.O_RDWR|os.O_TRUNC, 0o644)
	assert.Equal(t, errInjected, err)
	for _, err := range []error{
		f.Truncate(0), f.Allocate(0, 10), f.Sync(),
		m.SyncDir("/"), m.Rename("a", "b"), m.Remove("a"), m.MkdirAll("d", 0o755),
	} {
		assert.Equal(t, errInjected, err)
	}
	assert.Equal(t, 12, m.Ops(), "those that fail count too")

	m.SetFault(nil)
	m.SetReadFault(nil)
	assert.Equal(t, []string{"a"}, m.Files())
	data, err := ReadFile(m, "a", 10)
	require.NoError(t, err)
	assert.Equal(t, "text", string(data))
	assert.Empty(t, m.CrashWith(rand.New(rand.NewPCG(1, 1)), DropAll).Files(), "a failed SyncDir synced nothing")
}

func TestShortWrite(t *testing.T) {
	m := NewMem()
	f := memOpen(t, m, "a")
	var fault ShortWrite
	m.SetFault(func(Op) error { return fault })
	for _, c := range []struct {
		fault ShortWrite
		n     int
		want  string
		err   error
	}{
		{ShortWrite{N: 2, Err: errInjected}, 2, "te", errInjected},
		{ShortWrite{N: 9}, 4, "text", io.ErrShortWrite},
		{ShortWrite{N: -1}, 0, "text", io.ErrShortWrite},
	} {
		fault = c.fault
		n, err := f.WriteAt([]byte("text"), 0)
		assert.Equal(t, c.n, n)
		assert.ErrorIs(t, err, c.err)
		got, err := m.ReadFile("a")
		require.NoError(t, err)
		assert.Equal(t, c.want, string(got))
	}
	fault = ShortWrite{N: 2, Err: errInjected}
	err := f.Sync()
	assert.ErrorIs(t, err, errInjected)
	assert.EqualError(t, err, "short write of 2 bytes: injected")
}

// A fault function may use the Mem it belongs to.
func TestCrashInsideFault(t *testing.T) {
	m := NewMem()
	var disks []*Mem
	m.SetFault(func(op Op) error {
		disks = append(disks, m.CrashWith(rand.New(rand.NewPCG(1, 2)), KeepAll), m.Clone())
		assert.Equal(t, op.Index, m.Ops())
		return nil
	})
	require.NoError(t, WriteFileAtomic(m, "a", []byte("text")))
	require.Len(t, disks, 2*m.Ops())
	var files [][]string
	for _, d := range disks {
		files = append(files, d.Files())
		assert.Zero(t, d.Ops())
	}
	tmp := []string{"a.tmp"} // before create, write, sync, rename, syncdir
	assert.Equal(t, [][]string{nil, nil, tmp, tmp, tmp, tmp, tmp, tmp, {"a"}, {"a"}}, files)
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(100)
	f := memOpen(t, m, "a")
	full := func(err error) {
		t.Helper()
		assert.True(t, IsNoSpace(err))
		assert.ErrorIs(t, err, syscall.ENOSPC)
		var pathErr *fs.PathError
		assert.ErrorAs(t, err, &pathErr)
	}
	write := func(n, off int64) error {
		_, err := f.WriteAt(make([]byte, n), off)
		return err
	}
	require.NoError(t, f.Allocate(0, 60))
	require.NoError(t, f.Truncate(1000), "a hole takes no room")
	full(f.Allocate(50, 51))
	full(write(41, 500))
	require.NoError(t, write(40, 500))
	require.NoError(t, write(60, 0), "what is allocated can be written")
	full(write(1, 60))
	require.NoError(t, f.Truncate(520))
	full(write(21, 100))
	require.NoError(t, write(20, 100))

	g := memOpen(t, m, "b")
	_, err := g.WriteAt([]byte("x"), 0)
	full(err)
	require.NoError(t, m.Remove("a"))
	_, err = g.WriteAt([]byte("x"), 0)
	full(err) // a is still open
	require.NoError(t, f.Close())
	_, err = g.WriteAt(make([]byte, 100), 0)
	require.NoError(t, err)
	h := memOpen(t, m, "c")
	_, err = h.WriteAt([]byte("x"), 0)
	full(err)
	require.NoError(t, g.Close())
	require.NoError(t, m.Rename("c", "b"), "a file that is replaced gives back its room")
	_, err = h.WriteAt(make([]byte, 100), 0)
	require.NoError(t, err)

	_, err = memOpen(t, m.Clone(), "d").WriteAt([]byte("x"), 0)
	full(err)
	m.SetCapacity(0)
	_, err = h.WriteAt(make([]byte, 1000), 0)
	require.NoError(t, err)
	_, err = h.WriteAt([]byte("x"), maxMemFile)
	assert.ErrorIs(t, err, syscall.EFBIG)
}

func TestAids(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.WriteFile("/d/e/a", []byte("longer text")))
	require.NoError(t, m.WriteFile("d/e/a", []byte("text")))
	memOpen(t, m, "/d/x")
	require.NoError(t, m.WriteFile("d-e", nil))
	assert.Equal(t, []string{"d-e", "d/e/a", "d/x"}, m.Files())

	after := m.CrashWith(rand.New(rand.NewPCG(1, 2)), DropAll)
	assert.Equal(t, []string{"d-e", "d/e/a"}, after.Files(), "written files are durable, others are not")
	got, err := after.ReadFile("/d/e/a")
	require.NoError(t, err)
	assert.Equal(t, "text", string(got))

	_, err = m.ReadFile("none")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = m.ReadFile("d")
	assert.ErrorIs(t, err, syscall.EISDIR)
	assert.ErrorIs(t, m.WriteFile("d", nil), syscall.EISDIR)
	assert.ErrorIs(t, m.WriteFile("d/x/y", nil), syscall.ENOTDIR)
	assert.ErrorIs(t, m.WriteFile("/", nil), syscall.EINVAL)
	assert.Zero(t, len(m.locks))
}

func TestFlip(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.WriteFile("a", []byte("aaaa")))
	before := m.Clone()
	f := memOpen(t, m, "a")
	_, err := f.WriteAt([]byte("b"), 3)
	require.NoError(t, err)
	require.NoError(t, m.Flip("a", 8+1))
	for _, loss := range []Loss{KeepAll, DropAll} {
		got, err := m.CrashWith(rand.New(rand.NewPCG(1, 2)), loss).ReadFile("a")
		require.NoError(t, err)
		assert.Equal(t, "aca", string(got[:3]))
	}
	got, err := before.ReadFile("a")
	require.NoError(t, err)
	assert.Equal(t, "aaaa", string(got))
	assert.Error(t, m.Flip("a", 32))
	assert.Error(t, m.Flip("a", -1))
	assert.ErrorIs(t, m.Flip("b", 0), fs.ErrNotExist)
}

func TestMemPaths(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.MkdirAll("/", 0o755))
	fi, err := m.Stat("/")
	require.NoError(t, err)
	assert.True(t, fi.IsDir())
	assert.True(t, fi.ModTime().IsZero())
	assert.Nil(t, fi.Sys())
	require.NoError(t, m.WriteFile("a/../b/./c", nil))
	assert.Equal(t, []string{"b/c"}, m.Files())
	_, err = m.OpenFile("/", os.O_RDWR, 0)
	assert.ErrorIs(t, err, syscall.EISDIR)
	_, err = m.OpenFile("b", os.O_RDWR, 0)
	assert.ErrorIs(t, err, syscall.EISDIR)
	assert.Error(t, m.Remove("/"))
	_, err = m.Lock("b", "")
	assert.ErrorIs(t, err, syscall.EISDIR)
	require.NoError(t, m.MkdirAll("d", 0o755))
	assert.ErrorIs(t, m.Rename("d", "b/d"), syscall.EXDEV)
	assert.ErrorIs(t, m.Rename("d", "b/c/d"), syscall.ENOTDIR)
}

// WriteFileAtomic reports the first error, whichever operation fails, and leaves
// the old contents or the new, also after a power loss.
func TestWriteFileAtomicFailures(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := 1; n <= 5; n++ {
		for range 50 {
			m := NewMem()
			require.NoError(t, m.WriteFile("d/a", []byte("old")))
			failed := false
			m.SetFault(func(op Op) error {
				if op.Index == n {
					failed = true
					return errInjected
				}
				return nil
			})
			assert.Equal(t, errInjected, WriteFileAtomic(m, "d/a", []byte("new")))
			assert.True(t, failed)
			for _, disk := range []*Mem{m, m.Clone(), m.Crash(rng)} {
				got, err := disk.ReadFile("d/a")
				require.NoError(t, err)
				assert.Contains(t, []string{"old", "new"}, string(got))
			}
			assert.Equal(t, []string{"d/a"}, m.Files())
		}
	}
}

func TestReadFileFails(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.WriteFile("a", []byte("text")))
	m.SetReadFault(func(Op) error { return errInjected })
	_, err := ReadFile(m, "a", 10)
	assert.ErrorIs(t, err, errInjected)
}

// The room in use is the room of all files, however it came about.
func TestUsedAddsUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	m := NewMem()
	for i := range 2000 {
		f := memOpen(t, m, fmt.Sprint(rng.IntN(5)))
		switch rng.IntN(4) {
		case 0:
			_, err := f.WriteAt(make([]byte, rng.IntN(9000)), rng.Int64N(9000))
			require.NoError(t, err)
		case 1:
			require.NoError(t, f.Truncate(rng.Int64N(9000)))
		case 2:
			require.NoError(t, f.Allocate(rng.Int64N(9000), rng.Int64N(9000)))
		case 3:
			require.NoError(t, m.Rename(f.Name(), fmt.Sprint(rng.IntN(5))))
		}
		require.NoError(t, f.Close())
		if i%100 == 99 {
			m = m.Crash(rng)
		}
		var sum int64
		for _, n := range m.root.dir.live {
			sum += n.file.live.allocated.total()
		}
		require.Equal(t, sum, m.used)
	}
}
