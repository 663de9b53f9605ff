package salvage_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/salvage"
	"inmem/vfs"
)

// damagedLife is a store whose salvage needs everything: commits before and
// behind images, runs that are deleted by a list, several segments.
func damagedLife(t *testing.T) *life {
	t.Helper()
	l := fullLife(t)
	for shard := range 2 {
		edit(t, l.disk, pick(t, l.disk, shard, ".wal")[0], func(b []byte) []byte {
			at := framesOf(b)
			clear(b[at[3]:at[4]])
			clear(b[at[20]:at[22]])
			return b
		})
	}
	return l
}

// TestCrash ends a salvage before each of its operations, by a kill and by
// power cuts. What is left is no store, unless it is all of it; the source is
// as it was.
func TestCrash(t *testing.T) {
	l := damagedLife(t)
	source := files(t, l.disk, from)
	dice := rand.New(rand.NewPCG(7, 7))
	var left []*vfs.Mem
	var mu sync.Mutex // the log seals its segments in the background
	disk := l.disk.Clone()
	disk.SetFault(func(vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		left = append(left, disk.Clone(), disk.Crash(dice), disk.Crash(dice), disk.CrashWith(dice, vfs.DropAll))
		return nil
	})
	report, err := salvage.Store(bg, config(disk))
	require.NoError(t, err)
	require.NotEmpty(t, report.Losses)
	require.Positive(t, report.Images)
	disk.SetFault(nil)
	left = append(left, disk.Clone(), disk.CrashWith(dice, vfs.DropAll))
	l.compare(left[len(left)-1].Clone(), report, "a salvage that ended is durable")
	complete, refused, nothing := 0, 0, 0
	for i, disk := range left {
		what := fmt.Sprint("crash ", i)
		require.Equal(t, source, files(t, disk, from), what)
		checked, err := recovery.Check(disk, to)
		if err == nil && len(checked.Problems) == 0 {
			l.compare(disk, report, what)
			complete++
			continue
		}
		unfinished := files(t, disk, to)
		db, err := inmem.Open(to, options(disk, 0))
		if err != nil {
			require.ErrorIs(t, err, inmem.ErrCorrupt, what)
			require.ErrorContains(t, err, "manifest is missing", what)
			refused++
			continue
		}
		// This is a new store: nothing of the other had been written.
		for name := range unfinished {
			require.Equal(t, "LOCK", filepath.Base(name), what)
		}
		require.Contains(t, []inmem.Verdict{recovery.Created, recovery.Recreated}, db.Recovery().Verdict, what)
		require.NoError(t, db.Close())
		nothing++
	}
	t.Logf("%d crashes: %d times all was there, %d times it was refused, %d times there was nothing", len(left), complete, refused, nothing)
	require.Positive(t, complete)
	require.Greater(t, refused, len(left)/2)
	require.Positive(t, nothing)
}

// TestFailures lets each operation fail once. The salvage fails with that, and
// leaves nothing.
func TestFailures(t *testing.T) {
	l := damagedLife(t)
	source := files(t, l.disk, from)
	broken := errors.New("broken")
	for n := 1; ; n++ {
		disk := l.disk.Clone()
		hit := ""
		disk.SetFault(func(o vfs.Op) error {
			if o.Index != n {
				return nil
			}
			hit = o.String()
			return broken
		})
		_, err := salvage.Store(bg, config(disk))
		if hit == "" {
			require.NoError(t, err)
			require.Greater(t, n, 40)
			return
		}
		require.ErrorIs(t, err, broken, hit)
		require.Equal(t, source, files(t, disk, from), hit)
		for name := range files(t, disk, to) {
			require.Equal(t, "LOCK", filepath.Base(name), hit)
		}
		disk.SetFault(nil)
		l.restore(disk, hit)
	}
}

// TestFullDisk gives a salvage ever more space, until it is enough.
func TestFullDisk(t *testing.T) {
	l := damagedLife(t)
	source := files(t, l.disk, from)
	size := int64(0)
	for _, b := range source {
		size += int64(len(b))
	}
	refused := 0
	for capacity := size; ; capacity += 1500 {
		disk := l.disk.Clone()
		disk.SetCapacity(capacity)
		report, err := salvage.Store(bg, config(disk))
		if err == nil {
			disk.SetCapacity(0)
			l.compare(disk, report)
			break
		}
		require.ErrorIs(t, err, op.ErrDiskFull)
		require.Equal(t, source, files(t, disk, from))
		refused++
		for name := range files(t, disk, to) {
			require.Equal(t, "LOCK", filepath.Base(name))
		}
		disk.SetCapacity(0)
		l.restore(disk)
	}
	require.Greater(t, refused, 5)
}

// TestSourceChanges: a source that somebody writes to meanwhile is noticed
// where it matters.
func TestSourceChanges(t *testing.T) {
	for want, change := range map[string]func(b []byte, at []int){
		"checksum":                  func(b []byte, at []int) { b[at[5]+40] ^= 1 },
		"changed while it was read": func(b []byte, at []int) { copy(b[at[5]:at[6]], b[at[6]:at[6]+at[6]-at[5]]) },
	} {
		t.Run(want, func(t *testing.T) {
			l := newLife(t, 1)
			l.begin(0)
			l.put(0, 9, 30)
			l.close()
			segment := pick(t, l.disk, 0, ".wal")[0]
			l.disk.SetFault(func(o vfs.Op) error {
				if o.Kind == vfs.Mkdir && o.Name == to { // it was read, and is going to be again
					edit(t, l.disk, segment, func(b []byte) []byte { change(b, framesOf(b)); return b })
				}
				return nil
			})
			_, err := salvage.Store(bg, config(l.disk))
			require.ErrorContains(t, err, want)
			for name := range files(t, l.disk, to) {
				require.Equal(t, "LOCK", filepath.Base(name))
			}
		})
	}
}
