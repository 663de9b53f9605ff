package inmem_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/checkpoint"
	"inmem/recovery"
	"inmem/vfs"
)

// Where an error of a header is that is whole, but not the one that belongs here.
const (
	notOurs  = 12 // of another store or shard
	notNamed = 32 // under another name
)

// swap is a copy of a store with files exchanged, missing or too many, and what
// must come of it.
type swap struct {
	what string
	disk *vfs.Mem
	want verdict
}

// swaps builds a list of swaps.
type swaps struct {
	t testing.TB
	*patient
	list []swap
}

// add copies the store, changes the copy and says what must come of it.
func (s *swaps) add(what string, want verdict, change func(disk *vfs.Mem)) {
	disk := s.disk.Clone()
	change(disk)
	s.list = append(s.list, swap{what, disk, want})
}

func (s *swaps) put(disk *vfs.Mem, name string, b []byte) {
	s.t.Helper()
	require.NoError(s.t, disk.WriteFile(name, b))
}

func (s *swaps) remove(disk *vfs.Mem, name string) {
	s.t.Helper()
	require.NoError(s.t, disk.Remove(name))
}

// exchange lets two files have each other's contents.
func (s *swaps) exchange(a, b string, want verdict) {
	s.add(fmt.Sprint(a, " and ", b, " exchanged"), want.others(), func(disk *vfs.Mem) {
		s.put(disk, a, s.files[b])
		s.put(disk, b, s.files[a])
	})
}

func (s *swaps) segmentsIn(shard int) []string { return filesLike(s.disk, shard, ".wal") }

// imagesIn returns the checkpoint files of a shard that have images or an index
// which count, the newest first.
func (s *swaps) imagesIn(shard int) []string {
	list := filesLike(s.disk, shard, ".ckpt")
	slices.Reverse(list)
	require.True(s.t, s.images[list[0]].newest)
	return list
}

func segmentName(shard int, first uint64) string {
	return filepath.Join(recovery.Dir(storeDir, shard), fmt.Sprintf("%016x.wal", first))
}

// exchanged has the contents of two files exchanged, or their names.
func (s *swaps) exchanged() {
	for i := range s.shards {
		seg, img := s.segmentsIn(i), s.imagesIn(i)
		for k := range seg {
			for n := range k {
				s.exchange(seg[n], seg[k], refusal(seg[n], notNamed))
			}
		}
		s.exchange(img[1], img[0], refusal(img[0], notNamed))
		s.exchange(img[0], seg[0], refusal(img[0], 0))
	}
	s.exchange(manifestFile, s.segmentsIn(0)[0], refusal(manifestFile, 0))
	for _, a := range s.segmentsIn(0) {
		for _, b := range s.segmentsIn(1) {
			s.exchange(a, b, refusal(a, notOurs))
		}
	}
	for _, a := range s.imagesIn(0) {
		for _, b := range s.imagesIn(1) {
			s.exchange(a, b, refusal(a, notOurs))
		}
	}
	a, b := s.segmentsIn(1)[0], s.segmentsIn(1)[1]
	s.add("the names of two segments exchanged", refusal(a, notNamed).others(), func(disk *vfs.Mem) {
		require.NoError(s.t, disk.Rename(a, "aside"))
		require.NoError(s.t, disk.Rename(b, a))
		require.NoError(s.t, disk.Rename("aside", b))
	})
	s.add("the names of two shards exchanged", refusal(s.imagesIn(0)[0], notOurs).others(), func(disk *vfs.Mem) {
		zero, one := recovery.Dir(storeDir, 0), recovery.Dir(storeDir, 1)
		require.NoError(s.t, disk.Rename(zero, storeDir+"/aside"))
		require.NoError(s.t, disk.Rename(one, zero))
		require.NoError(s.t, disk.Rename(storeDir+"/aside", one))
	})
}

// missing has a file less, or a directory.
func (s *swaps) missing() {
	without := func(name string, want verdict) {
		s.add(name+" missing", want, func(disk *vfs.Mem) { s.remove(disk, name) })
	}
	without(manifestFile, refusal(manifestFile, 0))
	for i := range s.shards {
		seg := s.segmentsIn(i)
		require.GreaterOrEqual(s.t, len(seg), 3)
		without(seg[0], refusal(seg[1], 0)) // it is the first now, and should not be
		for k := 1; k < len(seg); k++ {
			without(seg[k], refusal(seg[k-1], s.segments[seg[k-1]].end)) // which knows of a successor
		}
		for _, name := range s.imagesIn(i) {
			without(name, refusal(name, 0))
		}
		s.add("all segments missing", refusal(segmentName(i, 1), 0), func(disk *vfs.Mem) {
			for _, name := range seg {
				s.remove(disk, name)
			}
		})
		s.add("the shard missing", refusal(s.imagesIn(i)[0], 0).others(), func(disk *vfs.Mem) {
			for _, name := range append(seg, s.imagesIn(i)...) {
				s.remove(disk, name)
			}
			s.remove(disk, recovery.Dir(storeDir, i))
		})
	}
}

