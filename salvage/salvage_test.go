package salvage_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/salvage"
	"inmem/vfs"
)

// A store that is sound comes out whole, as a store of its own, whatever the
// number of its shards.
func TestSound(t *testing.T) {
	l := fullLife(t)
	old, err := checkpoint.ReadManifest(l.disk, from)
	require.NoError(t, err)
	for _, shards := range []int{0, 1, 5} {
		disk := l.disk.Clone()
		cfg := config(disk)
		cfg.Shards = shards
		report, err := salvage.Store(bg, cfg)
		require.NoError(t, err)
		for name := range files(t, disk, to) {
			require.NotEqual(t, ".tmp", filepath.Ext(name))
		}
		l.compare(disk, report)
		require.True(t, report.Complete())
		require.Empty(t, report.Damage)
		require.Zero(t, report.Images)
		commits := 0
		for _, s := range report.Shards {
			commits += s.Commits
			require.Zero(t, s.Damaged)
			require.Positive(t, s.Segments)
			require.Equal(t, 2, s.Checkpoints)
		}
		require.Equal(t, report.Commits, uint64(commits))
		m, err := checkpoint.ReadManifest(disk, to)
		require.NoError(t, err)
		require.NotEqual(t, old.Store, m.Store)
		if shards == 0 {
			shards = 2
		}
		require.Len(t, m.Shards, shards)
		for _, s := range m.Shards {
			require.Equal(t, uint64(1), s.First)
			require.Zero(t, s.Checkpoint)
		}
	}
}

func TestEmptyStore(t *testing.T) {
	l := newLife(t, 3).close()
	report := l.restore(l.disk)
	require.True(t, report.Complete())
	require.Zero(t, report.Runs)
}

// A store whose process was killed comes out as Open would find it.
func TestKilled(t *testing.T) {
	l := newLife(t, 2)
	for n := range 4 {
		l.begin(n)
		l.put(n, 5, 30)
	}
	require.NoError(t, l.db.Flush(bg))
	l.put(0, 3, 30)
	killed := l.disk.Clone()
	l.close()
	require.True(t, l.restore(killed.Clone()).Complete())

	// The last write was cut short: nobody was promised it, and nothing says
	// that it was more than that.
	name := pick(t, killed, 0, ".wal")[0]
	edit(t, killed, name, func(b []byte) []byte {
		at := framesOf(b)
		return append(b[:at[len(at)-1]+5], 1, 2, 3)
	})
	report := l.restore(killed.Clone())
	require.True(t, report.Complete())
	require.Len(t, report.Damage, 1)
	require.Contains(t, report.Damage[0].String(), "cut short")

	// Without a manifest nobody knows.
	require.NoError(t, killed.Remove(from+"/MANIFEST"))
	require.False(t, l.restore(killed).Complete())
}

