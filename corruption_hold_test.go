package inmem_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// patient is a sound store, of which damaged copies are held to their verdicts.
type patient struct {
	disk   *vfs.Mem
	opts   inmem.Options
	ledger *ledger
	*layout
	digests map[run.ID]map[int]inmem.Digest // by how many commits are left
	most    float64                         // the most that an opening allocated, as a part of its bound
}

func newPatient(t testing.TB, disk *vfs.Mem, l *ledger, opts inmem.Options) *patient {
	t.Helper()
	opts.Now = scriptClock
	return &patient{disk: disk, opts: opts, ledger: l, layout: layoutOf(t, disk), digests: map[run.ID]map[int]inmem.Digest{}}
}

// Bounds of what an opening may allocate: the store's bytes in memory, as they
// are read and as they are kept; and what an empty store takes.
const (
	allocatedPerByte  = 4
	allocatedPerShard = 64 << 10
	allocatedAlways   = 64 << 10
)

// allocated is the number of bytes that fn allocates, if nothing else is at work.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// open opens a damaged store, within the bound of memory.
func (p *patient) open(t testing.TB, disk *vfs.Mem, files map[string][]byte, what string) (db *inmem.DB, err error) {
	t.Helper()
	bound := p.bound(files)
	opts := p.opts
	opts.FS = disk
	n := allocated(func() { db, err = inmem.Open(storeDir, &opts) })
	require.LessOrEqual(t, n, bound, "%s: Open allocated too much", what)
	p.most = max(p.most, float64(n)/float64(bound))
	return db, err
}

// bound is what an opening of these files may allocate.
func (p *patient) bound(files map[string][]byte) uint64 {
	size := 0
	for _, b := range files {
		size += len(b)
	}
	return uint64(size*allocatedPerByte + p.shards*allocatedPerShard + allocatedAlways)
}

// hold wants Check and Open to say of a damaged disk what the verdicts say, and
// the store to be left as it is, or to have exactly what is left. No verdict
// means that nothing is wrong.
func (p *patient) hold(t testing.TB, disk *vfs.Mem, what string, want ...verdict) {
	t.Helper()
	what = fmt.Sprint(what, ": ", want)
	before := filesOf(t, disk, storeDir)
	checked, err := recovery.Check(disk, storeDir)
	require.NoError(t, err, what)
	p.problems(t, checked, what, want)
	db, err := p.open(t, disk, before, what)
	bad := only(want, refused)
	if len(bad) > 0 && (err != nil || !allLatent(bad)) {
		if !inImage(err, bad) {
			requireOneOf(t, err, what, bad)
		}
		require.True(t, equalFiles(before, filesOf(t, disk, storeDir)), "%s: a refused store was changed", what)
		return
	}
	require.NoError(t, err, what)
	defer func() { require.NoError(t, db.Close(), what) }()
	p.reported(t, db.Recovery(), checked, what, want)
	p.contents(t, db, p.kept(want...), bad, what)
}

// inImage reports whether an error is about an image in a file with bad ones. They
// are not read in the order of their places.
func inImage(err error, bad []verdict) bool {
	var corrupt *inmem.CorruptError
	return errors.As(err, &corrupt) && slices.ContainsFunc(bad, func(v verdict) bool {
		return v.latent && v.file == corrupt.File
	})
}

// allLatent reports whether there is damage in images alone, which is found when
// their runs are used, or when they are opened already.
func allLatent(bad []verdict) bool {
	return !slices.ContainsFunc(bad, func(v verdict) bool { return !v.latent })
}

// only returns the verdicts of some findings.
func only(list []verdict, findings ...finding) []verdict {
	return slices.DeleteFunc(slices.Clone(list), func(v verdict) bool { return !slices.Contains(findings, v.finding) })
}

// problems wants Check to find what is wrong, and nothing else.
func (p *patient) problems(t testing.TB, checked *recovery.Checked, what string, want []verdict) {
	t.Helper()
	bad := only(want, refused, onlyChecked)
	if len(bad) == 0 {
		require.Empty(t, checked.Problems, what)
		return
	}
	require.NotEmpty(t, checked.Problems, "%s: Check found nothing", what)
	for _, problem := range checked.Problems {
		if requireOneOf(t, problem, what, bad); bad[0].more {
			break
		}
	}
}

// requireOneOf wants an error to name file and offset as one of the verdicts does.
func requireOneOf(t testing.TB, err error, what string, want []verdict) {
	t.Helper()
	var corrupt *inmem.CorruptError
	require.ErrorAs(t, err, &corrupt, what)
	require.ErrorIs(t, err, inmem.ErrCorrupt, what)
	require.ErrorContains(t, err, corrupt.File, what)
	for _, v := range want {
		if v.file == corrupt.File && v.offset == corrupt.Offset {
			return
		}
	}
	require.Fail(t, "another file or offset", "%s: %v", what, err)
}

