package checkpoint

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

func TestWriteAndRead(t *testing.T) {
	m, images := newDisk(t), samples()
	require.NoError(t, write(m, 9, images, id(4), id(5)))
	check(t, m, 9, images, id(4), id(5))
	assert.Equal(t, []string{path(9)}, m.Files())
	for _, im := range images {
		assert.Equal(t, im.digest(), im.entry.Digest, "the writer completes the entry")
		assert.EqualValues(t, len(im.items), im.entry.Keys)
		assert.Equal(t, im.deadlines(), im.entry.Deadlines)
		assert.EqualValues(t, 9, im.entry.Location.File)
	}
}

func TestInfosAreApart(t *testing.T) {
	m := newDisk(t)
	require.NoError(t, write(m, 9, samples()))
	x, _, err := read(m, dir, 9)
	require.NoError(t, err)
	for i := range x.Entries {
		assert.Equal(t, len(x.Entries[i].Info), cap(x.Entries[i].Info), "appending to one must not reach into the next")
	}
}

func TestEmptyCheckpoint(t *testing.T) {
	m := newDisk(t)
	require.NoError(t, write(m, 1, nil))
	check(t, m, 1, nil)
	require.NoError(t, write(m, 2, nil, id(1)))
	check(t, m, 2, nil, id(1))
	require.NoError(t, write(m, 3, nil, id(1), id(1), id(2), id(2), id(2)))
	check(t, m, 3, nil, id(1), id(2))
}

// TestManyBlocks has images and an index of many blocks, items larger than a
// block and larger than what is written at once.
func TestManyBlocks(t *testing.T) {
	var images []*image
	var deleted []run.ID
	for i := range 3000 {
		n := run.ID{1, 13: byte(i >> 8), 14: byte(i), 15: 1}
		im := &image{entry: Entry{Run: n, Version: uint64(i) + 1, LastSeq: 7, Info: fmt.Appendf(nil, "%0100d", i)}}
		if i%100 == 0 {
			for j := range i {
				im.items = append(im.items, kv(fmt.Sprintf("%08d", j), strings.Repeat("x", j%64), 1, int64(j%2)))
			}
		}
		images = append(images, im)
		n[15] = 2
		deleted = append(deleted, n)
	}
	images[1].items = []item{
		kv("a", "small", 1, 0), kv("b", strings.Repeat("b", 3<<20), 2, 0), kv("c", "small again", 3, 0),
		kv("d", strings.Repeat("d", blockTarget), 4, 0), kv("e", strings.Repeat("e", blockTarget-blockHeader-15), 5, 0),
	}
	m := newDisk(t)
	require.NoError(t, write(m, 1<<40, images, deleted...))
	check(t, m, 1<<40, images, deleted...)
}

func TestOneLargeValueDoesNotKeepItsRoom(t *testing.T) {
	m := newDisk(t)
	images := []*image{{Entry{Run: id(1), Version: 1, Info: []byte{}}, []item{kv("k", strings.Repeat("v", 4<<20), 1, 0)}}}
	require.NoError(t, write(m, 1, images))
	files := OpenFiles(m, dir, store, shard)
	require.NoError(t, files.Image(&images[0].entry, func([]byte, op.Item) {}))
	assert.LessOrEqual(t, cap(files.buf), writeChunk)
	require.NoError(t, files.Close())
}

// TestFilesOpenAgain is what cleaning needs: files are closed before they are
// removed, and those that are left are used again.
func TestFilesOpenAgain(t *testing.T) {
	m, images := newDisk(t), samples()
	require.NoError(t, write(m, 1, images))
	files := OpenFiles(m, dir, store, shard)
	for range 2 {
		x, err := files.Index(1)
		require.NoError(t, err)
		require.Len(t, x.Entries, 3)
		require.NoError(t, files.Close())
	}
	require.NoError(t, m.Remove(path(1)))
	_, err := files.Index(1)
	requireCorrupt(t, err, Name(dir, 1), 0)
	require.NoError(t, files.Close())
}

