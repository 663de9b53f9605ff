package salvage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/salvage"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

const (
	from     = "old/store"
	to       = "new/store"
	testTime = int64(1_800_000_000_000)
)

func clock() time.Time { return time.UnixMilli(testTime) }

// options open stores with small segments, in which nothing goes on by itself.
func options(disk vfs.FS, shards int) *inmem.Options {
	return &inmem.Options{
		FS: disk, Shards: shards, SegmentSize: 4 << 10, CheckpointBytes: -1, PruneInterval: -1,
		BatchInterval: 24 * time.Hour, BatchCommits: 1 << 30, Now: clock,
	}
}

func config(disk vfs.FS) salvage.Config {
	return salvage.Config{FS: disk, From: from, To: to, DefaultShards: 2, SegmentSize: 4 << 10, Holder: "a test", Wall: clock}
}

// life is a store, and what each of its runs was at each of its versions.
type life struct {
	t       testing.TB
	disk    *vfs.Mem
	db      *inmem.DB
	digests map[run.ID][]inmem.Digest // by version - 1; of a deleted run without the last
	deleted map[run.ID]bool
	forked  map[run.ID]uint64 // runs that begin with a later version than 1: with which
}

func newLife(t testing.TB, shards int) *life {
	t.Helper()
	l := &life{t: t, disk: vfs.NewMem(), digests: map[run.ID][]inmem.Digest{}, deleted: map[run.ID]bool{}, forked: map[run.ID]uint64{}}
	var err error
	l.db, err = inmem.Open(from, options(l.disk, shards))
	require.NoError(t, err)
	return l
}

func runID(n int) run.ID { return run.Namespace{Tenant: "test"}.DeriveID(fmt.Sprint(n)) }

func (l *life) begin(n int) *inmem.Run {
	l.t.Helper()
	r, err := l.db.BeginRun(bg, run.Meta{ID: runID(n), Name: fmt.Sprint("run ", n)})
	require.NoError(l.t, err)
	l.note(r)
	return r
}

// fork begins run n as a fork of another one, with the version that that has.
func (l *life) fork(n, of int) {
	l.t.Helper()
	r, err := l.db.Fork(bg, runID(of), 0, run.Meta{ID: runID(n)})
	require.NoError(l.t, err)
	_, version, err := r.Digest()
	require.NoError(l.t, err)
	l.forked[r.ID()] = version
	l.digests[r.ID()] = make([]inmem.Digest, version-1) // it never was at these
	l.note(r)
}

// note notes what the run is by now.
func (l *life) note(r *inmem.Run) {
	l.t.Helper()
	digest, version, err := r.Digest()
	require.NoError(l.t, err)
	require.Equal(l.t, len(l.digests[r.ID()])+1, int(version))
	l.digests[r.ID()] = append(l.digests[r.ID()], digest)
}

func (l *life) put(n, times, size int) {
	l.t.Helper()
	r, err := l.db.Run(runID(n))
	require.NoError(l.t, err)
	for i := range times {
		_, err := r.KV().Put(bg, fmt.Sprint("key ", i%7), []byte(strings.Repeat(fmt.Sprint(i), size)))
		require.NoError(l.t, err)
		l.note(r)
	}
}

func (l *life) drop(n int) {
	l.t.Helper()
	require.NoError(l.t, l.db.DeleteRun(bg, runID(n)))
	l.deleted[runID(n)] = true
}

func (l *life) checkpoint() { require.NoError(l.t, l.db.Checkpoint(bg)) }

func (l *life) close() *life {
	l.t.Helper()
	require.NoError(l.t, l.db.Close())
	return l
}

// fullLife is a store that has everything, closed: several segments in each of
// two shards, two checkpoints, deleted runs before and after them.
func fullLife(t testing.TB) *life {
	t.Helper()
	l := newLife(t, 2)
	for n := range 8 {
		l.begin(n)
		l.put(n, 6+n, 30)
	}
	l.drop(1)
	l.checkpoint()
	l.put(2, 9, 40)
	l.begin(8)
	l.put(8, 3, 200)
	l.drop(3)
	l.checkpoint()
	l.put(4, 20, 30)
	l.put(5, 2, 10)
	l.drop(6)
	return l.close()
}

// files returns all files of a directory of a disk.
func files(t testing.TB, disk *vfs.Mem, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range disk.Files() {
		if strings.HasPrefix(name, dir+"/") {
			b, err := disk.ReadFile(name)
			require.NoError(t, err)
			all[name] = b
		}
	}
	return all
}

// pick returns the files of a shard of the source with a suffix, in order.
func pick(t testing.TB, disk *vfs.Mem, shard int, suffix string) []string {
	t.Helper()
	var list []string
	for name := range files(t, disk, recovery.Dir(from, shard)) {
		if strings.HasSuffix(name, suffix) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	require.NotEmpty(t, list)
	return list
}

// edit changes a file of a disk.
func edit(t testing.TB, disk *vfs.Mem, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := disk.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, disk.WriteFile(name, change(b)))
}

