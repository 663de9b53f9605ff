package checkpoint

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// TestCompressedImages: what is compressed is read as it was, and copied into
// files that are, or are not.
func TestCompressedImages(t *testing.T) {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.MkdirAll(dir, 0o755))
	rng := rand.New(rand.NewPCG(1, 2))
	items := map[string]op.Item{}
	for i := range 3000 {
		value := []byte(strings.Repeat(fmt.Sprint("text ", i%7), 20))
		if i%10 == 0 { // which does not compress
			for k := range value {
				value[k] = byte(rng.Uint32())
			}
		}
		items[fmt.Sprintf("\x01key %06d", i)] = op.Item{Value: value, Version: uint64(i + 1)}
	}
	items["\x01zeros"] = op.Item{Value: make([]byte, 3<<20), Version: 5}
	entry := Entry{Run: run.ID{1}, Version: 4000, FirstSeq: 1, LastSeq: 9}
	write := func(sequence uint64, compress bool, fill func(*Writer) error) int64 {
		w, err := NewWriter(fsys, dir, store, shard, sequence, 1)
		require.NoError(t, err)
		if compress {
			require.NoError(t, w.Compress())
		}
		require.NoError(t, fill(w))
		require.NoError(t, w.Finish(func(yield func(*Entry) bool) { yield(&entry) }, func(func(run.ID) bool) {}))
		return w.Size()
	}
	files := OpenFiles(fsys, dir, store, shard)
	defer func() { require.NoError(t, files.Close()) }()
	check := func(sequence uint64) {
		require.NoError(t, files.Verify(sequence))
		x, err := files.Index(sequence)
		require.NoError(t, err)
		require.Equal(t, entry.Location, x.Entries[0].Location)
		n := 0
		require.NoError(t, files.Image(&x.Entries[0], func(key []byte, it op.Item) {
			want := items[string(key)]
			require.True(t, want.Version == it.Version && bytes.Equal(want.Value, it.Value), "%q", key)
			n++
		}))
		require.Equal(t, len(items), n)
	}
	image := func(w *Writer) error { return w.Image(&entry, inOrder(items)) }
	packed := write(9, true, image)
	check(9)
	copied := func(w *Writer) error { return w.Copy(&entry, files) }
	plain := write(10, false, copied)
	check(10)
	again := write(11, true, copied)
	check(11)
	require.Less(t, packed, plain/4)
	require.InDelta(t, packed, again, 1000)
}

func inOrder(items map[string]op.Item) func(func(string, op.Item) bool) {
	return func(yield func(string, op.Item) bool) {
		for i := range 3000 {
			k := fmt.Sprintf("\x01key %06d", i)
			if !yield(k, items[k]) {
				return
			}
		}
		yield("\x01zeros", items["\x01zeros"])
	}
}

func FuzzUnpack(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	require.NoError(f, err)
	f.Add(appendPacked(nil, enc, []byte(strings.Repeat("some text ", 100))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var u unpacker
		body, err := u.unpack(b)
		if err == nil {
			require.LessOrEqual(t, len(body), maxBody(len(b)))
			return
		}
		require.ErrorIs(t, err, errMalformed)
	})
}