// reported wants the report of an opening to say what was lost, and Check to
// have known.
func (p *patient) reported(t testing.TB, report *inmem.RecoveryReport, checked *recovery.Checked, what string, want []verdict) {
	t.Helper()
	for i, s := range report.Shards {
		expected := recovery.ShardReport{Verdict: p.verdicts[i], Sequence: p.last[i]}
		damaged := false
		for _, v := range want {
			if v.shard != i {
				continue
			}
			damaged = damaged || v.finding == onlyChecked
			if v.resealed {
				expected.Resealed++
			}
			if v.finding == tornOff || v.finding == unseen {
				expected.Sequence, expected.Verdict = v.left, p.endsAt(v)
			}
			if v.finding == tornOff {
				expected.TornFile, expected.TornOffset, expected.TornBytes = v.file, v.offset, v.torn
			}
		}
		got := recovery.ShardReport{
			Verdict: s.Verdict, Sequence: s.Sequence, Resealed: s.Resealed,
			TornFile: s.TornFile, TornOffset: s.TornOffset, TornBytes: s.TornBytes,
		}
		require.Equal(t, expected, got, "%s: shard %d", what, i)
		if !damaged { // else Check did not come to the end of this log
			require.Equal(t, s.TornBytes, checked.Shards[i].TornBytes, what)
		}
	}
}

// endsAt is how the log ends whose end is lost.
func (p *patient) endsAt(v verdict) recovery.Verdict {
	if v.finding == tornOff {
		return recovery.Torn
	}
	s := p.segments[v.file]
	return s.ends(int(v.left - s.left(0)))
}

// contents wants each run to have its first commits, so many as are kept, and
// no other runs to be there. Runs whose images are damaged say so.
func (p *patient) contents(t testing.TB, db *inmem.DB, kept map[run.ID]int, bad []verdict, what string) {
	t.Helper()
	live := map[run.ID]bool{}
	for info, err := range db.Runs(bg, run.Filter{Spaces: true}) {
		require.NoError(t, err, what)
		live[info.ID] = true
	}
	for id, e := range p.ledger.runs {
		n := kept[id]
		r, err := db.Run(id)
		switch {
		case n == 0:
			require.ErrorIs(t, err, inmem.ErrRunNotFound, what)
			require.NotErrorIs(t, db.DeleteRun(bg, id), inmem.ErrRunDeleted, what)
			continue
		case e.history[n-1].Ops[0].Kind == op.Drop:
			require.ErrorIs(t, err, inmem.ErrRunNotFound, what)
			// Only a delete tells a run that was deleted from one that never was.
			require.ErrorIs(t, db.DeleteRun(bg, id), inmem.ErrRunDeleted, what)
			continue
		}
		require.NoError(t, err, what)
		info, err := r.Info()
		require.NoError(t, err, what)
		require.Equal(t, n, int(info.LastVersion), "%s: run %v", what, id)
		delete(live, id)
		digest, version, err := r.Digest()
		if inImage(err, bad) {
			continue
		}
		require.NoError(t, err, what)
		require.Equal(t, n, int(version), "%s: run %v", what, id)
		require.Equal(t, p.digestOf(e, n), digest, "%s: run %v has wrong contents", what, id)
	}
	require.Empty(t, live, "%s: nobody began these runs", what)
}

// digestOf is the digest of a run's first n commits.
func (p *patient) digestOf(e *entry, n int) inmem.Digest {
	known := p.digests[e.info.ID]
	if known == nil {
		known = map[int]inmem.Digest{}
		p.digests[e.info.ID] = known
	}
	if _, ok := known[n]; !ok {
		known[n] = newState(e.history[:n]).digest()
	}
	return known[n]
}

// damaged is a copy of the disk on which a file holds something else; nil = the
// file is gone.
func (p *patient) damaged(t testing.TB, name string, b []byte) *vfs.Mem {
	t.Helper()
	disk := p.disk.Clone()
	if b == nil {
		require.NoError(t, disk.Remove(name))
	} else {
		require.NoError(t, disk.WriteFile(name, b))
	}
	return disk
}

// damage gives files other contents of the same length, and says what must come
// of that.
func (p *patient) damage(t testing.TB, disk *vfs.Mem, bad map[string][]byte) (want []verdict) {
	t.Helper()
	for name, b := range bad {
		require.NoError(t, disk.WriteFile(name, b))
		want = append(want, p.judge(name, b))
	}
	return want
}

func gravest(list []verdict) (f finding) {
	for _, v := range list {
		f = max(f, v.finding)
	}
	return f
}

// names returns the files of the store, in order.
func (p *patient) names() []string {
	return slices.Sorted(maps.Keys(p.files))
}