// Each file of a store is missing in turn.
func TestMissingFiles(t *testing.T) {
	l := fullLife(t)
	for name := range files(t, l.disk, from) {
		disk := l.disk.Clone()
		require.NoError(t, disk.Remove(name))
		report := l.restore(disk, name)
		switch base := filepath.Base(name); {
		case base == "LOCK", strings.HasSuffix(base, ".ckpt"), base == "MANIFEST":
			require.True(t, report.Complete(), name)
			require.Empty(t, report.Losses, name)
		default:
			require.False(t, report.Complete(), name)
			require.NotEmpty(t, report.Gaps, name)
			require.NotEmpty(t, report.Losses, name)
		}
	}
	t.Run("a whole shard", func(t *testing.T) {
		disk := l.disk.Clone()
		for name := range files(t, disk, recovery.Dir(from, 0)) {
			require.NoError(t, disk.Remove(name))
		}
		require.NoError(t, disk.Remove(recovery.Dir(from, 0)))
		report := l.restore(disk)
		require.Len(t, report.Gaps, 1)
		require.Equal(t, []int{0, 1}, []int{report.Shards[0].Number, report.Shards[1].Number})
		require.NotEmpty(t, damageOf(report, pick(t, l.disk, 0, ".ckpt")[1]))
	})
	t.Run("the logs", func(t *testing.T) {
		disk := l.disk.Clone()
		for shard := range 2 {
			for _, name := range pick(t, disk, shard, ".wal") {
				require.NoError(t, disk.Remove(name))
			}
		}
		report := l.restore(disk)
		require.Equal(t, report.Runs, report.Images)
		require.Zero(t, report.Commits)
		require.Equal(t, uint64(0), lossOf(report, 7).From)
	})
	t.Run("the logs and the manifest", func(t *testing.T) {
		disk := l.disk.Clone()
		require.NoError(t, disk.Remove(from+"/MANIFEST"))
		for shard := range 2 {
			for _, name := range pick(t, disk, shard, ".wal") {
				require.NoError(t, disk.Remove(name))
			}
		}
		require.Equal(t, 2, len(l.restore(disk).Gaps))
	})
	t.Run("logs without a manifest", func(t *testing.T) {
		disk := l.disk.Clone()
		require.NoError(t, disk.Remove(from+"/MANIFEST"))
		for shard := range 2 {
			for _, name := range pick(t, disk, shard, ".ckpt") {
				require.NoError(t, disk.Remove(name))
			}
		}
		require.True(t, l.restore(disk).Complete())
	})
}

// A segment with an index had a successor, whatever else is missing.
func TestMissingSuccessor(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 30, 300)
	l.close()
	require.NoError(t, l.disk.Remove(from+"/MANIFEST"))
	logs := pick(t, l.disk, 0, ".wal")
	for len(logs) > 1 {
		last := logs[len(logs)-1]
		logs = logs[:len(logs)-1]
		require.NoError(t, l.disk.Remove(last))
		report := l.restore(l.disk.Clone())
		require.False(t, report.Complete())
		require.Equal(t, []salvage.Damage{{File: last, Reason: "the segment is missing", Lost: true}}, damageOf(report, last))
	}
}

// The name of a segment says that there were others before it, even where
// there is nothing in it.
func TestNameOfASegment(t *testing.T) {
	l := oneRun(t, 40, false)
	require.NoError(t, l.disk.Remove(from+"/MANIFEST"))
	logs := pick(t, l.disk, 0, ".wal")
	for _, name := range logs[:len(logs)-1] {
		require.NoError(t, l.disk.Remove(name))
	}
	last := logs[len(logs)-1]
	require.NoError(t, l.disk.WriteFile(last, make([]byte, 5000)))
	report, err := salvage.Store(bg, config(l.disk))
	require.ErrorIs(t, err, salvage.ErrNothing)
	first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(last), ".wal"), 16, 64)
	require.NoError(t, err)
	require.Equal(t, []salvage.Gap{{Shard: 0, First: 1, Last: first - 1}}, report.Gaps)
}

// The clock of the new store does not go below anything in the old one.
func TestClock(t *testing.T) {
	l := fullLife(t)
	for name, gone := range map[string][]string{
		"whole": nil, "without a manifest": {from + "/MANIFEST"},
		"images": append(pick(t, l.disk, 0, ".wal"), append(pick(t, l.disk, 1, ".wal"), from+"/MANIFEST")...),
		"logs":   append(pick(t, l.disk, 0, ".ckpt"), append(pick(t, l.disk, 1, ".ckpt"), from+"/MANIFEST")...),
	} {
		disk := l.disk.Clone()
		for _, file := range gone {
			require.NoError(t, disk.Remove(file))
		}
		cfg := config(disk)
		cfg.Wall = func() time.Time { return clock().Add(-time.Hour) }
		_, err := salvage.Store(bg, cfg)
		require.NoError(t, err)
		m, err := checkpoint.ReadManifest(disk, to)
		require.NoError(t, err)
		require.Equal(t, testTime, m.Time, name)
		require.Equal(t, testTime, m.Created, name)
	}
}

