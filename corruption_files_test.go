package inmem_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// fullStore is a small store that has everything: two segments or more, a
// checkpoint with a deleted run, and a log after it.
func fullStore(t *testing.T, shards int) (*vfs.Mem, *ledger, inmem.Options) {
	t.Helper()
	opts := idle(inmem.Options{Shards: shards, SegmentSize: 4 << 10, CheckpointBytes: -1})
	disk, l := victimMaster(t, closedStore, opts, func(s *script) {
		a, b, c := s.begin(), s.begin(), s.begin()
		for i := range 9 {
			s.put(a, fmt.Sprint("a", i), "value", op.Default)
			s.put(b, "b", strings.Repeat("long ", 90), op.Default)
		}
		s.put(c, "c", "gone", op.Default)
		s.drop(c)
		must(s.db.Checkpoint(bg))
		s.put(a, "a2", "late", op.Default)
		s.del(b, "b", op.Default)
		s.end(b, run.Completed)
		s.close()
	})
	opts.Now = scriptClock
	return disk, l, opts
}

func fullVictim(t *testing.T, shards int) *victim {
	t.Helper()
	disk, l, opts := fullStore(t, shards)
	v := &victim{t: t, dir: t.TempDir(), opts: opts, ledger: l}
	pour(t, disk, v.dir)
	return v
}

// glob returns the files of a shard with a suffix, in order.
func (v *victim) glob(suffix string) []string {
	v.t.Helper()
	list, err := filepath.Glob(filepath.Join(recovery.Dir(v.dir, 0), "*"+suffix))
	require.NoError(v.t, err)
	require.NotEmpty(v.t, list)
	return list
}

func TestCorruptionMissingFiles(t *testing.T) {
	v := fullVictim(t, 1)
	files := slices.Concat(v.glob(".wal"), v.glob(".ckpt"), []string{filepath.Join(v.dir, "MANIFEST")})
	require.GreaterOrEqual(t, len(v.glob(".wal")), 2)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			v := fullVictim(t, 1)
			path := filepath.Join(v.dir, strings.TrimPrefix(path, filepath.Dir(filepath.Dir(path))))
			if filepath.Base(path) == "MANIFEST" {
				path = filepath.Join(v.dir, "MANIFEST")
			} else {
				path = filepath.Join(recovery.Dir(v.dir, 0), filepath.Base(path))
			}
			require.NoError(t, os.Remove(path))
			v.refused(path)
		})
	}
	t.Run("the shard's directory", func(t *testing.T) {
		v := fullVictim(t, 2)
		require.NoError(t, os.RemoveAll(recovery.Dir(v.dir, 1)))
		v.refused("")
	})
	t.Run("a file instead of the shard's directory", func(t *testing.T) {
		v := fullVictim(t, 2)
		require.NoError(t, os.RemoveAll(recovery.Dir(v.dir, 1)))
		v.write(recovery.Dir(v.dir, 1), []byte("x"))
		v.refused("")
	})
}

// refused wants damage, wherever it is found, and nothing changed. Where a file
// that is missing is only noticed by its absence the neighbour may be named.
func (v *victim) refused(file string) {
	v.t.Helper()
	before := filesOf(v.t, vfs.OS, v.dir)
	checked, err := inmem.Check(v.dir)
	require.NoError(v.t, err)
	require.NotEmpty(v.t, checked.Problems, "Check found nothing wrong")
	_, err = inmem.Open(v.dir, &v.opts)
	var corrupt *inmem.CorruptError
	require.ErrorAs(v.t, err, &corrupt)
	if file != "" {
		require.Equal(v.t, filepath.Dir(file), filepath.Dir(corrupt.File))
	}
	require.Equal(v.t, before, filesOf(v.t, vfs.OS, v.dir), "a refused store was changed")
}

func TestCorruptionForeignFiles(t *testing.T) {
	for _, suffix := range []string{".wal", ".ckpt", "MANIFEST"} {
		t.Run("of another store/"+suffix, func(t *testing.T) {
			v, other := fullVictim(t, 1), fullVictim(t, 1)
			if suffix == "MANIFEST" {
				v.write(filepath.Join(v.dir, suffix), v.read(filepath.Join(other.dir, suffix)))
				v.refused("")
				return
			}
			list, foreign := v.glob(suffix), other.glob(suffix)
			for i := range list {
				v.write(list[i], other.read(foreign[i]))
				v.refused(list[i])
				v = fullVictim(t, 1)
				list = v.glob(suffix)
			}
		})
	}
	t.Run("swapped segments", func(t *testing.T) {
		v := fullVictim(t, 1)
		list := v.glob(".wal")
		a, b := v.read(list[0]), v.read(list[1])
		v.write(list[0], b)
		v.write(list[1], a)
		v.damaged(list[0], 32)
	})
	t.Run("swapped shards", func(t *testing.T) {
		v := fullVictim(t, 2)
		zero, one := recovery.Dir(v.dir, 0), recovery.Dir(v.dir, 1)
		require.NoError(t, os.Rename(zero, zero+"x"))
		require.NoError(t, os.Rename(one, zero))
		require.NoError(t, os.Rename(zero+"x", one))
		v.refused("")
	})
}