func TestCopy(t *testing.T) {
	m, images := newDisk(t), larger()
	require.NoError(t, write(m, 1, images, id(9)))
	files := OpenFiles(m, dir, store, shard)
	w, err := NewWriter(m, dir, store, shard, 2, timeOf(2))
	require.NoError(t, err)
	fresh := &image{entry: Entry{Run: id(4), Version: 5, Info: []byte{}}, items: []item{kv("k", "v", 5, 0)}}
	require.NoError(t, w.Image(&fresh.entry, fresh.all()), "copies have other offsets")
	for _, im := range images {
		require.NoError(t, w.Copy(&im.entry, files))
		require.EqualValues(t, 2, im.entry.Location.File)
	}
	images = append(images, fresh)
	require.NoError(t, w.Finish(entries(images), slices.Values([]run.ID(nil))))
	require.NoError(t, files.Close())
	require.NoError(t, Clean(m, dir, map[uint64]bool{2: true}))
	require.Equal(t, []string{path(2)}, m.Files())
	check(t, m, 2, images)
}

// TestCopyFails: a full disk is not damage, and damage does not spoil the writer.
func TestCopyFails(t *testing.T) {
	m, images := newDisk(t), larger()
	require.NoError(t, write(m, 1, images))
	files := OpenFiles(m, dir, store, shard)
	last := &images[2].entry
	was := *last

	w, err := NewWriter(m, dir, store, shard, 2, timeOf(2))
	require.NoError(t, err)
	m.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Write {
			return syscall.ENOSPC
		}
		return nil
	})
	err = w.Copy(last, files)
	require.True(t, vfs.IsNoSpace(err), "%v", err)
	assert.NotErrorIs(t, err, op.ErrCorrupt)
	assert.Equal(t, was, *last, "the entry still points to the older file")
	m.SetFault(nil)
	for _, again := range []error{
		w.Copy(last, files), w.Image(last, images[2].all()),
		w.Finish(entries(images), slices.Values([]run.ID(nil))),
	} {
		assert.True(t, vfs.IsNoSpace(again), "nothing is written behind a gap: %v", again)
	}
	require.NoError(t, w.Abort())

	require.NoError(t, m.Flip(path(1), 8*(last.Location.Offset+last.Location.Length)-1))
	w, err = NewWriter(m, dir, store, shard, 3, timeOf(3))
	require.NoError(t, err)
	requireCorrupt(t, w.Copy(last, files), Name(dir, 1), 4<<20)
	assert.Equal(t, was, *last)
	require.NoError(t, w.Copy(&images[0].entry, files))
	require.NoError(t, w.Finish(entries(images), slices.Values([]run.ID(nil))), "the damaged image stays where it is")
	require.NoError(t, files.Close())
	_, _, err = read(m, dir, 3)
	requireCorrupt(t, err, Name(dir, 1), 4<<20)
}

// TestWriterRefuses what a reader would: at the next open it is too late.
func TestWriterRefuses(t *testing.T) {
	huge := make([]byte, maxItem) // never touched
	for name, items := range map[string][]item{
		"empty key":           {{"", op.Item{Version: 1}}},
		"tag 0":               {{"\x00k", op.Item{Version: 1}}},
		"tag 7":               {{"\x07k", op.Item{Version: 1}}},
		"version 0":           {kv("k", "v", 0, 0)},
		"negative deadline":   {kv("k", "v", 1, -1)},
		"deadline on a trace": {{op.MapKey(op.Trace, "k"), op.Item{Version: 1, Deadline: 1}}},
		"out of order":        {kv("b", "", 1, 0), kv("a", "", 1, 0)},
		"twice":               {kv("a", "", 1, 0), kv("a", "", 2, 0)},
		"too large":           {{op.MapKey(op.KV, "k"), op.Item{Value: huge, Version: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newDisk(t)
			w, err := NewWriter(m, dir, store, shard, 1, 0)
			require.NoError(t, err)
			im := &image{entry: Entry{Run: id(1), Version: 1, Keys: 77}, items: items}
			was := im.entry
			err = w.Image(&im.entry, im.all())
			require.ErrorContains(t, err, id(1).String())
			assert.Equal(t, was, im.entry, "after an error the entry is as it was")
			assert.Equal(t, err, w.Finish(entries(nil), slices.Values([]run.ID(nil))), "a spoilt file is not finished")
			require.NoError(t, w.Abort())
			assert.Empty(t, m.Files())
		})
	}
}

func TestFinishRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		runs, deleted []run.ID
		file          uint64
	}{
		"zero run":               {runs: []run.ID{{}}},
		"runs out of order":      {runs: []run.ID{id(2), id(1)}},
		"a run twice":            {runs: []run.ID{id(1), id(1)}},
		"zero deleted run":       {deleted: []run.ID{{}}},
		"deleted out of order":   {deleted: []run.ID{id(2), id(1)}},
		"an image in the future": {runs: []run.ID{id(1)}, file: 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := newDisk(t)
			w, err := NewWriter(m, dir, store, shard, 1, 0)
			require.NoError(t, err)
			var images []*image
			for _, id := range c.runs {
				images = append(images, &image{entry: Entry{Run: id, Version: 1, Location: Location{File: c.file}}})
			}
			err = w.Finish(entries(images), slices.Values(c.deleted))
			require.Error(t, err)
			assert.False(t, isFinal(err))
			require.NoError(t, w.Abort())
			assert.Empty(t, m.Files())
		})
	}
}