// A file is cut off, at many lengths.
func TestTruncatedFiles(t *testing.T) {
	l := fullLife(t)
	step := 61
	if testing.Short() {
		step = 611
	}
	for name, b := range files(t, l.disk, from) {
		for n := 0; n < len(b); n += step {
			disk := l.disk.Clone()
			require.NoError(t, disk.WriteFile(name, b[:n]))
			what := fmt.Sprint(name, " cut to ", n)
			report := l.restore(disk, what)
			if filepath.Base(name) != "LOCK" && strings.HasSuffix(name, ".wal") && n < len(b)-400 {
				require.False(t, report.Complete(), what)
			}
		}
	}
}

// A store that was made with images is as good as any other: salvaged once
// more it comes out whole, though its log has not everything.
func TestTwice(t *testing.T) {
	l := fullLife(t)
	for shard := range 2 {
		edit(t, l.disk, pick(t, l.disk, shard, ".wal")[0], func(b []byte) []byte { clear(b[100:1500]); return b })
	}
	first := l.restore(l.disk)
	require.False(t, first.Complete())
	require.Positive(t, first.Images)
	cfg := config(l.disk)
	cfg.From, cfg.To = to, "third"
	second, err := salvage.Store(bg, cfg)
	require.NoError(t, err)
	require.True(t, second.Complete(), "%+v", second)
	require.Equal(t, []any{first.Runs, first.Keys, first.Commits, first.Images}, []any{second.Runs, second.Keys, second.Commits, second.Images})
	digests := func(dir string) map[run.ID]inmem.Digest {
		db, err := inmem.Open(dir, options(l.disk, 0))
		require.NoError(t, err)
		all := map[run.ID]inmem.Digest{}
		for info, err := range db.Runs(bg, run.Filter{}) {
			require.NoError(t, err)
			r, err := db.Run(info.ID)
			require.NoError(t, err)
			all[info.ID], _, err = r.Digest()
			require.NoError(t, err)
		}
		require.NoError(t, db.Close())
		return all
	}
	require.Equal(t, digests(to), digests("third"))

	// What is written to it stays, with a history that goes on.
	db, err := inmem.Open("third", options(l.disk, 0))
	require.NoError(t, err)
	r, err := db.Run(runID(0))
	require.NoError(t, err)
	_, before, err := r.Digest()
	require.NoError(t, err)
	_, err = r.KV().Put(bg, "more", nil)
	require.NoError(t, err)
	require.NoError(t, db.Checkpoint(bg))
	require.NoError(t, db.Close())
	db, err = inmem.Open("third", options(l.disk, 0))
	require.NoError(t, err)
	r, err = db.Run(runID(0))
	require.NoError(t, err)
	last := uint64(0)
	for c, err := range r.History(bg, 0) {
		require.NoError(t, err)
		last = c.Version
	}
	require.Equal(t, before+1, last)
	require.NoError(t, db.Close())
	checked, err := recovery.Check(l.disk, "third")
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

func TestNothing(t *testing.T) {
	l := fullLife(t)
	for name, spoil := range map[string]func(b []byte){
		"zeros": func(b []byte) { clear(b) },
		"text": func(b []byte) {
			for i := range b {
				b[i] = "no store "[i%9]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := l.disk.Clone()
			for file, b := range files(t, disk, from) {
				spoil(b)
				require.NoError(t, disk.WriteFile(file, b))
			}
			report, err := salvage.Store(bg, config(disk))
			require.ErrorIs(t, err, salvage.ErrNothing)
			require.NotEmpty(t, report.Damage)
			require.NotEmpty(t, report.Gaps, "the names say that there was something")
			require.Empty(t, files(t, disk, to))
		})
	}
	t.Run("all beginnings are gone", func(t *testing.T) {
		l := newLife(t, 1)
		l.begin(0)
		l.put(0, 5, 10)
		l.close()
		edit(t, l.disk, pick(t, l.disk, 0, ".wal")[0], func(b []byte) []byte { b[70] ^= 1; return b })
		report, err := salvage.Store(bg, config(l.disk))
		require.ErrorIs(t, err, salvage.ErrNothing)
		require.Equal(t, uint64(6), lossOf(report, 0).Known)
		require.Contains(t, lossOf(report, 0).String(), "lost, known up to version 6")
	})
}

// deaf is a disk on which some files cannot be opened.
type deaf struct {
	*vfs.Mem
	err   error
	names map[string]bool
}

func (d *deaf) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if d.names[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: d.err}
	}
	return d.Mem.OpenFile(name, flag, perm)
}

