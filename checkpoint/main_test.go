package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	dir   = "store/3"
	shard = 3
)

var store = [16]byte{'s', 't', 'o', 'r', 'e', 5: 1, 15: 0xff}

// newDisk is a disk on which the shard's directory is durable.
func newDisk(t require.TestingT) *vfs.Mem {
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll(dir, 0o755))
	require.NoError(t, m.SyncDir("store"))
	require.NoError(t, m.SyncDir(""))
	return m
}

type item struct {
	key string
	op.Item
}

// image is a run's state, as it should be read back.
type image struct {
	entry Entry
	items []item
}

func (im *image) all() iter.Seq2[string, op.Item] {
	return func(yield func(string, op.Item) bool) {
		for _, it := range im.items {
			if !yield(it.key, it.Item) {
				return
			}
		}
	}
}

func (im *image) digest() op.Digest {
	var d op.Digester
	for key, it := range im.all() {
		d.Add(key, it)
	}
	return d.Sum(im.entry.Version)
}

func (im *image) deadlines() (n uint64) {
	for _, it := range im.all() {
		if it.Deadline != 0 {
			n++
		}
	}
	return n
}

func id(n byte) run.ID { return run.ID{0: 1, 14: n, 15: 7} }

func kv(key, value string, version uint64, deadline int64) item {
	return item{op.MapKey(op.KV, key), op.Item{Value: []byte(value), Version: version, Deadline: deadline}}
}

// samples are three small runs, one of them empty.
func samples() []*image {
	return []*image{
		{
			Entry{Run: id(1), Version: 9, Time: 1_700_000_000_000, FirstSeq: 1, LastSeq: 40, Info: []byte("info of the first")},
			[]item{
				kv("", "the empty key", 1, 0), kv("a", "", 2, 0), kv("b", "value", 9, 1_700_000_060_000),
				{op.MapKey(op.Event, "1"), op.Item{Value: []byte{0}, Version: 300}},
			},
		},
		{Entry{Run: id(2), Version: 1, Time: 0, FirstSeq: 2, LastSeq: 2, Info: []byte{}}, nil},
		{
			Entry{Run: id(3), Version: 1 << 40, Time: 5, FirstSeq: 3, LastSeq: 1 << 50, Info: []byte{1, 2}},
			[]item{kv("k", strings.Repeat("v", 100), 1, 1)},
		},
	}
}

func entries(images []*image) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for _, im := range images {
			if !yield(&im.entry) {
				return
			}
		}
	}
}

func timeOf(sequence uint64) int64 { return int64(sequence) + 1_000_000 }

// write writes the images, and nothing else, as one checkpoint.
func write(fsys vfs.FS, sequence uint64, images []*image, deleted ...run.ID) error {
	w, err := NewWriter(fsys, dir, store, shard, sequence, timeOf(sequence))
	if err != nil {
		return err
	}
	for _, im := range images {
		if err := w.Image(&im.entry, im.all()); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	if err := w.Finish(entries(images), slices.Values(deleted)); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// read reads a checkpoint with all images of its index. It fails only where the
// index or an image does; the digests it leaves to check.
func read(fsys vfs.FS, in string, sequence uint64) (x *Index, images []*image, err error) {
	files := OpenFiles(fsys, in, store, shard)
	defer func() { err = errors.Join(err, files.Close()) }()
	if x, err = files.Index(sequence); err != nil {
		return nil, nil, err
	}
	for i := range x.Entries {
		im := &image{entry: x.Entries[i]}
		if err := files.Image(&im.entry, func(key []byte, it op.Item) {
			it.Value = bytes.Clone(it.Value)
			im.items = append(im.items, item{string(key), it})
		}); err != nil {
			return nil, nil, err
		}
		images = append(images, im)
	}
	return x, images, nil
}

// check compares a checkpoint with what was written.
func check(t require.TestingT, fsys vfs.FS, sequence uint64, want []*image, deleted ...run.ID) {
	x, got, err := read(fsys, dir, sequence)
	require.NoError(t, err)
	require.Equal(t, sequence, x.Sequence)
	require.Equal(t, timeOf(sequence), x.Time)
	require.Equal(t, deleted, x.Deleted)
	require.Len(t, got, len(want))
	for i, im := range got {
		require.Equal(t, want[i], im)
		require.Equal(t, im.digest(), im.entry.Digest)
		require.Equal(t, uint64(len(im.items)), im.entry.Keys)
		require.Equal(t, im.deadlines(), im.entry.Deadlines)
	}
}

// requireCorrupt demands an error that names file and a place in it.
func requireCorrupt(t require.TestingT, err error, file string, size int, msg ...any) {
	var c *op.CorruptError
	require.ErrorAs(t, err, &c, msg...)
	require.ErrorIs(t, err, op.ErrCorrupt, msg...)
	require.Equal(t, file, c.File, msg...)
	require.NotEmpty(t, c.Reason, msg...)
	require.GreaterOrEqual(t, c.Offset, int64(0), msg...)
	require.LessOrEqual(t, c.Offset, int64(size), msg...)
}

// brittle is a disk whose files fail where a vfs.Mem's cannot.
type brittle struct {
	vfs.FS
	size, close error
}

type brittleFile struct {
	vfs.File
	b *brittle
}

func (b *brittle) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := b.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &brittleFile{f, b}, nil
}

func (f *brittleFile) Size() (int64, error) {
	if f.b.size != nil {
		return 0, f.b.size
	}
	return f.File.Size()
}

func (f *brittleFile) Close() error { return errors.Join(f.File.Close(), f.b.close) }
