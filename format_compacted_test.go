package inmem_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

var writeCompactedStore = flag.Bool("docs.compacted", false, "write the golden store with compacted and compressed files anew")

// compactedStore has compacted segments, plain and packed, with bases, a log that
// was trimmed, and a compressed checkpoint.
var compactedStore = filepath.Join("testdata", "format-v4")

var compactedRuns = map[string]run.ID{
	"all":  {0: 1, 6: 0x70, 8: 0x80, 15: 11},
	"9":    {0: 1, 6: 0x70, 8: 0x80, 15: 12},
	"none": {0: 1, 6: 0x70, 8: 0x80, 15: 13},
}

func compactedOptions(fsys vfs.FS, compression inmem.Compression) *inmem.Options {
	opts := formatOptions()
	opts.FS, opts.SegmentSize, opts.CheckpointBytes, opts.PruneInterval = fsys, 4<<10, -1, -1
	opts.Compression = compression
	return opts
}

// writeCompacted writes a store, in two lives, each of which prune ends.
func writeCompacted(t *testing.T, fsys vfs.FS, dir string, prune func(*inmem.DB)) {
	for life, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
		db, err := inmem.Open(dir, compactedOptions(fsys, compression))
		require.NoError(t, err)
		for _, keep := range []string{"all", "9", "none"} {
			if life == 0 {
				_, err := db.BeginRun(ctx, run.Meta{ID: compactedRuns[keep], Tags: map[string]string{inmem.TagHistory: keep}})
				require.NoError(t, err)
			}
			r, err := db.Run(compactedRuns[keep])
			require.NoError(t, err)
			for i := range map[string]int{"all": 10, "9": 40, "none": 40}[keep] {
				put(t, r, key(i%3), fmt.Sprint(life, " ", i, " ", strings.Repeat(keep, 100)))
			}
		}
		prune(db)
		require.NoError(t, db.Close())
	}
}

// TestCompactedFormatOpens: what format 3 of segments and format 3 of checkpoints
// were when they were settled is still read, and gone on with.
func TestCompactedFormatOpens(t *testing.T) {
	prune := func(db *inmem.DB) {
		_, err := db.Prune(ctx, &inmem.PruneOptions{Everything: true})
		require.NoError(t, err)
	}
	if *writeCompactedStore {
		require.NoError(t, os.RemoveAll(compactedStore))
		writeCompacted(t, vfs.OS, compactedStore, prune)
		require.NoError(t, os.Remove(filepath.Join(compactedStore, "LOCK")))
	}
	whole := vfs.NewMem()
	writeCompacted(t, whole, "s", func(*inmem.DB) {})
	want, err := inmem.Open("s", compactedOptions(whole, 0))
	require.NoError(t, err)
	defer func() { require.NoError(t, want.Close()) }()

	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(compactedStore)))
	checked, err := inmem.Check(dir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	formats := map[string]int{}
	for name, b := range filesIn(t, compactedStore) {
		formats[fmt.Sprint(filepath.Ext(name), b[8])]++
	}
	require.Positive(t, formats[".wal3"])
	require.Positive(t, formats[".wal2"])
	require.Equal(t, 1, formats[".ckpt3"])

	db, err := inmem.Open(dir, compactedOptions(vfs.OS, 0))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for range 2 {
		for keep, id := range compactedRuns {
			a, b := runOf(t, want, id), runOf(t, db, id)
			_, newest, err := a.Digest()
			require.NoError(t, err)
			first := map[string]uint64{"all": 1, "9": newest - 8, "none": newest}[keep]
			for v := first; v <= newest; v++ {
				past, err := a.At(ctx, v)
				require.NoError(t, err)
				golden, err := b.At(ctx, v)
				require.NoError(t, err, "history %s, version %d of %d", keep, v, newest)
				require.Equal(t, past.Digest(), golden.Digest())
			}
			_, err = b.At(ctx, 2)
			require.Equal(t, keep != "all", err != nil)
		}
		prune(db)
	}
}
