package indexfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/data/store"

// world is a store's directory, and the runs that there are.
type world struct {
	t    testing.TB
	disk *vfs.Mem
	*Files
	mu   sync.Mutex
	gone map[run.ID]bool
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, disk: vfs.NewMem(), gone: map[run.ID]bool{}}
	require.NoError(t, w.disk.MkdirAll(dir, 0o755))
	require.NoError(t, w.disk.SyncDir("/data"))
	require.NoError(t, w.disk.SyncDir("/"))
	w.open(false)
	return w
}

func (w *world) config(readOnly bool) Config {
	return Config{
		FS: w.disk, Dir: dir, Store: [16]byte{7}, ReadOnly: readOnly, Guard: func(fn func()) { fn() },
		Exists: func(id run.ID) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.gone[id]
		},
	}
}

func (w *world) open(readOnly bool) {
	if w.Files != nil {
		w.Close()
	}
	var err error
	w.Files, err = Open(w.config(readOnly))
	require.NoError(w.t, err)
	w.t.Cleanup(w.Files.Close)
}

func (w *world) delete(id run.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone[id] = true
}

func (w *world) save(id run.ID, collection string, body []byte) (int64, error) {
	return w.Save(id, collection, func(out io.Writer) error {
		for len(body) > 0 {
			n := min(len(body), 1000)
			if _, err := out.Write(body[:n]); err != nil {
				return err
			}
			body = body[n:]
		}
		return nil
	})
}

func (w *world) load(id run.ID, collection string) (body []byte, err error) {
	err = w.Load(id, collection, func(r io.Reader, size int64) error {
		body, err = io.ReadAll(r)
		require.EqualValues(w.t, size, len(body))
		return err
	})
	return body, err
}

// names returns the names of the files there are.
func (w *world) names() (list []string) {
	entries, err := w.disk.ReadDir(Dir(dir))
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(w.t, err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

var bodies = map[string][]byte{"small": []byte("body"), "empty": nil, "large": bytes.Repeat([]byte("0123456789"), 70_000)}

// TestKept: what was saved is loaded, by the one it is of, and again after an
// opening and a power cut.
func TestKept(t *testing.T) {
	w := newWorld(t)
	for round := range 2 {
		for name, body := range bodies {
			_, err := w.load(run.ID{1}, name)
			if round == 0 {
				require.ErrorIs(t, err, fs.ErrNotExist)
			}
			n, err := w.save(run.ID{1}, name, body)
			require.NoError(t, err)
			require.EqualValues(t, headerSize+len(name)+len(body)+trailerSize, n)
		}
	}
	same := func() {
		t.Helper()
		total := 0
		for name, body := range bodies {
			got, err := w.load(run.ID{1}, name)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got))
			total += headerSize + len(name) + len(body) + trailerSize
		}
		_, err := w.load(run.ID{2}, "small")
		require.ErrorIs(t, err, fs.ErrNotExist)
		files, size := w.Size()
		require.Equal(t, len(bodies), files)
		require.EqualValues(t, total, size)
	}
	same()
	w.open(true)
	same()
	n, err := w.save(run.ID{1}, "more", []byte("body"))
	require.NoError(t, err)
	require.Zero(t, n, "it is open for reading only")
	w.Remove(run.ID{1}, "small")
	w.Forget(run.ID{9})
	w.delete(run.ID{1})
	w.open(true)
	require.Len(t, w.names(), 3, "nor is anything removed")
	clear(w.gone)
	w.disk = w.disk.Crash(rand.New(rand.NewPCG(1, 1)))
	w.open(false)
	same()
	w.Files.Close()
	n, err = w.save(run.ID{1}, "more", nil)
	require.NoError(t, err)
	require.Zero(t, n, "it is closed")
	for _, c := range Check(w.disk, dir, [16]byte{7}) {
		require.NoError(t, c.Err)
		require.Contains(t, bodies, c.Collection)
		require.Equal(t, run.ID{1}, c.Run)
		require.EqualValues(t, headerSize+len(c.Collection)+len(bodies[c.Collection])+trailerSize, c.Bytes)
	}
}