// restore salvages what is on a disk, wants the source to stay as it is and the
// new store to be sound, and holds it against the life that the source had.
func (l *life) restore(disk *vfs.Mem, what ...any) *salvage.Report {
	l.t.Helper()
	before := files(l.t, disk, from)
	report, err := salvage.Store(bg, config(disk))
	require.NoError(l.t, err, what...)
	require.Equal(l.t, before, files(l.t, disk, from), what...)
	l.compare(disk, report, what...)
	return report
}

// compare holds a new store against the life of the old one.
func (l *life) compare(disk *vfs.Mem, report *salvage.Report, what ...any) {
	l.t.Helper()
	checked, err := recovery.Check(disk, to)
	require.NoError(l.t, err, what...)
	require.Empty(l.t, checked.Problems, what...)
	db, err := inmem.Open(to, options(disk, 0))
	require.NoError(l.t, err, what...)
	require.Equal(l.t, recovery.Clean, db.Recovery().Verdict)
	losses := map[run.ID]salvage.Loss{}
	for _, loss := range report.Losses {
		require.NotContains(l.t, losses, loss.Run)
		losses[loss.Run] = loss
	}
	runs := 0
	for info, err := range db.Runs(bg, run.Filter{Spaces: true}) {
		require.NoError(l.t, err)
		require.Contains(l.t, l.digests, info.ID, what...)
		runs++
	}
	require.Equal(l.t, runs, report.Runs, what...)
	for id := range l.digests {
		l.compareRun(db, id, report, losses[id], what...)
	}
	require.NoError(l.t, db.Close())
	checked, err = recovery.Check(disk, to)
	require.NoError(l.t, err, what...)
	require.Empty(l.t, checked.Problems, what...)
}

func (l *life) compareRun(db *inmem.DB, id run.ID, report *salvage.Report, loss salvage.Loss, what ...any) {
	l.t.Helper()
	what = []any{fmt.Sprintf("%v: run %v: %+v", what, id, report)}
	r, err := db.Run(id)
	last := uint64(len(l.digests[id]))
	if l.deleted[id] && err != nil {
		require.ErrorIs(l.t, err, inmem.ErrRunNotFound, what...)
		require.LessOrEqual(l.t, loss.Known, last+1, what...)
		if err := db.DeleteRun(bg, id); !errors.Is(err, inmem.ErrRunDeleted) {
			require.False(l.t, report.Complete(), what...)
		}
		return
	}
	if l.deleted[id] { // nothing is left that knows of it, but for the place of that commit
		require.False(l.t, report.Complete(), what...)
		last++
	}
	require.LessOrEqual(l.t, loss.Known, last, what...)
	if errors.Is(err, inmem.ErrRunNotFound) {
		require.Zero(l.t, loss.Kept, what...)
		require.False(l.t, report.Complete(), what...)
		return
	}
	require.NoError(l.t, err, what...)
	digest, version, err := r.Digest()
	require.NoError(l.t, err)
	require.Equal(l.t, l.digests[id][version-1], digest, what...)
	if version < last {
		require.False(l.t, report.Complete(), what...)
	}
	first, next := version+1, uint64(0)
	for c, err := range r.History(bg, 0) {
		require.NoError(l.t, err, what...)
		first = min(first, c.Version)
		if next != 0 {
			require.Equal(l.t, next, c.Version, what...)
		}
		next = c.Version + 1
	}
	require.True(l.t, next == version+1 || next == 0, what...)
	if loss.Known == 0 {
		require.Equal(l.t, max(l.forked[id], 1), first, what...)
		return
	}
	require.Equal(l.t, version, loss.Kept, what...)
	if next == 0 {
		first = 0
	}
	require.Equal(l.t, first, loss.From, what...)
}

// lossOf returns what the report says of a run.
func lossOf(report *salvage.Report, n int) *salvage.Loss {
	for i := range report.Losses {
		if report.Losses[i].Run == runID(n) {
			return &report.Losses[i]
		}
	}
	return nil
}

// damageOf returns what the report says of a file.
func damageOf(report *salvage.Report, file string) []salvage.Damage {
	var list []salvage.Damage
	for _, d := range report.Damage {
		if d.File == file {
			list = append(list, d)
		}
	}
	return list
}

// damagedFiles returns the names of the files that the report says are damaged.
func damagedFiles(report *salvage.Report) []string {
	names := map[string]bool{}
	for _, d := range report.Damage {
		names[filepath.Base(d.File)] = true
	}
	return slices.Sorted(maps.Keys(names))
}
