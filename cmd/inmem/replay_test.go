package main

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

// TestRecordedRunsReplayedAndMoved: each recorded run of a real agent is what its
// history gives, at every version, and the same in another store, to which it
// went as a file.
func TestRecordedRunsReplayedAndMoved(t *testing.T) {
	file := recordedRuns(t)
	dir := t.TempDir()
	a := newApp(t.Context(), bytes.NewReader(file), io.Discard, io.Discard)
	require.NoError(t, (&importCmd{store: store{dir}, Files: []string{"-"}, Durability: "async", Jobs: 16}).Run(a))
	ctx := context.Background()
	from, err := inmem.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, from.Close()) }()
	to, err := inmem.Open("copy", &inmem.Options{FS: vfs.NewMem(), Shards: 3})
	require.NoError(t, err)
	defer func() { require.NoError(t, to.Close()) }()

	runs, commits := 0, uint64(0)
	for info, err := range from.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		found, err := from.Verify(ctx, info.ID, 1)
		require.NoError(t, err)
		require.EqualValues(t, info.LastVersion, found.Compared)
		digests := map[uint64]inmem.Digest{}
		for rp, err := range from.Replay(ctx, info.ID, nil) {
			require.NoError(t, err)
			p, err := rp.Past(ctx)
			require.NoError(t, err)
			digests[rp.Version] = p.Digest()
		}
		require.Equal(t, found.Digest, digests[info.LastVersion])

		var plain, packed, again bytes.Buffer
		require.NoError(t, from.Export(ctx, info.ID, &plain, nil))
		require.NoError(t, from.Export(ctx, info.ID, &packed, &inmem.ExportOptions{Zstd: true}))
		require.Less(t, packed.Len(), plain.Len()/2)
		_, err = to.Import(ctx, bytes.NewReader(packed.Bytes()))
		require.NoError(t, err)
		r, err := to.Import(ctx, bytes.NewReader(plain.Bytes()))
		require.NoError(t, err)
		moved, err := r.Info()
		require.NoError(t, err)
		require.Equal(t, info, moved)
		for rp, err := range to.Replay(ctx, info.ID, nil) {
			require.NoError(t, err)
			p, err := rp.Past(ctx)
			require.NoError(t, err)
			require.Equal(t, digests[rp.Version], p.Digest(), "run %v, version %d", info.ID, rp.Version)
			delete(digests, rp.Version)
		}
		require.Empty(t, digests)
		require.NoError(t, to.Export(ctx, info.ID, &again, nil))
		require.Equal(t, plain.String(), again.String())
		runs++
		commits += found.Commits
	}
	require.Equal(t, 100, runs)
	require.EqualValues(t, len(linesOf(t, file)), runs)
	t.Logf("%d runs, %d commits", runs, commits)
}