// TestGone: files go with their collection, with their run, and at an opening those
// of runs that are gone and those that were not finished.
func TestGone(t *testing.T) {
	w := newWorld(t)
	for i := range byte(4) {
		for _, name := range []string{"a", "b"} {
			_, err := w.save(run.ID{i}, name, []byte("body"))
			require.NoError(t, err)
		}
	}
	require.Len(t, w.names(), 8)
	w.Remove(run.ID{0}, "a")
	w.Remove(run.ID{0}, "c")
	require.Len(t, w.names(), 7)
	w.delete(run.ID{1})
	w.Forget(run.ID{1})
	w.Forget(run.ID{1})
	w.work.Wait()
	require.Len(t, w.names(), 5)

	// A run that is deleted while its index is being saved.
	n, err := w.Save(run.ID{2}, "a", func(io.Writer) error {
		w.delete(run.ID{2})
		w.Forget(run.ID{2})
		return nil
	})
	require.NoError(t, err)
	require.Positive(t, n)
	w.work.Wait()
	require.Len(t, w.names(), 3)
	n, err = w.save(run.ID{2}, "a", nil)
	require.NoError(t, err)
	require.Zero(t, n)

	left := []string{nameOf(run.ID{3}, "c") + tmpSuffix, "notes.txt", "x-0123456789abcdef.index", "index", ".index.tmp"}
	for _, name := range left {
		require.NoError(t, vfs.WriteFileAtomic(w.disk, filepath.Join(Dir(dir), name), []byte("?")))
	}
	w.delete(run.ID{3})
	w.open(false)
	w.Files.Close()
	require.ElementsMatch(t, append(left[1:], nameOf(run.ID{0}, "b")), w.names())
	w.Forget(run.ID{0}) // nothing happens any more
	w.Remove(run.ID{0}, "b")
	require.Len(t, w.names(), 5)
}

// TestFaults: whatever goes wrong with the disk while an index is saved, the one
// before stays, or the new one is there.
func TestFaults(t *testing.T) {
	failed := errors.New("failed")
	for at := 0; ; at++ {
		w := newWorld(t)
		_, err := w.save(run.ID{1}, "a", []byte("old"))
		require.NoError(t, err)
		ops := 0
		w.disk.SetFault(func(vfs.Op) error {
			if ops++; ops-1 == at {
				return failed
			}
			return nil
		})
		_, err = w.save(run.ID{1}, "a", []byte("new"))
		w.disk.SetFault(nil)
		if ops <= at {
			require.NoError(t, err)
			require.GreaterOrEqual(t, at, 5)
			break
		}
		body, lerr := w.load(run.ID{1}, "a")
		require.NoError(t, lerr)
		if err != nil {
			require.ErrorIs(t, err, failed)
			require.Contains(t, []string{"old", "new"}, string(body))
		} else {
			require.Equal(t, "new", string(body))
		}
	}
	w := newWorld(t)
	w.disk.SetFault(func(vfs.Op) error { return failed })
	_, err := w.save(run.ID{1}, "a", nil)
	require.ErrorIs(t, err, failed)
	w.disk.SetFault(nil)
	_, err = w.Save(run.ID{1}, "a", func(io.Writer) error { return failed })
	require.ErrorIs(t, err, failed)
	require.Empty(t, w.names())
	_, err = w.save(run.ID{1}, "a", bodies["large"])
	require.NoError(t, err)
	require.ErrorIs(t, w.Load(run.ID{1}, "a", func(io.Reader, int64) error { return failed }), failed)
}