func TestAbort(t *testing.T) {
	m, images := newDisk(t), larger()
	require.NoError(t, write(m, 1, samples()))
	w, err := NewWriter(m, dir, store, shard, 2, 0)
	require.NoError(t, err)
	require.NoError(t, w.Image(&images[2].entry, images[2].all()))
	assert.Equal(t, []string{path(1), path(2) + ".tmp"}, m.Files())
	require.NoError(t, w.Abort())
	assert.Equal(t, []string{path(1)}, m.Files())
	require.NoError(t, w.Abort(), "once more does nothing")
	assert.ErrorIs(t, w.Image(&images[0].entry, images[0].all()), errDone)
	assert.ErrorIs(t, w.Copy(&images[0].entry, nil), errDone)
	assert.ErrorIs(t, w.Finish(entries(nil), slices.Values([]run.ID(nil))), errDone)

	require.NoError(t, func() error {
		w, err = NewWriter(m, dir, store, shard, 2, 0)
		require.NoError(t, err)
		return w.Finish(entries(nil), slices.Values([]run.ID(nil)))
	}())
	require.NoError(t, w.Abort())
	assert.Equal(t, []string{path(1), path(2)}, m.Files(), "what is finished stays")
	assert.ErrorIs(t, w.Finish(entries(nil), slices.Values([]run.ID(nil))), errDone)

	m.SetFault(func(o vfs.Op) error { return syscall.EROFS })
	_, err = NewWriter(m, dir, store, shard, 3, 0)
	assert.ErrorIs(t, err, syscall.EROFS)
}

// TestEveryWriteOfALongIndexFails: among images, entries and deleted runs.
func TestEveryWriteOfALongIndexFails(t *testing.T) {
	var images []*image
	var deleted []run.ID
	for i := range 70_000 {
		id := run.ID{0: 1, 12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i)}
		deleted = append(deleted, id)
		if i < 3000 {
			images = append(images, &image{Entry{Run: id, Version: 1, Info: make([]byte, 400)}, []item{kv("k", strings.Repeat("v", 400), 1, 0)}})
		}
	}
	for fail := 1; ; fail++ {
		m, writes := newDisk(t), 0
		m.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Write {
				if writes++; writes == fail {
					return syscall.ENOSPC
				}
			}
			return nil
		})
		err := write(m, 1, images, deleted...)
		if writes < fail {
			require.NoError(t, err)
			check(t, m, 1, images, deleted...)
			assert.Greater(t, fail, 4, "one write each of images, entries, deleted runs and the footer")
			break
		}
		require.True(t, vfs.IsNoSpace(err), "%v", err)
		require.False(t, isFinal(err))
		require.Empty(t, m.Files())
	}
}

// TestLeftoverOfACrash: an unfinished file of the same name is written anew.
func TestLeftoverOfACrash(t *testing.T) {
	m, images := newDisk(t), samples()
	require.NoError(t, m.WriteFile(path(1)+".tmp", make([]byte, 1<<20)))
	require.NoError(t, write(m, 1, images))
	check(t, m, 1, images)
}