func (d *deaf) ReadDir(name string) ([]fs.DirEntry, error) {
	if d.names[name] {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: d.err}
	}
	return d.Mem.ReadDir(name)
}

// What cannot be opened is left out and reported, unless it is for want of
// permission: that can be helped.
func TestUnopenable(t *testing.T) {
	l := fullLife(t)
	list := []string{from + "/MANIFEST", recovery.Dir(from, 1), pick(t, l.disk, 0, ".wal")[1], pick(t, l.disk, 0, ".ckpt")[0]}
	for _, name := range list {
		disk := &deaf{Mem: l.disk.Clone(), err: errors.New("worn out"), names: map[string]bool{name: true}}
		report, err := salvage.Store(bg, config(disk))
		require.NoError(t, err, name)
		l.compare(disk.Mem, report)
		require.Contains(t, damageOf(report, name)[0].String(), "worn out")
		require.False(t, report.Complete())

		disk.err = fs.ErrPermission
		cfg := config(disk)
		cfg.To = "another"
		_, err = salvage.Store(bg, cfg)
		require.ErrorIs(t, err, fs.ErrPermission, name)
	}
}

// What the device cannot read is lost, and what is beside it is not.
func TestUnreadable(t *testing.T) {
	l := fullLife(t)
	worn := errors.New("worn out")
	spoil := func(name string, off int64) *vfs.Mem {
		disk := l.disk.Clone()
		disk.SetReadFault(func(o vfs.Op) error {
			if o.Name == name && o.Offset < off+1 && o.Offset+int64(o.Size) > off {
				return worn
			}
			return nil
		})
		return disk
	}
	salvaged := func(disk *vfs.Mem) *salvage.Report {
		report, err := salvage.Store(bg, config(disk))
		require.NoError(t, err)
		disk.SetReadFault(nil)
		l.compare(disk, report)
		return report
	}
	big := newLife(t, 1)
	big.begin(0)
	big.put(0, 1, 20000) // a commit of several sectors
	big.begin(1)
	big.put(1, 100, 20)
	big.close()
	l = big
	name := pick(t, l.disk, 0, ".wal")[1]
	report := salvaged(spoil(name, 9000))
	require.Equal(t, uint64(1), lossOf(report, 0).Kept)
	require.Nil(t, lossOf(report, 1))
	found := damageOf(report, name)
	require.Contains(t, found[len(found)-1].Reason, "worn out")
	require.Equal(t, []int64{8192, 4096}, []int64{found[len(found)-1].Offset, found[len(found)-1].Length})

	l = fullLife(t)
	report = salvaged(spoil(from+"/MANIFEST", 0))
	require.True(t, report.Complete())
	report = salvaged(spoil(pick(t, l.disk, 0, ".ckpt")[0], 0))
	require.True(t, report.Complete())
	logs := pick(t, l.disk, 1, ".wal")
	last := logs[len(logs)-1]
	report = salvaged(spoil(last, 0))
	require.False(t, report.Complete())
}

// A file of a newer format is no damage.
func TestNewerFormat(t *testing.T) {
	l := fullLife(t)
	for _, name := range []string{from + "/MANIFEST", pick(t, l.disk, 0, ".wal")[1], pick(t, l.disk, 1, ".ckpt")[0]} {
		disk := l.disk.Clone()
		edit(t, disk, name, newer)
		_, err := salvage.Store(bg, config(disk))
		require.ErrorIs(t, err, op.ErrUnsupported, name)
	}
}
