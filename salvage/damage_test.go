package salvage_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/salvage"
	"inmem/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newer gives a file the format of a later program.
func newer(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[8:], 99)
	end := 60
	if string(b[:8]) == "inmemMAN" {
		end = len(b) - 4
	}
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

// framesOf walks a segment by the lengths of its frames.
func framesOf(b []byte) (at []int) {
	off := 64
	for off+32 <= len(b) {
		n := int(binary.LittleEndian.Uint32(b[off+4:]))
		if kind := b[off+8]; n == 0 || kind != 1 && kind != 128 {
			break
		}
		at = append(at, off)
		off += (32 + n + 7) &^ 7
	}
	return at
}

// oneRun is a store with one shard, of which run 0 has n commits that fill
// several segments, with an image at version 10 if it is wanted.
func oneRun(t *testing.T, n int, withImage bool) *life {
	t.Helper()
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 9, 300)
	if withImage {
		l.checkpoint()
	}
	l.put(0, n-10, 300)
	return l.close()
}

// spoilVersion damages the frame of a version of run 0, which is the one with
// the same sequence.
func spoilVersion(t *testing.T, disk *vfs.Mem, version uint64) string {
	t.Helper()
	for _, name := range slices.Backward(pick(t, disk, 0, ".wal")) {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), ".wal"), 16, 64)
		if err == nil && version >= first {
			edit(t, disk, name, func(b []byte) []byte { b[framesOf(b)[version-first]+40] ^= 1; return b })
			return name
		}
	}
	t.Fatal("no such frame")
	return ""
}

// What becomes of a run by where its commits are damaged, with an image of it
// at version 10 and without.
func TestDecision(t *testing.T) {
	const last = 40
	for _, c := range []struct {
		image             bool
		spoilt            []uint64
		kept, known, from uint64
		reason            string
	}{
		{false, nil, last, 0, 1, ""},
		{false, []uint64{20}, 19, last, 1, "version 20 is gone; those from 21 on cannot do without it"},
		{false, []uint64{20, 21, 22, 30}, 19, last, 1, "versions 20 to 22 are gone; those from 23 on cannot do without them"},
		{false, []uint64{1}, 0, last, 0, "its beginning is gone, and there is no image of it"},
		{true, nil, last, 0, 1, ""},
		{true, []uint64{1}, last, last, 2, "its history before version 2 is gone"},
		{true, []uint64{10}, last, last, 11, "its history before version 11 is gone"},
		{true, []uint64{9}, last, last, 10, "its history before version 10 is gone"},
		{true, []uint64{3, 7, 30}, 29, last, 8, "version 30 is gone; those from 31 on cannot do without it"},
		{true, []uint64{11}, 10, last, 1, "version 11 is gone; those from 12 on cannot do without it"},
		{true, []uint64{10, 11}, 10, last, 0, "version 11 is gone; those from 12 on cannot do without it"},
		{true, []uint64{30}, 29, last, 1, "version 30 is gone; those from 31 on cannot do without it"},
		{true, []uint64{12, 8}, 11, last, 9, "version 12 is gone; those from 13 on cannot do without it"},
	} {
		t.Run(fmt.Sprint(c.image, c.spoilt), func(t *testing.T) {
			l := oneRun(t, last, c.image)
			for _, v := range c.spoilt {
				spoilVersion(t, l.disk, v)
			}
			if c.kept == 0 {
				report, err := salvage.Store(bg, config(l.disk))
				require.ErrorIs(t, err, salvage.ErrNothing)
				require.Equal(t, []salvage.Loss{{Run: runID(0), Known: c.known, Reason: c.reason}}, report.Losses)
				return
			}
			report := l.restore(l.disk)
			if c.known == 0 {
				require.True(t, report.Complete())
				require.Empty(t, report.Losses)
				return
			}
			require.Equal(t, []salvage.Loss{{Run: runID(0), Kept: c.kept, Known: c.known, From: c.from, Reason: c.reason}}, report.Losses)
			require.NotEmpty(t, report.Gaps)
			for _, d := range report.Damage {
				require.True(t, d.Lost)
			}
		})
	}
}

