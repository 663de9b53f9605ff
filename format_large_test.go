package inmem_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

var writeLargeStore = flag.Bool("docs.large", false, "write the golden store with large values anew")

// largeStore has large values apart from the images: one in a plain checkpoint, one
// in a compressed one that refers to both.
var largeStore = filepath.Join("testdata", "format-v5")

var largeRun = run.ID{0: 1, 6: 0x70, 8: 0x80, 15: 21}

// goldenValue is a large value that takes little room in a repository.
func goldenValue(n byte) []byte {
	return bytes.Repeat([]byte{n, 'l', 'a', 'r', 'g', 'e', '.', '\n'}, op.Large/8)
}

// TestLargeFormatOpens: what format 4 of checkpoints was when it was settled is still
// read, and gone on with.
func TestLargeFormatOpens(t *testing.T) {
	options := func(compression inmem.Compression) *inmem.Options {
		opts := compactedOptions(vfs.OS, compression)
		opts.SegmentSize = 1 << 20
		return opts
	}
	if *writeLargeStore {
		require.NoError(t, os.RemoveAll(largeStore))
		for life, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
			db, err := inmem.Open(largeStore, options(compression))
			require.NoError(t, err)
			if life == 0 {
				_, err := db.BeginRun(ctx, run.Meta{ID: largeRun, Name: "large"})
				require.NoError(t, err)
			}
			r := runOf(t, db, largeRun)
			put(t, r, fmt.Sprint("large ", life), string(goldenValue(byte('0'+life))))
			put(t, r, "small", fmt.Sprint(life))
			require.NoError(t, db.Checkpoint(ctx))
			_, err = db.Prune(ctx, &inmem.PruneOptions{Everything: true})
			require.NoError(t, err)
			require.NoError(t, db.Close())
		}
		require.NoError(t, os.Remove(filepath.Join(largeStore, "LOCK")))
	}
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(largeStore)))
	checked, err := inmem.Check(dir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	formats := map[string]int{}
	for name, b := range filesIn(t, largeStore) {
		formats[fmt.Sprint(filepath.Ext(name), b[8])]++
	}
	require.Equal(t, 2, formats[".ckpt4"])

	db, err := inmem.Open(dir, options(inmem.NoCompression))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r := runOf(t, db, largeRun)
	for range 2 {
		for life := range 2 {
			require.True(t, string(goldenValue(byte('0'+life))) == get(t, r, fmt.Sprint("large ", life)))
		}
		require.Equal(t, "1", get(t, r, "small"))
		put(t, r, "next", "value")
		require.NoError(t, db.Checkpoint(ctx))
	}
}