func TestClean(t *testing.T) {
	m := newDisk(t)
	foreign := []string{
		"1.ckpt", "000000000000000A.ckpt", "0000000000000001.ckpt.tmp.tmp", "0000000000000001.ckpt~", "0000000000000001.log",
		"000000000000000g.ckpt", "+00000000000000a.ckpt", "00000000000000001.ckpt", "MANIFEST", "MANIFEST.tmp", "x.tmp",
	}
	for _, name := range foreign {
		require.NoError(t, m.WriteFile(dir+"/"+name, nil))
	}
	require.NoError(t, m.MkdirAll(dir+"/0000000000000007.ckpt", 0o755))
	require.NoError(t, m.WriteFile(dir+"/0000000000000008.ckpt/file", nil))
	for _, sequence := range []uint64{1, 2, 0xabcdef, 1<<64 - 1} {
		require.NoError(t, m.WriteFile(path(sequence), nil))
		require.NoError(t, m.WriteFile(path(sequence)+".tmp", nil))
	}
	require.NoError(t, Clean(m, dir, map[uint64]bool{2: true, 1<<64 - 1: true, 99: true, 1: false}))

	want := []string{path(2), path(1<<64 - 1), dir + "/0000000000000008.ckpt/file"}
	for _, name := range foreign {
		want = append(want, dir+"/"+name)
	}
	slices.Sort(want)
	assert.Equal(t, want, m.Files())
	_, err := m.Stat(dir + "/0000000000000007.ckpt")
	assert.NoError(t, err, "a directory is not a checkpoint")

	assert.ErrorIs(t, Clean(m, "elsewhere", nil), os.ErrNotExist)
	m.SetFault(func(o vfs.Op) error { return syscall.EIO })
	assert.ErrorIs(t, Clean(m, dir, nil), syscall.EIO)
}

func genItems() *rapid.Generator[[]item] {
	return rapid.Custom(func(t *rapid.T) []item {
		var items []item
		keys := rapid.MapOfN(rapid.String(), rapid.Uint64Min(1), 0, 12).Draw(t, "keys")
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			size := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(blockTarget-300, blockTarget+300),
				rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, writeChunk + 1})).Draw(t, "size")
			deadline := rapid.Int64Min(0).Draw(t, "deadline")
			items = append(items, kv(key, strings.Repeat("v", size), keys[key], deadline))
		}
		return items
	})
}

// TestCheckpointsAgainstAModel writes a row of checkpoints: of each run that the
// model holds the image is written, copied, left where it is, or the run deleted.
func TestCheckpointsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newDisk(t)
		files := OpenFiles(m, dir, store, shard)
		model := map[run.ID]*image{}
		for sequence := uint64(1); sequence <= 4; sequence++ {
			w, err := NewWriter(m, dir, store, shard, sequence, timeOf(sequence))
			require.NoError(t, err)
			var deleted []run.ID
			for n := byte(1); n <= 5; n++ {
				im, id := model[id(n)], id(n)
				switch what := rapid.SampledFrom([]string{"write", "copy", "leave", "delete"}).Draw(t, "what"); {
				case what == "write":
					im = &image{
						Entry{Run: id, Version: sequence, Time: int64(n), FirstSeq: 1, LastSeq: sequence, Info: []byte{n}},
						genItems().Draw(t, "items"),
					}
					require.NoError(t, w.Image(&im.entry, im.all()))
					model[id] = im
				case im == nil || what == "leave":
				case what == "copy":
					require.NoError(t, w.Copy(&im.entry, files))
				default:
					delete(model, id)
					deleted = append(deleted, id)
				}
			}
			images := slices.SortedFunc(maps.Values(model), func(a, b *image) int { return a.entry.Run.Compare(b.entry.Run) })
			require.NoError(t, w.Finish(entries(images), slices.Values(deleted)))
			check(t, m, sequence, images, deleted...)

			keep, want := map[uint64]bool{sequence: true}, []string{}
			for _, im := range images {
				keep[im.entry.Location.File] = true
			}
			for _, sequence := range slices.Sorted(maps.Keys(keep)) {
				want = append(want, path(sequence))
			}
			require.NoError(t, files.Close())
			require.NoError(t, Clean(m, dir, keep))
			require.Equal(t, want, m.Files())
			check(t, m, sequence, images, deleted...)
		}
		require.NoError(t, files.Close())
	})
}
