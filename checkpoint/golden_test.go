package checkpoint

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenDir holds what the format looks like, and goldenOld what those before
// looked like when they were settled. Later programs must read them too, so they
// are written anew only for a format that nobody has yet.
var (
	goldenDir = filepath.Join("testdata", "v2")
	goldenOld = []string{filepath.Join("testdata", "v1")}
)

const (
	goldenFirst  = 5
	goldenSecond = 0x1234
)

// goldenImages is what is in the golden checkpoint: one run with a new image, one
// copied, one left in the older file.
func goldenImages() []*image {
	images := samples()
	images[0].items = append(images[0].items,
		item{op.MapKey(op.StateMachine, "s"), op.Item{Value: []byte("state"), Version: 4}},
		item{op.MapKey(op.Trace, "t"), op.Item{Value: []byte("trace"), Version: 5}},
		item{op.MapKey(op.RunMetadata, ""), op.Item{Value: []byte("meta"), Version: 6}},
		item{op.MapKey(op.Vector, "\xff\x00"), op.Item{Value: []byte{0xff}, Version: math.MaxUint64, Deadline: math.MaxInt64}},
	)
	return images
}

var goldenDeleted = []run.ID{id(8), id(9)}

// writeGolden writes the golden files to a disk in memory, in dir.
func writeGolden(t *testing.T) (*vfs.Mem, []*image) {
	m, images := newDisk(t), goldenImages()
	require.NoError(t, write(m, goldenFirst, images, id(7)))
	files := OpenFiles(m, dir, store, shard)
	w, err := NewWriter(m, dir, store, shard, goldenSecond, timeOf(goldenSecond))
	require.NoError(t, err)
	require.NoError(t, w.Copy(&images[0].entry, files))
	images[2].items = append(images[2].items, kv("new", "item", 1<<41, 0))
	images[2].entry.Version = 1 << 41
	require.NoError(t, w.Image(&images[2].entry, images[2].all()))
	require.NoError(t, w.Finish(entries(images), slices.Values(goldenDeleted)))
	require.NoError(t, files.Close())
	require.NoError(t, NewManifestFile(m, dir, sampleManifest()).Update(func(*Manifest) {}))
	return m, images
}

func TestGoldenFiles(t *testing.T) {
	m, want := writeGolden(t)
	names := m.Files()
	require.Len(t, names, 3)
	if *update {
		require.NoError(t, os.MkdirAll(goldenDir, 0o755))
	}
	for _, name := range names {
		b, err := m.ReadFile(name)
		require.NoError(t, err)
		file := filepath.Join(goldenDir, filepath.Base(name))
		if *update {
			require.NoError(t, os.WriteFile(file, b, 0o644))
		}
		golden, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(golden, b), "%s: the format is written otherwise now\nwas %x\nis  %x", file, golden, b)
	}

	requireGolden(t, goldenDir, want)
}

// TestOldGoldenFiles: what an old index does not say is known when the images
// were read.
func TestOldGoldenFiles(t *testing.T) {
	for _, old := range goldenOld {
		files := OpenFiles(vfs.OS, old, store, shard)
		x, err := files.Index(goldenSecond)
		require.NoError(t, err)
		for i := range x.Entries {
			require.True(t, x.Entries[i].Bare())
		}
		w, err := NewWriter(newDisk(t), dir, store, shard, goldenSecond, 0)
		require.NoError(t, err)
		require.ErrorContains(t, w.Finish(func(yield func(*Entry) bool) { yield(&x.Entries[0]) }, slices.Values(x.Deleted)), "format 1")
		require.NoError(t, w.Abort())
		require.NoError(t, files.Close())

		_, want := writeGolden(t)
		requireGolden(t, old, want)
	}
}

func requireGolden(t *testing.T, dir string, want []*image) {
	manifest, err := ReadManifest(vfs.OS, dir)
	require.NoError(t, err)
	assert.Equal(t, sampleManifest(), manifest)
	x, images, err := read(vfs.OS, dir, goldenSecond)
	require.NoError(t, err)
	assert.Equal(t, timeOf(goldenSecond), x.Time)
	assert.Equal(t, goldenDeleted, x.Deleted)
	assert.Equal(t, want, images)
	for _, im := range images {
		assert.Equal(t, im.digest(), im.entry.Digest)
	}
	assert.EqualValues(t, []uint64{goldenSecond, goldenFirst, goldenSecond}, []uint64{
		images[0].entry.Location.File, images[1].entry.Location.File, images[2].entry.Location.File,
	})
}

// TestLayout pins the parts against the drawings beside the encoders.
func TestLayout(t *testing.T) {
	h := header{store: store, shard: 3, sequence: 0x0102030405060708, time: 0x1112131415161718}
	assert.Equal(t, "696e6d656d434b50"+"02000000"+"03000000"+"73746f726501000000000000000000ff"+
		"0807060504030201"+"1817161514131211"+"000000000000000000000000", hex.EncodeToString(h.encode()[:60]))
	ft := footer{index: 0x40, runs: 2, dead: 1}
	assert.Equal(t, "696e6d656d454e44"+"4000000000000000"+"0200000000000000"+"01000000", hex.EncodeToString(ft.encode()[:28]))
	assert.Equal(t, "02016b"+"0176"+"ac02"+"05",
		hex.EncodeToString(appendItem(nil, "\x01k", op.Item{Value: []byte("v"), Version: 300, Deadline: 5})))
	e := Entry{
		Run: id(2), Version: 1, Time: 2, FirstSeq: 3, LastSeq: 4, Keys: 5, Deadlines: 6,
		Digest: op.Digest{0xd0, 15: 0xd1}, Location: Location{File: 7, Offset: 128, Length: 9}, Info: []byte("i"),
		Earliest: 300, Counts: Counts{op.KV: 2, op.Trace: 1, op.Vector: 2},
	}
	assert.Equal(t, "01000000000000000000000000000207"+"010203040506"+"d00000000000000000000000000000d1"+"07"+"8001"+"09"+"0169"+"ac02"+"0200000100",
		hex.EncodeToString(appendEntry(nil, &e)))
	assert.Equal(t, filepath.Join("d", "0000000000001234.ckpt"), Name("d", 0x1234))
}