// The last commits of a run are damaged. In a segment with an index they are
// known all the same; in the last one only that there were some.
func TestLastCommitsOfARun(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.begin(1)
	l.put(0, 3, 10) // sequences 3 to 5
	l.put(1, 30, 300)
	l.close()
	at := func(disk *vfs.Mem, i int) int {
		b, err := disk.ReadFile(pick(t, disk, 0, ".wal")[0])
		require.NoError(t, err)
		return framesOf(b)[i]
	}
	first := pick(t, l.disk, 0, ".wal")[0]
	disk := l.disk.Clone()
	edit(t, disk, first, func(b []byte) []byte { clear(b[at(disk, 3):at(disk, 5)]); return b })
	report := l.restore(disk)
	require.Equal(t, []salvage.Loss{{Run: runID(0), Kept: 2, Known: 4, From: 1, Reason: "versions 3 to 4 are gone"}}, report.Losses)
	require.Equal(t, []salvage.Gap{{Shard: 0, First: 4, Last: 5}}, report.Gaps)
	require.Equal(t, "shard 0: sequences 4 to 5 of the log", report.Gaps[0].String())

	// A copy that is damaged as well says nothing more.
	again := l.disk.Clone()
	for _, name := range []string{first, recovery.Dir(from, 0) + "/copy.wal"} {
		require.NoError(t, again.WriteFile(name, files(t, disk, from)[first]))
	}
	require.Equal(t, report.Losses, l.restore(again).Losses)

	// All of it is gone, and only the index knows that there was a run.
	disk = l.disk.Clone()
	edit(t, disk, first, func(b []byte) []byte {
		clear(b[64:at(l.disk, 1)])
		clear(b[at(l.disk, 2):at(l.disk, 5)])
		return b
	})
	report = l.restore(disk)
	require.Equal(t, uint64(4), lossOf(report, 0).Known)
	require.Zero(t, lossOf(report, 0).Kept)

	// A copy of the file has them.
	require.NoError(t, disk.WriteFile(recovery.Dir(from, 0)+"/copy.wal", files(t, l.disk, from)[first]))
	for name := range files(t, disk, to) {
		require.NoError(t, disk.Remove(name))
	}
	require.NoError(t, disk.Remove(to+"/shard-0000"))
	report = l.restore(disk)
	require.True(t, report.Complete(), "%+v", report)
	require.Len(t, report.Damage, 2)
	require.False(t, report.Damage[0].Lost)
}

// Seals are nobody's loss.
func TestLostSeals(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 2, 300)
	require.NoError(t, l.db.Flush(bg)) // seals
	l.put(0, 30, 300)
	l.close()
	for i, name := range []string{pick(t, l.disk, 0, ".wal")[0], slices.Max(pick(t, l.disk, 0, ".wal"))} {
		disk := l.disk.Clone()
		edit(t, disk, name, func(b []byte) []byte {
			at := framesOf(b)
			seal := at[len(at)-1]
			if i == 0 {
				seal = at[3]
			}
			require.Equal(t, byte(128), b[seal+8])
			b[seal+20] ^= 1
			return b
		})
		report := l.restore(disk, name)
		require.True(t, report.Complete(), "%+v", report)
		require.Len(t, report.Damage, 1)
	}
}

// A run that was deleted stays deleted, however that is known.
func TestDeleted(t *testing.T) {
	life := func() *life {
		l := newLife(t, 1)
		l.begin(0)
		l.put(0, 2, 10)
		l.begin(1)
		l.put(1, 3, 10)
		l.drop(1) // sequence 8
		l.checkpoint()
		l.put(0, 2, 10)
		return l.close()
	}
	for _, c := range []struct {
		spoilt []uint64
		reason string
		from   uint64
	}{
		{[]uint64{8}, "the commit that deleted it is gone", 1},
		{[]uint64{4}, "its history before version 2 is gone", 2},
		{[]uint64{6, 8}, "the commit that deleted it is gone", 4},
		{[]uint64{7}, "its history before version 5 is gone", 5},
		{[]uint64{4, 5, 6, 7, 8}, "", 0},
	} {
		t.Run(fmt.Sprint(c.spoilt), func(t *testing.T) {
			l := life()
			for _, q := range c.spoilt {
				spoilVersion(t, l.disk, q)
			}
			report := l.restore(l.disk)
			require.False(t, report.Complete())
			if c.from == 0 {
				require.Empty(t, report.Losses, "the gap says it")
				return
			}
			known := uint64(5)
			if slices.Contains(c.spoilt, 8) {
				known = 4
			}
			require.Equal(t, []salvage.Loss{{Run: runID(1), Known: known, From: c.from, Deleted: true, Reason: c.reason}}, report.Losses)
			require.Contains(t, report.Losses[0].String(), "deleted; ")
		})
	}
}