// tooMany has copies of files beside or in place of others.
func (s *swaps) tooMany() {
	copied := func(from, to string, want verdict) {
		s.add(fmt.Sprint(from, " copied as ", to), want, func(disk *vfs.Mem) { s.put(disk, to, s.files[from]) })
	}
	fine := verdict{}
	for i := range s.shards {
		dir, img := recovery.Dir(storeDir, i), s.imagesIn(i)
		for _, name := range s.segmentsIn(i) {
			p := s.segments[name]
			next := segmentName(i, p.left(len(p.frames))+1)
			copied(name, next, refusal(next, notNamed)) // its successor's, or a new one
			between := segmentName(i, p.left(1)+1)
			copied(name, between, refusal(between, notNamed))
			copied(name, next+".tmp", fine) // was never finished, and goes
			for _, other := range []string{name + ".bak", dir + "/copy.wal", dir + "/00000000000000FF.wal"} {
				copied(name, other, fine) // is nobody's, and stays
			}
		}
		copied(img[0], img[1], refusal(img[1], notNamed))
		copied(img[1], img[0], refusal(img[0], notNamed))
		for _, name := range img {
			unnamed := checkpoint.Name(dir, s.last[i]+1)
			copied(name, unnamed, fine) // the manifest does not name it: it goes
			copied(name, unnamed+".tmp", fine)
			copied(name, name+".bak", fine)
		}
	}
	copied(manifestFile, manifestFile+".tmp", fine)
	copied(s.segmentsIn(0)[0], manifestFile+".tmp", fine)
	copied(s.segmentsIn(0)[0], manifestFile, refusal(manifestFile, 0))
}

// foreign has files of another store in place of its own, or beside them.
func (s *swaps) foreign(other *patient) {
	theirs := &swaps{t: s.t, patient: other}
	replaced := func(name string, b []byte, want verdict) {
		s.add(fmt.Sprintf("%s of another store of %d shards", name, other.shards), want, func(disk *vfs.Mem) { s.put(disk, name, b) })
	}
	for i := range min(s.shards, other.shards) {
		for k, name := range s.segmentsIn(i) {
			replaced(name, other.files[theirs.segmentsIn(i)[k]], refusal(name, notOurs))
		}
		for k, name := range s.imagesIn(i) {
			replaced(name, other.files[theirs.imagesIn(i)[k]], refusal(name, notOurs))
		}
		// Beside its own ones: a segment is read, a checkpoint that nobody names is not.
		replaced(segmentName(i, s.last[i]+1), other.files[theirs.segmentsIn(i)[0]], refusal(segmentName(i, s.last[i]+1), notOurs))
		replaced(checkpoint.Name(recovery.Dir(storeDir, i), s.last[i]+1), other.files[theirs.imagesIn(i)[0]], verdict{})
	}
	m, err := checkpoint.ReadManifest(other.disk, storeDir)
	require.NoError(s.t, err)
	first := refusal(checkpoint.Name(recovery.Dir(storeDir, 0), m.Shards[0].Checkpoint), 0)
	if s.files[first.file] != nil {
		first.offset = notOurs
	}
	replaced(manifestFile, other.files[manifestFile], first.others())
}

// TestCorruptionSwapped has whole files where others should be, or none.
func TestCorruptionSwapped(t *testing.T) {
	for _, ending := range []string{closedStore, batchedStore} {
		t.Run(ending, func(t *testing.T) {
			p := newStory(t, 2, inmem.Batched).patient(ending)
			s := &swaps{t: t, patient: p}
			s.exchanged()
			s.missing()
			s.tooMany()
			for shards := 1; shards <= 3; shards++ {
				s.foreign(newStory(t, shards, inmem.Batched).patient(ending))
			}
			found := map[finding]int{}
			p.opts.Shards = 0
			for _, c := range s.list {
				p.hold(t, c.disk, c.what, c.want)
				found[c.want.finding]++
			}
			t.Logf("%d swaps: %v; at most %.2f of the bound allocated", len(s.list), found, p.most)
		})
	}
}