// TestCorruptionNewerVersion gives each kind of file the format of a later
// program, with its checksum right.
func TestCorruptionNewerVersion(t *testing.T) {
	for _, suffix := range []string{".wal", ".ckpt", "MANIFEST"} {
		t.Run(suffix, func(t *testing.T) {
			v := fullVictim(t, 1)
			path := filepath.Join(v.dir, suffix)
			if suffix != "MANIFEST" {
				path = v.glob(suffix)[0]
			}
			b := v.read(path)
			binary.LittleEndian.PutUint32(b[8:], 7)
			end := 60
			if suffix == "MANIFEST" {
				end = len(b) - 4
			}
			binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)))
			v.write(path, b)
			before := filesOf(t, vfs.OS, v.dir)
			_, err := inmem.Open(v.dir, &v.opts)
			var unsupported *inmem.UnsupportedError
			require.ErrorAs(t, err, &unsupported)
			require.NotErrorIs(t, err, inmem.ErrCorrupt)
			require.Equal(t, path, unsupported.File)
			require.Equal(t, uint32(7), unsupported.Version)
			checked, err := inmem.Check(v.dir)
			require.NoError(t, err)
			require.ErrorAs(t, checked.Problems[0], &unsupported)
			require.Equal(t, before, filesOf(t, vfs.OS, v.dir))
		})
	}
}

// TestCorruptionHalfMadeFiles finds what a crash leaves of files that were not
// finished: they are nobody's, and are removed.
func TestCorruptionHalfMadeFiles(t *testing.T) {
	v := fullVictim(t, 1)
	dir := recovery.Dir(v.dir, 0)
	stray := []string{"00000000000000ff.wal.tmp", "00000000000000ff.ckpt.tmp", "00000000000000ee.ckpt"}
	for _, name := range stray {
		v.write(filepath.Join(dir, name), []byte("half"))
	}
	v.whole()
	for _, name := range stray {
		_, err := os.Stat(filepath.Join(dir, name))
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

// TestCorruptionEveryBit flips every bit of every file of a closed store. Each
// must be reported, by Open or where Open does not read by Check, or do no
// harm: then the store has exactly the right contents.
func TestCorruptionEveryBit(t *testing.T) {
	slowAndAlone(t)
	disk, l, opts := fullStore(t, 1)
	var refused, reported, harmless atomic.Int64
	type flip struct {
		file string
		bit  int64
	}
	work := make(chan flip, 64)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for f := range work {
				copied := disk.Clone()
				if !expectNoError(t, copied.Flip(f.file, f.bit)) {
					continue
				}
				switch flipped(t, copied, l, opts, fmt.Sprintf("%s bit %d", f.file, f.bit)) {
				case "refused":
					refused.Add(1)
				case "reported":
					reported.Add(1)
				default:
					harmless.Add(1)
				}
			}
		})
	}
	step := int64(1)
	if testing.Short() || raceEnabled {
		step = 13
	}
	total := int64(0)
	for _, file := range disk.Files() {
		if filepath.Base(file) == "LOCK" {
			continue
		}
		b, err := disk.ReadFile(file)
		require.NoError(t, err)
		for bit := int64(0); bit < int64(len(b))*8; bit += step {
			work <- flip{file, bit}
			total++
		}
	}
	close(work)
	workers.Wait()
	t.Logf("%d flips: Open refused %d, Check reported %d more, %d did no harm", total, refused.Load(), reported.Load(), harmless.Load())
	require.Equal(t, total, refused.Load()+reported.Load()+harmless.Load())
	// What may be flipped without any harm is derived from what is not flipped.
	require.Less(t, harmless.Load(), total/20)
}

func expectNoError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// flipped opens a store with one wrong bit and says what came of it. It runs
// beside others, so it must not end the test.
func flipped(t *testing.T, disk *vfs.Mem, l *ledger, opts inmem.Options, what string) string {
	opts.FS = disk
	before := filesOf(t, disk, storeDir)
	checked, err := recovery.Check(disk, storeDir)
	if err != nil {
		t.Errorf("%s: Check: %v", what, err)
		return ""
	}
	db, err := inmem.Open(storeDir, &opts)
	if err != nil {
		if !isAny(err, inmem.ErrCorrupt, inmem.ErrUnsupported) {
			t.Errorf("%s: Open: %v", what, err)
		}
		if len(checked.Problems) == 0 {
			t.Errorf("%s: Open says %v, but Check found nothing", what, err)
		}
		if !equalFiles(before, filesOf(t, disk, storeDir)) {
			t.Errorf("%s: a refused store was changed", what)
		}
		return "refused"
	}
	for id, e := range l.runs {
		why, damaged := differs(db, id, e)
		if why != "" && !(damaged && len(checked.Problems) > 0) {
			t.Errorf("%s: run %v: %s", what, id, why)
		}
	}
	if err := db.Close(); err != nil {
		t.Errorf("%s: Close: %v", what, err)
	}
	if len(checked.Problems) > 0 {
		return "reported"
	}
	return "harmless"
}

// differs says how a run is not as the ledger has it, and whether that is because
// its image is damaged.
func differs(db *inmem.DB, id run.ID, e *entry) (why string, damaged bool) {
	r, err := db.Run(id)
	if e.dropped {
		if !isAny(err, inmem.ErrRunNotFound) {
			return fmt.Sprint("it was deleted, but: ", err), false
		}
		return "", false
	}
	if err != nil {
		return err.Error(), false
	}
	want := newState(e.history)
	digest, version, err := r.Digest()
	if err != nil || version != want.version || digest != want.digest() {
		return fmt.Sprintf("it is at version %d with digest %v, not at %d with %v (%v)", version, digest, want.version, want.digest(), err), errors.Is(err, inmem.ErrCorrupt)
	}
	return "", false
}

func equalFiles(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}
