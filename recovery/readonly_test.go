package recovery

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/vfs"
)

// TestReadOnlyWhileTheStoreLives opens a store for reading only while it is
// created, written to, checkpointed, closed and opened again.
func TestReadOnlyWhileTheStoreLives(t *testing.T) {
	for shards := 1; shards <= 2; shards++ {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			tl := wholeLife(t, shards)
			none, found := 0, 0
			tl.journeys(t, 8000, func(v *traveller, from int) error {
				st, err := OpenReadOnly(config(v))
				if errors.Is(err, op.ErrNoStore) && len(tl.moments[from].acked) == 0 {
					none++
					return nil
				}
				if err != nil {
					return err
				}
				found++
				e := reader(st)
				if err := tl.seen(from, v.now, e.versions(), e.digests()); err != nil {
					return err
				}
				if found%5 == 0 {
					v.now = len(tl.moments) - 1
				}
				return e.histories()
			})
			t.Logf("%d moments, %d openings, %d before there was a store", len(tl.moments), found, none)
			require.Positive(t, none)
			require.Positive(t, found)
		})
	}
}

// TestCheckWhileTheStoreLives is the same for Check, which finds no problem at
// any time.
func TestCheckWhileTheStoreLives(t *testing.T) {
	tl := wholeLife(t, 2)
	compared := 0
	tl.journeys(t, 4000, func(v *traveller, from int) error {
		checked, err := Check(v, testDir)
		if errors.Is(err, op.ErrNoStore) && len(tl.moments[from].acked) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, s := range checked.Shards {
			compared += s.Compared
		}
		return errors.Join(checked.Problems...)
	})
	require.Positive(t, compared)
}

// TestDamageWhileTheStoreLives spoils the first commit, which the manifest knows
// to have been on the device: Check finds it, and where, and nothing else.
func TestDamageWhileTheStoreLives(t *testing.T) {
	tl := wholeLife(t, 1)
	name := Dir(testDir, 0) + "/0000000000000001.wal"
	for i := range tl.moments {
		files := tl.moments[i].files
		if f := files[name]; f != nil && len(f.Data) > 100 {
			b := append([]byte(nil), f.Data...)
			b[100] ^= 1
			tl.moments[i].files = maps.Clone(files)
			tl.moments[i].files[name] = &fstest.MapFile{Data: b}
		}
	}
	found := 0
	tl.journeys(t, 2000, func(v *traveller, from int) error {
		m, err := checkpoint.ReadManifest(&traveller{Mem: v.Mem, moments: tl.moments, now: from}, testDir)
		if err != nil || m.Shards[0].Synced == 0 {
			return nil // nobody knows the commit yet
		}
		found++
		checked, err := Check(v, testDir)
		if err != nil {
			return err
		}
		var corrupt *op.CorruptError
		if len(checked.Problems) != 1 || !errors.As(checked.Problems[0], &corrupt) || corrupt.File != name || corrupt.Offset != 64 {
			return fmt.Errorf("the problems are %q", checked.Problems)
		}
		return nil
	})
	require.Positive(t, found)
}

// TestReadAgain holds the loop over a store that changes to its bounds.
func TestReadAgain(t *testing.T) {
	for name, test := range map[string]struct {
		moves bool
		err   func(n int) error
		reads int
	}{
		"nothing wrong":              {true, func(int) error { return nil }, 1},
		"damage, the store stands":   {false, func(n int) error { return &op.CorruptError{Offset: int64(n)} }, 1},
		"damage, the store moves on": {true, func(int) error { return &op.CorruptError{} }, 2},
		"something else is wrong":    {true, func(n int) error { return &op.CorruptError{Offset: int64(n)} }, maxReadings},
		"it was because it moved on": {true, func(n int) error { return map[bool]error{n < 4: &op.CorruptError{Offset: int64(n)}}[true] }, 4},
		"the disk fails":             {true, func(int) error { return syscall.EIO }, 1},
		"the disk is full":           {true, func(int) error { return syscall.ENOSPC }, 1},
		"a shard in a joined error":  {true, func(int) error { return errors.Join(syscall.EIO, &op.CorruptError{}) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := closed(t)
			reads := 0
			err := settled(disk, testDir, func(_ vfs.FS, m *checkpoint.Manifest) error {
				reads++
				if test.moves {
					require.NoError(t, checkpoint.NewManifestFile(disk, testDir, m).Update(func(m *checkpoint.Manifest) { m.Time++ }))
				}
				return test.err(reads)
			})
			require.Equal(t, test.err(reads), err)
			require.Equal(t, test.reads, reads)
		})
	}
}

