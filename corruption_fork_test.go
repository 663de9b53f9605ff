package inmem_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// forked is a store that was copied, and both went on: their files have the
// same identity, and here the same names and sizes too.
type forked struct {
	t     *testing.T
	opts  inmem.Options
	disks map[string]*vfs.Mem // by the letter that each wrote after the fork
}

var forkRun = run.Namespace{Tenant: "t"}.DeriveID("forked")

func newForked(t *testing.T) *forked {
	t.Helper()
	f := &forked{t: t, opts: idle(inmem.Options{Shards: 1, SegmentSize: 4 << 10, CheckpointBytes: -1, Now: scriptClock})}
	disk := vfs.NewMem()
	f.live(disk, "o", 30)
	f.disks = map[string]*vfs.Mem{"a": disk, "b": disk.Clone()}
	for letter, disk := range f.disks {
		f.live(disk, letter, 45)
	}
	return f
}

// live overwrites one key with a letter, over several segments. In a long life
// there is a checkpoint in between.
func (f *forked) live(disk *vfs.Mem, letter string, puts int) {
	f.t.Helper()
	opts := f.opts
	opts.FS = disk
	db, err := inmem.Open(storeDir, &opts)
	require.NoError(f.t, err)
	r, err := db.Run(forkRun)
	if err != nil {
		r, err = db.BeginRun(bg, run.Meta{ID: forkRun})
		require.NoError(f.t, err)
	}
	for i := range puts {
		put(f.t, r, "key", strings.Repeat(letter, 300))
		if puts > 30 && i == 15 {
			require.NoError(f.t, db.Checkpoint(bg))
		}
	}
	require.NoError(f.t, db.Close())
}

// mixed is store a with a file of store b.
func (f *forked) mixed(suffix string, i int) (disk *vfs.Mem, name string) {
	f.t.Helper()
	disk = f.disks["a"].Clone()
	name = filesLike(disk, 0, suffix)[i]
	b, err := f.disks["b"].ReadFile(name)
	require.NoError(f.t, err)
	require.NoError(f.t, disk.WriteFile(name, b))
	return disk, name
}

// letters opens a store and returns the letters of the key's values, first in
// its history, then now.
func (f *forked) letters(disk *vfs.Mem) (history, now string) {
	f.t.Helper()
	opts := f.opts
	opts.FS = disk
	db, err := inmem.Open(storeDir, &opts)
	require.NoError(f.t, err)
	for _, c := range historyOf(f.t, db, forkRun) {
		if v := string(c.Ops[0].Value); c.Version > 1 && !strings.HasSuffix(history, v[:1]) {
			history += v[:1]
		}
	}
	r, err := db.Run(forkRun)
	require.NoError(f.t, err)
	now = get(f.t, r, "key")[:1]
	require.NoError(f.t, db.Close())
	return history, now
}

// TestCorruptionOfTwoCopies mixes files of two copies of a store that both went
// on. Where they fit by their sequences nothing tells but the comparison of the
// checkpoint with the log, for what was there as of the checkpoint.
func TestCorruptionOfTwoCopies(t *testing.T) {
	f := newForked(t)
	for letter, disk := range f.disks {
		history, now := f.letters(disk.Clone())
		require.Equal(t, []string{"o" + letter, letter}, []string{history, now})
	}
	images := filesLike(f.disks["a"], 0, ".ckpt")
	require.Len(t, images, 1)
	for name, c := range map[string]struct {
		suffix       string
		i            int
		found        bool // by Check, in the checkpoint that does not agree with the log
		history, now string
	}{
		"a segment before the checkpoint": {".wal", 4, true, "oaba", "a"},
		"the checkpoint":                  {".ckpt", 0, true, "oa", "a"},
		"a segment overwritten before it": {".wal", 3, false, "oba", "a"},
		"a segment behind the checkpoint": {".wal", 5, false, "oaba", "a"},
		"the last segment":                {".wal", 7, false, "oab", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := f.mixed(c.suffix, c.i)
			checked, err := recovery.Check(disk, storeDir)
			require.NoError(t, err)
			if c.found {
				require.Len(t, checked.Problems, 1)
				requireOneOf(t, checked.Problems[0], name, []verdict{refusal(images[0], 64)})
			} else {
				require.Empty(t, checked.Problems)
			}
			history, now := f.letters(disk)
			require.Equal(t, []string{c.history, c.now}, []string{history, now})
		})
	}
}