// TestDamage: no flipped bit and no cut is read, and Check says so.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	_, err := w.save(run.ID{1}, "notes", []byte("the body"))
	require.NoError(t, err)
	path := filepath.Join(Dir(dir), nameOf(run.ID{1}, "notes"))
	good, err := vfs.ReadFile(w.disk, path, 1<<20)
	require.NoError(t, err)
	refused := func(what string, data []byte) {
		require.NoError(t, vfs.WriteFileAtomic(w.disk, path, data))
		_, err := w.load(run.ID{1}, "notes")
		checked := Check(w.disk, dir, [16]byte{7})
		require.Len(t, checked, 1)
		require.Equal(t, err, checked[0].Err, what)
		var unsupported *op.UnsupportedError
		if !errors.As(err, &unsupported) {
			require.ErrorIs(t, err, op.ErrCorrupt, what)
		} else {
			require.NotEqual(t, good[8:12], data[8:12])
		}
	}
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		refused(fmt.Sprint("bit ", i), bad)
	}
	for n := range good {
		refused(fmt.Sprint(n, " bytes"), good[:n])
	}
	refused("longer", append(bytes.Clone(good), 0))
	for what, h := range map[string]header{
		"store": {store: [16]byte{8}, run: run.ID{1}, collection: "notes"},
		"run":   {store: [16]byte{7}, run: run.ID{2}, collection: "notes"},
		"name":  {store: [16]byte{7}, run: run.ID{1}, collection: "other"},
	} {
		require.NoError(t, w.disk.Remove(path))
		f := &Files{cfg: Config{FS: w.disk, Store: h.store}}
		_, err := f.write(path, h.run, h.collection, func(io.Writer) error { return nil })
		require.NoError(t, err)
		data, err := vfs.ReadFile(w.disk, path, 1<<20)
		require.NoError(t, err)
		refused(what, data)
	}
	require.NoError(t, vfs.WriteFileAtomic(w.disk, path, good))
	body, err := w.load(run.ID{1}, "notes")
	require.NoError(t, err)
	require.Equal(t, "the body", string(body))
}

// TestCheckCannotRead: Check says what keeps it from reading, but nothing of a
// store that has no such files.
func TestCheckCannotRead(t *testing.T) {
	require.Empty(t, Check(vfs.NewMem(), "nowhere", [16]byte{}))
	store := t.TempDir()
	require.NoError(t, os.WriteFile(Dir(store), nil, 0o600))
	list := Check(vfs.OS, store, [16]byte{})
	require.Len(t, list, 1)
	require.Error(t, list[0].Err)
	require.NoError(t, os.Remove(Dir(store)))
	require.NoError(t, os.MkdirAll(filepath.Join(Dir(store), nameOf(run.ID{1}, "a")), 0o755))
	list = Check(vfs.OS, store, [16]byte{})
	require.Len(t, list, 1)
	require.Error(t, list[0].Err)
	require.True(t, strings.HasSuffix(list[0].File, suffix))
}

// FuzzLoad: whatever a file has, it is refused, or is as it was saved.
func FuzzLoad(f *testing.F) {
	w := newWorld(f)
	_, err := w.save(run.ID{1}, "n", []byte("the body"))
	require.NoError(f, err)
	path := filepath.Join(Dir(dir), nameOf(run.ID{1}, "n"))
	good, err := vfs.ReadFile(w.disk, path, 1<<20)
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:headerSize+3])
	f.Fuzz(func(t *testing.T, data []byte) {
		w.t = t
		require.NoError(t, vfs.WriteFileAtomic(w.disk, path, data))
		body, err := w.load(run.ID{1}, "n")
		if err != nil {
			return
		}
		_, err = w.save(run.ID{1}, "n", body)
		require.NoError(t, err)
		again, err := vfs.ReadFile(w.disk, path, 1<<20)
		require.NoError(t, err)
		clear(again[14:16]) // which nobody looks at
		clear(data[14:16])
		require.Equal(t, data[:len(data)-trailerSize], again[:len(again)-trailerSize])
	})
}