// Files of another store are told apart, and left out.
func TestForeignFiles(t *testing.T) {
	l, other := fullLife(t), fullLife(t)
	foreign := files(t, other.disk, from)
	t.Run("beside", func(t *testing.T) {
		disk := l.disk.Clone()
		for name, b := range foreign {
			if strings.HasSuffix(name, "t") || strings.HasSuffix(name, "l") {
				require.NoError(t, disk.WriteFile(filepath.Dir(name)+"/other-"+filepath.Base(name), b))
			}
		}
		report := l.restore(disk)
		require.Len(t, report.Damage, len(foreign)-2)
		for _, d := range report.Damage {
			require.Contains(t, d.String(), "another store")
		}
		require.True(t, len(report.Losses) == 0 && len(report.Gaps) == 0)
	})
	t.Run("manifest", func(t *testing.T) {
		disk := l.disk.Clone()
		require.NoError(t, disk.WriteFile(from+"/MANIFEST", foreign[from+"/MANIFEST"]))
		report := l.restore(disk)
		require.True(t, report.Complete())
		require.Equal(t, "the manifest belongs to another store", report.Damage[0].Reason)
	})
	t.Run("instead", func(t *testing.T) {
		for _, suffix := range []string{".wal", ".ckpt"} {
			disk := l.disk.Clone()
			name := pick(t, disk, 0, suffix)[1]
			require.NoError(t, disk.WriteFile(name, files(t, other.disk, from)[pick(t, other.disk, 0, suffix)[1]]))
			report := l.restore(disk, name)
			require.Contains(t, damageOf(report, name)[0].Reason, "another store")
		}
	})
	t.Run("with a damaged header", func(t *testing.T) {
		disk := l.disk.Clone()
		b := slices.Clone(foreign[pick(t, other.disk, 0, ".wal")[0]])
		require.NoError(t, disk.WriteFile(recovery.Dir(from, 0)+"/x.wal", b))
		b[0] ^= 1
		require.NoError(t, disk.WriteFile(recovery.Dir(from, 0)+"/y.wal", b))
		report := l.restore(disk)
		require.Len(t, report.Damage, 2)
	})
}

// Files are where they do not belong, or have other names.
func TestMisplacedFiles(t *testing.T) {
	l := fullLife(t)
	move := func(disk *vfs.Mem, name, where string) {
		b, err := disk.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, disk.Remove(name))
		require.NoError(t, disk.WriteFile(where, b))
	}
	t.Run("renamed", func(t *testing.T) {
		disk := l.disk.Clone()
		for shard := range 2 {
			for i, name := range append(pick(t, disk, shard, ".wal"), pick(t, disk, shard, ".ckpt")...) {
				move(disk, name, fmt.Sprintf("%s/file %d%s", filepath.Dir(name), i, filepath.Ext(name)))
			}
		}
		require.True(t, l.restore(disk.Clone()).Complete())
		// Checkpoints that lost their names are still read.
		for shard := range 2 {
			for _, name := range pick(t, disk, shard, ".wal") {
				require.NoError(t, disk.Remove(name))
			}
		}
		require.Positive(t, l.restore(disk).Images)
	})
	t.Run("swapped shards", func(t *testing.T) {
		disk := vfs.NewMem()
		for name, b := range files(t, l.disk, from) {
			name = strings.NewReplacer("shard-0000", "shard-0001", "shard-0001", "shard-0000").Replace(name)
			require.NoError(t, disk.WriteFile(name, b))
		}
		require.True(t, l.restore(disk).Complete())
	})
	t.Run("in a directory without a number", func(t *testing.T) {
		disk := vfs.NewMem()
		for name, b := range files(t, l.disk, from) {
			name = strings.NewReplacer("shard-0000", "shard-x", "shard-0001", "shard-99999").Replace(name)
			if strings.HasSuffix(name, "1.wal") {
				b[3] ^= 1 // the shard is known by the others of the directory
			}
			require.NoError(t, disk.WriteFile(name, b))
		}
		report := l.restore(disk)
		require.Empty(t, report.Losses)
		require.Empty(t, report.Gaps)
	})
	t.Run("one over another, without headers", func(t *testing.T) {
		// The runs tell which shard it is of.
		disk := l.disk.Clone()
		other := pick(t, disk, 1, ".wal")[0]
		edit(t, disk, other, func(b []byte) []byte { b[3] ^= 1; return b })
		first := pick(t, disk, 0, ".wal")[0]
		edit(t, disk, first, func([]byte) []byte { return files(t, disk, from)[other] })
		for range 2 {
			report := l.restore(disk.Clone())
			require.Len(t, report.Gaps, 1)
			require.Equal(t, []int{0, 1}, []int{report.Gaps[0].Shard, int(report.Gaps[0].First)})
			for _, d := range report.Damage {
				require.NotContains(t, d.Reason, "another log")
			}
			require.NoError(t, disk.WriteFile(from+"/MANIFEST", nil)) // then the directories tell
		}
	})
	t.Run("no segments but other things", func(t *testing.T) {
		disk := l.disk.Clone()
		require.NoError(t, disk.MkdirAll(recovery.Dir(from, 0)+"/dir.wal", 0o755))
		require.NoError(t, disk.WriteFile(recovery.Dir(from, 0)+"/notes.txt", []byte("x")))
		require.NoError(t, disk.WriteFile(from+"/shard-file", []byte("x")))
		report := l.restore(disk)
		require.Equal(t, []string{"shard-file"}, damagedFiles(report))
	})
}