// TestReadOnlyOfEveryRow opens what a crash or damage left: the same as Open
// finds, in the same words where it is refused, and nothing is changed.
func TestReadOnlyOfEveryRow(t *testing.T) {
	for _, row := range Rows {
		t.Run(row.Finding, func(t *testing.T) {
			f := fixtures[row.Finding](t)
			before, ops := contents(t, f.disk), f.disk.Ops()
			cfg := config(f.disk)
			cfg.Shards = f.shards
			st, err := OpenReadOnly(cfg)
			require.Equal(t, before, contents(t, f.disk))
			require.Equal(t, ops, f.disk.Ops())
			switch {
			case row.Verdict == Created || row.Verdict == Recreated:
				require.ErrorIs(t, err, op.ErrNoStore)
				return
			case row.Verdict == Refused && f.shards == 0:
				_, openErr := Open(config(f.disk.Clone()))
				require.Error(t, openErr)
				require.EqualError(t, err, openErr.Error())
				require.Equal(t, errors.Is(openErr, op.ErrCorrupt), errors.Is(err, op.ErrCorrupt))
				return
			}
			require.NoError(t, err, "the number of shards is the store's")
			e := reader(st)
			require.NoError(t, e.histories())
			e2 := start(t, config(f.disk)) // beside it
			require.Equal(t, e2.digests(), e.digests())
			if f.shards == 0 {
				require.Equal(t, f.want, e.digests())
				require.Equal(t, row.Verdict, st.Report.Verdict)
			}
			require.Equal(t, e2.st.Report.Orphans, st.Report.Orphans)
			require.Equal(t, e2.st.Clock.Now(), st.Clock.Now())
			require.NoError(t, e2.work2())
			require.NoError(t, e2.stop())
			require.NoError(t, e.histories(), "after the next owner cut the torn tail and went on")
		})
	}
}

// work2 is some more work on a store that work left.
func (e *engine) work2() error { return errors.Join(e.fill(20, 24, 6), e.checkpoint()) }

// TestReadOnlyHolder: runs of a store that is open are nobody's orphans.
func TestReadOnlyHolder(t *testing.T) {
	disk := vfs.NewMem()
	e := start(t, config(disk))
	require.NoError(t, e.work())
	st, err := OpenReadOnly(config(disk))
	require.NoError(t, err)
	require.Equal(t, "a test", st.Report.Holder)
	require.Empty(t, st.Report.Orphans)
	require.Nil(t, st.Lock)
	require.Equal(t, e.digests(), reader(st).digests())
	require.NoError(t, e.stop())
	st, err = OpenReadOnly(config(disk))
	require.NoError(t, err)
	require.Empty(t, st.Report.Holder)
	require.Len(t, st.Report.Orphans, 8)
}

// TestReadOnlyReadFails lets each read fail once: an error that says so.
func TestReadOnlyReadFails(t *testing.T) {
	disk, want := killed(t)
	n := 1
	for ; ; n++ {
		count := 0
		var mu sync.Mutex
		disk.SetReadFault(func(vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == n {
				return syscall.EIO
			}
			return nil
		})
		handles := &counting{FS: disk}
		st, err := OpenReadOnly(config(handles))
		checked, checkErr := Check(handles, testDir)
		disk.SetReadFault(nil)
		closed := func() {
			if err == nil { // the files that runs are loaded from are open as long as the store
				require.NoError(t, st.Images.Close())
			}
			require.Zero(t, handles.open.Load())
		}
		require.NoError(t, checkErr)
		if count < n {
			require.NoError(t, err)
			require.Empty(t, checked.Problems)
			require.Equal(t, want, reader(st).digests())
			closed()
			break
		}
		closed()
		if err == nil {
			err = errors.Join(checked.Problems...)
		}
		require.ErrorIs(t, err, syscall.EIO)
		require.NotErrorIs(t, err, op.ErrCorrupt)
	}
	require.Greater(t, n, 30)
}

// TestReadOnlyWhereThereIsNone looks for a store in the wrong places.
func TestReadOnlyWhereThereIsNone(t *testing.T) {
	disk, _ := closed(t)
	ops := disk.Ops()
	for dir, want := range map[string]error{
		"elsewhere": op.ErrNoStore, "data": op.ErrNoStore, "data/none/at/all": op.ErrNoStore,
		manifestPath: op.ErrNotDirectory, manifestPath + "/below": op.ErrNotDirectory,
	} {
		cfg := config(disk)
		cfg.Dir = dir
		_, err := OpenReadOnly(cfg)
		require.ErrorIs(t, err, want, dir)
		require.ErrorContains(t, err, strings.Split(dir, "/")[0])
		_, err = Check(disk, dir)
		require.ErrorIs(t, err, want, dir)
		_, err = Backup(bg, disk, dir, "copy", "us")
		require.ErrorIs(t, err, want, dir)
	}
	require.Equal(t, ops, disk.Ops(), "the target of a copy, too, is left alone")
}

// TestReadersAreNotOvertaken takes checkpoints whenever a reader has come to a
// log, over and over: readers need but one moment of a store, not a quiet one.
func TestReadersAreNotOvertaken(t *testing.T) {
	disk := vfs.NewMem()
	cfg := config(disk)
	cfg.Shards = 12
	e := start(t, cfg)
	require.NoError(t, e.fill(0, 40, 2))
	require.NoError(t, e.checkpoint())
	var mu sync.Mutex
	taken := 0
	overtake := func(o vfs.Op) error {
		if !strings.HasSuffix(o.Name, "/0000000000000001.wal") || o.Offset > 0 || !mu.TryLock() {
			return nil
		}
		defer mu.Unlock()
		for n := range 40 {
			require.NoError(t, e.put(runID(n), "key 1", fmt.Sprint("value ", taken)))
		}
		taken++
		return e.checkpoint() // of all, so that nobody needs the files before
	}
	disk.SetReadFault(overtake)
	for what, read := range map[string]func() error{
		"open":   func() error { _, err := OpenReadOnly(cfg); return err },
		"check":  func() error { c, err := Check(disk, testDir); require.Empty(t, c.Problems); return err },
		"backup": func() error { _, err := backup(disk); return err },
	} {
		before := taken
		require.NoError(t, read(), what)
		require.Greater(t, taken, before, what)
	}
	disk.SetReadFault(nil)
	require.NoError(t, e.stop())
	t.Log(taken, "times overtaken")
}
