package inmem_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/checkpoint"
	"inmem/recovery"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
)

// staleManifest says what must come of a manifest of an earlier moment: all is
// there, because the log is, as long as the checkpoint files are that it names.
func (s *swaps) staleManifest(disk *vfs.Mem) verdict {
	s.t.Helper()
	m, err := checkpoint.ReadManifest(disk, storeDir)
	require.NoError(s.t, err)
	for i, row := range m.Shards {
		if row.Checkpoint == 0 {
			continue
		}
		dir := recovery.Dir(storeDir, i)
		name := checkpoint.Name(dir, row.Checkpoint)
		if _, err := disk.ReadFile(name); err != nil {
			return refusal(name, 0).others()
		}
		files := checkpoint.OpenFiles(disk, dir, m.Store, uint32(i))
		x, err := files.Index(row.Checkpoint)
		require.NoError(s.t, err)
		require.NoError(s.t, files.Close())
		for k := range x.Entries {
			if _, err := disk.ReadFile(files.Name(&x.Entries[k])); err != nil {
				return refusal(files.Name(&x.Entries[k]), 0).others()
			}
		}
	}
	return verdict{}
}

// staleManifests puts back the manifest of each moment, with the checkpoint
// files that are gone since, and without.
func (s *swaps) staleManifests(chapters []chapter) {
	for _, m := range chapters {
		manifest, err := m.disk.ReadFile(manifestFile)
		require.NoError(s.t, err)
		back := func(disk *vfs.Mem) { s.put(disk, manifestFile, manifest) }
		without := s.disk.Clone()
		back(without)
		s.add("the manifest of: "+m.what, s.staleManifest(without), back)
		s.add("manifest and checkpoints of: "+m.what, verdict{}, func(disk *vfs.Mem) {
			back(disk)
			for name, b := range filesOf(s.t, m.disk, storeDir) {
				if filepath.Ext(name) == ".ckpt" && s.files[name] == nil {
					s.put(disk, name, b)
				}
			}
		})
	}
}

// staleCheckpoints puts back checkpoint files that are gone since: under their
// own names they are nobody's, under the newest one's they are not that.
func (s *swaps) staleCheckpoints(chapters []chapter) {
	for _, m := range chapters {
		for name, b := range filesOf(s.t, m.disk, storeDir) {
			if filepath.Ext(name) != ".ckpt" || s.files[name] != nil {
				continue
			}
			s.add(fmt.Sprint(name, " of: ", m.what), verdict{}, func(disk *vfs.Mem) { s.put(disk, name, b) })
			for _, now := range filesLike(s.disk, shardOf(name), ".ckpt") {
				s.add(fmt.Sprint(name, " of: ", m.what, " as ", now), refusal(now, notNamed),
					func(disk *vfs.Mem) { s.put(disk, now, b) })
			}
		}
	}
}

func shardOf(name string) (shard int) {
	_, err := fmt.Sscanf(filepath.Base(filepath.Dir(name)), "shard-%d", &shard)
	must(err)
	return shard
}

// staleSegments puts back each segment as it was at each moment.
func (s *swaps) staleSegments(chapters []chapter) {
	for _, m := range chapters {
		then := layoutOf(s.t, m.disk)
		for name, p := range s.segments {
			b := then.files[name]
			if b == nil || bytes.Equal(b, s.files[name]) {
				continue
			}
			s.add(fmt.Sprint(name, " of: ", m.what), p.staler(then.segments[name]),
				func(disk *vfs.Mem) { s.put(disk, name, b) })
		}
	}
}

// staler says what must come of an earlier state of the segment.
func (s *segmentPart) staler(then *segmentPart) verdict {
	last := then.left(len(then.frames))
	switch {
	case !s.newest && then.end == s.end:
		return verdict{resealed: true, shard: s.shard} // it had no index yet
	case then.end == s.end:
		return verdict{} // with space reserved ahead
	case !s.newest || last < s.vouched:
		return refusal(s.name, then.end)
	}
	return verdict{finding: unseen, file: s.name, offset: then.end, shard: s.shard, left: last}
}

// TestCorruptionStale puts earlier states of a store's files back, one kind at
// a time. What is refused and what cannot be noticed is in docs/guarantees.md.
func TestCorruptionStale(t *testing.T) {
	for _, ending := range endings {
		t.Run(ending, func(t *testing.T) {
			life := newStory(t, 2, modeOf(ending))
			p := life.patient(ending)
			s := &swaps{t: t, patient: p}
			i := slices.IndexFunc(life.chapters, func(m chapter) bool { return m.disk == p.disk })
			s.staleManifests(life.chapters[:i])
			s.staleCheckpoints(life.chapters[:i])
			s.staleSegments(life.chapters[:i])
			found := map[finding]int{}
			for _, c := range s.list {
				p.hold(t, c.disk, c.what, c.want)
				found[c.want.finding]++
			}
			t.Logf("%d stale files: %v; at most %.2f of the bound allocated", len(s.list), found, p.most)
			require.Equal(t, ending != closedStore, found[unseen] > 0)
			require.NotZero(t, found[refused])
			require.NotZero(t, found[harmless])
		})
	}
}

