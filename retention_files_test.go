package inmem_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
	"inmem/wal"
)

// TestPrunedStoreCopiedAndSalvaged: what reads the files by itself understands
// what is not there.
func TestPrunedStoreCopiedAndSalvaged(t *testing.T) {
	for _, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
		p := aboutToPrune(t, compression)
		p.prune(nil)
		require.NoError(t, p.Flush(ctx))

		checked, err := p.Backup(ctx, "/data/copy")
		require.NoError(t, err)
		require.Empty(t, checked.Problems)
		opts := p.opts
		copied, err := inmem.Open("/data/copy", &opts)
		require.NoError(t, err)
		p.requireIn(copied, "a copy")
		require.NoError(t, copied.Close())

		records, bases := 0, 0
		for _, s := range copiedSegments(t, p.mem) {
			d, err := wal.ReadSegment(p.mem, s, func(f wal.Frame) error {
				switch f.Kind {
				case wal.Record:
					records++
				case wal.Base:
					bases++
				}
				return nil
			})
			require.NoError(t, err)
			require.Empty(t, d.Flaw, s)
		}
		require.Positive(t, records)

		report, err := inmem.Salvage(ctx, "/data/copy", "/data/saved", &opts)
		require.NoError(t, err)
		require.True(t, report.Complete(), "%+v", report)
		saved, err := inmem.Open("/data/saved", &opts)
		require.NoError(t, err)
		for id, d := range p.newest {
			got, _, err := runOf(t, saved, id).Digest()
			require.NoError(t, err)
			require.Equal(t, d, got)
		}
		for id, versions := range p.whole {
			for v, d := range versions {
				past, err := runOf(t, saved, id).At(ctx, v)
				require.NoError(t, err)
				require.Equal(t, d, past.Digest())
			}
		}
		for _, id := range append(p.deleted, p.ended...) {
			_, err := saved.BeginRun(ctx, run.Meta{ID: id})
			require.ErrorIs(t, err, inmem.ErrRunDeleted)
		}
		require.NoError(t, saved.Close())
		if compression == inmem.NoCompression {
			require.Positive(t, bases)
		}
	}
}

// copiedSegments are the segments of the copy.
func copiedSegments(t *testing.T, mem *vfs.Mem) []string {
	paths, err := wal.SegmentFiles(mem, "/data/copy/shard-0000")
	require.NoError(t, err)
	require.Greater(t, len(paths), 2)
	return paths
}