// An older copy of the store, or of parts of it, is used where it agrees with
// the store, and not beyond.
func TestOlderCopy(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 3, 20)
	require.NoError(t, l.db.Close())
	copied := l.disk.Clone()
	open := func(disk *vfs.Mem) {
		var err error
		l.db, err = inmem.Open(from, options(disk, 0))
		require.NoError(t, err)
	}
	// The copy goes its own way: with other commits, and more of them.
	apart := &life{t: t, disk: copied, digests: map[run.ID][]inmem.Digest{runID(0): slices.Clone(l.digests[runID(0)])}, deleted: map[run.ID]bool{}}
	var err error
	apart.db, err = inmem.Open(from, options(copied, 0))
	require.NoError(t, err)
	apart.put(0, 9, 31)
	apart.close()
	open(l.disk)
	l.put(0, 4, 30)
	l.close()
	name := pick(t, l.disk, 0, ".wal")[0]
	stray := recovery.Dir(from, 0) + "/copy.wal"
	require.NoError(t, l.disk.WriteFile(stray, files(t, copied, from)[name]))
	report := l.restore(l.disk.Clone())
	require.Len(t, report.Damage, 1)
	require.Equal(t, stray, report.Damage[0].File)
	require.Contains(t, report.Damage[0].Reason, "another log")
	require.Empty(t, report.Losses)

	// What both had in common is taken from the copy where the store lost it.
	disk := l.disk.Clone()
	spoilVersion(t, disk, 2)
	report = l.restore(disk)
	require.Empty(t, report.Losses)
	require.Empty(t, report.Gaps)
}

// Damage in checkpoints matters only where the log cannot do without them.
func TestDamagedCheckpoints(t *testing.T) {
	l := oneRun(t, 40, true)
	ckpt := pick(t, l.disk, 0, ".ckpt")[0]
	size := len(files(t, l.disk, from)[ckpt])
	for name, at := range map[string]int{"header": 20, "image": 100, "index": size - 60, "footer": size - 10} {
		t.Run(name, func(t *testing.T) {
			disk := l.disk.Clone()
			edit(t, disk, ckpt, func(b []byte) []byte { b[at] ^= 1; return b })
			whole := disk.Clone()
			report := l.restore(whole)
			require.True(t, report.Complete())
			require.Len(t, damageOf(report, ckpt), 1)
			spoilVersion(t, disk, 5)
			report = l.restore(disk)
			if name == "header" {
				require.Equal(t, uint64(40), lossOf(report, 0).Kept)
			} else {
				require.Equal(t, uint64(4), lossOf(report, 0).Kept)
			}
			require.Equal(t, name != "header", damageOf(report, ckpt)[0].Lost || name == "image" && !damageOf(report, ckpt)[0].Lost)
		})
	}
	t.Run("wrong digest", func(t *testing.T) {
		disk := l.disk.Clone()
		edit(t, disk, ckpt, func(b []byte) []byte {
			index := int(binary.LittleEndian.Uint64(b[len(b)-24:]))
			body := b[index+8 : len(b)-32]
			body[16+1+6+4+2] ^= 1 // in the digest, behind run, version, time, sequences and counts
			binary.LittleEndian.PutUint32(b[index:], crc32.Checksum(b[index+4:len(b)-32], castagnoli))
			return b
		})
		report := l.restore(disk)
		require.Contains(t, damageOf(report, ckpt)[0].Reason, "digest")
	})
}

// The images of an older file are found by the index of a newer one.
func TestImagesInAnOlderFile(t *testing.T) {
	l := fullLife(t)
	older := pick(t, l.disk, 0, ".ckpt")[0]
	logs := pick(t, l.disk, 0, ".wal")
	disk := l.disk.Clone()
	for _, name := range logs {
		require.NoError(t, disk.Remove(name))
	}
	edit(t, disk, older, func(b []byte) []byte { b[len(b)-5] ^= 1; return b }) // its own index is gone
	require.Empty(t, func() (lost []salvage.Loss) {
		for _, loss := range l.restore(disk.Clone()).Losses {
			if loss.Kept == 0 && !loss.Deleted {
				lost = append(lost, loss)
			}
		}
		return lost
	}())
	require.NoError(t, disk.Remove(older))
	report := l.restore(disk)
	require.Contains(t, damageOf(report, older)[0].Reason, "missing")
}