// TestCorruptionRolledBack puts a whole store back as it was at each moment:
// nothing tells, and exactly that moment is there. Of one shard alone it is
// noticed as far as the manifest vouches for more.
func TestCorruptionRolledBack(t *testing.T) {
	life := newStory(t, 2, inmem.Batched)
	for i, m := range life.chapters {
		whole := newPatient(t, m.disk, life.ledger, life.opts)
		for id, n := range whole.kept() {
			require.Equal(t, int(m.acked[id]), n, m.what)
		}
		whole.hold(t, m.disk.Clone(), "all of: "+m.what)
		for k, now := range life.chapters[i+1:] {
			p := newPatient(t, now.disk, life.ledger, life.opts)
			disk := now.disk.Clone()
			replaceShard(t, disk, m.disk, 1)
			p.hold(t, disk, fmt.Sprint("shard 1 of: ", m.what, ", in: ", life.chapters[i+1+k].what), p.shardBack(whole.layout, 1))
		}
	}
}

// replaceShard gives a shard the files that it has on another disk.
func replaceShard(t testing.TB, disk, from *vfs.Mem, shard int) {
	t.Helper()
	for _, name := range disk.Files() {
		if filepath.Dir(name) == recovery.Dir(storeDir, shard) {
			require.NoError(t, disk.Remove(name))
		}
	}
	for name, b := range filesOf(t, from, recovery.Dir(storeDir, shard)) {
		require.NoError(t, disk.WriteFile(name, b))
	}
}

// newest is the segment of a shard that is appended to.
func (l *layout) newest(shard int) *segmentPart {
	for _, p := range l.segments {
		if p.shard == shard && p.newest {
			return p
		}
	}
	return nil
}

// shardBack says what must come of a shard whose files are all as they were
// earlier.
func (l *layout) shardBack(then *layout, shard int) verdict {
	for name, p := range l.images {
		if shardOf(name) == shard && p.newest && then.files[name] == nil {
			return refusal(name, 0).others()
		}
	}
	last := then.newest(shard)
	now := l.segments[last.name]
	sequence := last.left(len(last.frames))
	switch {
	case sequence == l.last[shard]:
		return verdict{}
	case sequence < now.vouched:
		return refusal(last.name, last.end)
	}
	return verdict{finding: unseen, file: last.name, offset: last.end, shard: shard, left: sequence}
}

// TestCorruptionCopiedOver puts an earlier copy of a store back without first
// removing what is there, at each moment. Where the log has begun another
// segment since, the one before is too short for it; where it has not, nothing
// tells.
func TestCorruptionCopiedOver(t *testing.T) {
	life := newStory(t, 2, inmem.Batched)
	p := life.patient(closedStore)
	found := map[finding]int{}
	for _, m := range life.chapters[:len(life.chapters)-1] {
		disk := p.disk.Clone()
		then := layoutOf(t, m.disk)
		for name, b := range then.files {
			require.NoError(t, disk.WriteFile(name, b))
		}
		want, kept := verdict{}, p.kept()
		for i := range p.shards {
			last := then.newest(i)
			switch now := p.segments[last.name]; {
			case now.newest: // and the manifest is of that moment too
				want.finding = max(want.finding, unseen)
				for id, n := range then.kept() {
					if shard.Place(id, p.shards) == i {
						kept[id] = n
					}
				}
			case last.end != now.end && want.finding != refused:
				want = refusal(last.name, last.end).others()
			}
		}
		found[want.finding]++
		if what := "copied over it: " + m.what; want.finding == refused {
			p.hold(t, disk, what, want)
		} else {
			p.holds(t, disk, kept, what)
		}
	}
	t.Logf("%v", found)
	require.NotZero(t, found[refused])
	require.NotZero(t, found[unseen])
}

// holds wants a store to be sound and to have just these commits.
func (p *patient) holds(t testing.TB, disk *vfs.Mem, kept map[run.ID]int, what string) {
	t.Helper()
	checked, err := recovery.Check(disk, storeDir)
	require.NoError(t, err, what)
	require.Empty(t, checked.Problems, what)
	db, err := p.open(t, disk, filesOf(t, disk, storeDir), what)
	require.NoError(t, err, what)
	p.contents(t, db, kept, nil, what)
	require.NoError(t, db.Close(), what)
}
