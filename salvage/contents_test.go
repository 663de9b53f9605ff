package salvage_test

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/salvage"
)

// forge changes the commit in the i-th frame of a segment, without changing its
// length, and makes the checksum right again.
func forge(t *testing.T, b []byte, i int, change func(payload []byte)) []byte {
	t.Helper()
	off := framesOf(b)[i]
	n := int(binary.LittleEndian.Uint32(b[off+4:]))
	change(b[off+32 : off+32+n])
	end := (off + 32 + n + 7) &^ 7
	binary.LittleEndian.PutUint32(b[off:], crc32.Checksum(b[off+4:end], castagnoli))
	return b
}

// What no run can have had is damage, whatever its checksum says.
func TestCommitsNobodyMade(t *testing.T) {
	for name, change := range map[string]func(payload []byte){
		"no commit":        func(p []byte) { p[16] = 0 },
		"bad metadata":     func(p []byte) { p[29] = 99 },
		"begins with none": func(p []byte) { p[25] = byte(op.KV) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, 1)
			l.begin(0)
			l.put(0, 4, 10)
			l.begin(1)
			l.put(1, 4, 10)
			l.close()
			edit(t, l.disk, pick(t, l.disk, 0, ".wal")[0], func(b []byte) []byte { return forge(t, b, 5, change) })
			report := l.restore(l.disk)
			require.Equal(t, 1, report.Runs)
			require.Len(t, report.Losses, 1)
			require.Zero(t, report.Losses[0].Kept)
			require.False(t, report.Complete())
		})
	}
}

// Two files of the same store have different commits of the same version: one
// of them is taken, and the other is reported.
func TestTwoCommitsOfAVersion(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 6, 10)
	l.close()
	b := slices.Clone(files(t, l.disk, from)[pick(t, l.disk, 0, ".wal")[0]])
	b[12] = 1 // a segment of another shard, which has the same run
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	same := slices.Clone(b)
	b = forge(t, b, 3, func(p []byte) { p[len(p)-2] ^= 1 })
	path := recovery.Dir(from, 1) + "/0000000000000001.wal"
	for _, c := range []struct {
		segment []byte
		damage  int
	}{{same, 0}, {b, 1}} {
		disk := l.disk.Clone()
		require.NoError(t, disk.WriteFile(path, c.segment))
		report := l.restore(disk)
		require.Len(t, damageOf(report, path), c.damage)
		require.Equal(t, c.damage == 0, report.Complete())
		require.Empty(t, report.Losses)
	}
}

// Commits whose versions go up while the log goes back do not follow one
// another.
func TestVersionsOutOfOrder(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 6, 10)
	l.close()
	edit(t, l.disk, pick(t, l.disk, 0, ".wal")[0], func(b []byte) []byte {
		b = forge(t, b, 3, func(p []byte) { p[16] = 5 })
		return forge(t, b, 4, func(p []byte) { p[16] = 4 })
	})
	report, err := salvage.Store(bg, config(l.disk))
	require.NoError(t, err)
	require.Equal(t, uint64(4), lossOf(report, 0).Kept)
	require.Equal(t, uint64(7), lossOf(report, 0).Known)
}

// forgedCheckpoint writes a checkpoint of the source's only shard that no
// manifest names. Its images have nothing but the record.
func forgedCheckpoint(t *testing.T, l *life, sequence uint64, record []byte, entries []*checkpoint.Entry, deleted ...run.ID) {
	t.Helper()
	m, err := checkpoint.ReadManifest(l.disk, from)
	require.NoError(t, err)
	w, err := checkpoint.NewWriter(l.disk, recovery.Dir(from, 0), m.Store, 0, sequence, testTime)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, w.Image(e, func(yield func(string, op.Item) bool) {
			yield(op.MapKey(op.RunMetadata, ""), op.Item{Value: record, Version: 1})
		}))
	}
	require.NoError(t, w.Finish(slices.Values(entries), slices.Values(deleted)))
}

// What a checkpoint says and the log contradicts is not believed.
func TestContradictions(t *testing.T) {
	life := func() *life {
		l := newLife(t, 1)
		l.begin(0)
		l.begin(1)
		l.put(0, 10, 10) // sequences 3 to 12
		l.put(1, 3, 10)
		l.close()
		spoilVersion(t, l.disk, 13)
		return l
	}
	t.Run("a deleted run that went on", func(t *testing.T) {
		l := life()
		forgedCheckpoint(t, l, 5, nil, nil, runID(0))
		report := l.restore(l.disk)
		require.Equal(t, 2, report.Runs)
		require.Nil(t, lossOf(report, 0))
	})
	info := (&run.Info{Meta: run.Meta{ID: runID(1)}, Status: run.Active, Created: testTime, FirstVersion: 1}).AppendRecord(nil)
	for name, e := range map[string]checkpoint.Entry{
		"an image that ends with another's commit": {Version: 9, LastSeq: 7, Info: info},
		"an image that ends with another version":  {Version: 2, LastSeq: 14, Info: info},
		"an image of a version that is elsewhere":  {Version: 3, LastSeq: 13, Info: info},
		"an image behind which the log goes back":  {Version: 2, LastSeq: 900, Info: info},
	} {
		t.Run(name, func(t *testing.T) {
			l := life()
			e.Run, e.FirstSeq = runID(1), 2
			forgedCheckpoint(t, l, 1000, info, []*checkpoint.Entry{&e})
			report, err := salvage.Store(bg, config(l.disk))
			require.NoError(t, err)
			require.Equal(t, 2, report.Runs)
			loss := lossOf(report, 1)
			require.NotNil(t, loss)
			if e.LastSeq == 900 {
				require.Equal(t, uint64(2), loss.Kept)
				return
			}
			require.Equal(t, uint64(1), loss.Kept)
			require.Equal(t, uint64(4), loss.Known)
		})
	}
	for name, record := range map[string][2]string{
		"an image without metadata":    {"no record", "no record"},
		"an image with other metadata": {string(info), "no record"},
	} {
		t.Run(name, func(t *testing.T) {
			l := life()
			e := &checkpoint.Entry{Run: runID(1), Version: 2, FirstSeq: 2, LastSeq: 13, Info: []byte(record[0])}
			forgedCheckpoint(t, l, 1000, []byte(record[1]), []*checkpoint.Entry{e})
			report, err := salvage.Store(bg, config(l.disk))
			require.NoError(t, err)
			require.Equal(t, uint64(1), lossOf(report, 1).Kept)
			require.Len(t, report.Damage, 2)
		})
	}
}

// A checkpoint that never counted is not believed.
func TestCheckpointThatNeverCounted(t *testing.T) {
	l := newLife(t, 1)
	l.begin(0)
	l.put(0, 4, 20)
	require.NoError(t, l.db.Flush(bg))
	before := l.disk.Clone()
	l.put(0, 3, 20)
	l.checkpoint()
	l.close()
	name := pick(t, l.disk, 0, ".ckpt")[0]
	stray := files(t, l.disk, from)[name]
	require.NoError(t, before.WriteFile(name, stray))
	// Whatever was beyond the log's end when it was killed is not in the store.
	l.digests[runID(0)] = l.digests[runID(0)][:5]
	report := l.restore(before.Clone())
	require.True(t, report.Complete())

	// The store went on another way, and then was damaged before the image.
	db, err := inmem.Open(from, options(before, 0))
	require.NoError(t, err)
	l.db = db
	l.begin(1)
	l.put(1, 8, 20)
	l.put(0, 1, 21)
	l.close()
	require.NoError(t, before.WriteFile(name, stray))
	spoilVersion(t, before, 1)
	report, err = salvage.Store(bg, config(before))
	require.NoError(t, err)
	require.Equal(t, 1, report.Runs)
	require.Zero(t, lossOf(report, 0).Kept)
}

// A store whose log does not begin with its first commit cannot do without its
// checkpoint.
func TestDamagedCheckpointOfATrimmedLog(t *testing.T) {
	l := oneRun(t, 40, true)
	spoilVersion(t, l.disk, 5)
	first := l.restore(l.disk)
	require.Equal(t, 1, first.Images)
	cfg := config(l.disk)
	cfg.From, cfg.To = to, "third"
	var name string
	for file := range files(t, l.disk, to) {
		if len(file) > 5 && file[len(file)-5:] == ".ckpt" {
			name = file
		}
	}
	t.Run("a commit", func(t *testing.T) {
		// The history began with version 6, at sequence 2, and nobody misses what
		// was before. What is missing behind that is a loss.
		disk := l.disk.Clone()
		edit(t, disk, to+"/shard-0000/0000000000000002.wal", func(b []byte) []byte { b[framesOf(b)[2]+40] ^= 1; return b })
		cfg.FS = disk
		report, err := salvage.Store(bg, cfg)
		require.NoError(t, err)
		require.Equal(t, []salvage.Loss{{Run: runID(0), Kept: 40, Known: 40, From: 9, Reason: "its history before version 9 is gone"}}, report.Losses)
	})
	t.Run("image", func(t *testing.T) {
		cfg.FS = l.disk.Clone()
		require.NoError(t, l.disk.Flip(name, 8*80))
		report, err := salvage.Store(bg, cfg)
		require.NoError(t, err)
		require.True(t, report.Complete())
		cfg.FS = l.disk.Clone()
		report, err = salvage.Store(bg, cfg)
		require.ErrorIs(t, err, salvage.ErrNothing)
		require.Equal(t, []uint64{0, 40}, []uint64{report.Losses[0].Kept, report.Losses[0].Known})
		require.True(t, report.Damage[0].Lost)
		require.NoError(t, l.disk.Flip(name, 8*80))
	})
	t.Run("index", func(t *testing.T) {
		disk := l.disk.Clone()
		edit(t, disk, name, func(b []byte) []byte { b[len(b)-3] ^= 1; return b })
		cfg.FS = disk
		report, err := salvage.Store(bg, cfg)
		require.ErrorIs(t, err, salvage.ErrNothing)
		require.True(t, report.Damage[0].Lost)
	})
	t.Run("missing", func(t *testing.T) {
		disk := l.disk.Clone()
		require.NoError(t, disk.Remove(name))
		cfg.FS = disk
		report, err := salvage.Store(bg, cfg)
		require.ErrorIs(t, err, salvage.ErrNothing)
		require.True(t, report.Damage[0].Lost)
	})
}
