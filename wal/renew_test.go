package wal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

// TestRenew: a log that begins a new segment leaves one behind that a checkpoint
// covers whole, and ends with a seal all the same.
func TestRenew(t *testing.T) {
	opts := testOptions()
	opts.RenewFrom = 1000
	mem, l := create(t, opts)
	require.NoError(t, l.Renew())
	require.Zero(t, l.Stats().Segments, "there is nothing in the first")
	var want []rec
	for range 20 {
		want = append(want, add(t, l, 1, 100))
	}
	require.NoError(t, l.Commit(op.Batched))
	require.NoError(t, l.Renew())
	require.NoError(t, l.Renew())
	require.EqualValues(t, 1, l.Stats().Segments)
	covered := l.Next() - 1
	last, err := l.Close()
	require.NoError(t, err)
	require.Equal(t, covered+1, last, "the seal")
	recs, sc := mustRead(t, mem)
	requireRecs(t, want, recs)
	require.True(t, sc.Sealed)

	recs, sc, err = read(mem, Bounds{First: 1, After: covered})
	require.NoError(t, err)
	require.Empty(t, recs)
	require.True(t, sc.Sealed)
	require.Less(t, sc.Bytes, int64(100), "the first segment is passed over")

	_, l = reopen(t, mem, opts) // it goes on
	for range 20 {
		want = append(want, add(t, l, 2, 100))
	}
	require.NoError(t, l.Commit(op.Strict))
	require.NoError(t, l.Renew())
	want = append(want, add(t, l, 2, 100))
	_, err = l.Close()
	require.NoError(t, err)
	recs, _ = mustRead(t, mem)
	requireRecs(t, want, recs)
}

// TestRotateWithoutRecords: a segment that has none, or a seal at most, is not
// worth another one.
func TestRotateWithoutRecords(t *testing.T) {
	mem, l := create(t, testOptions())
	rotated := func(want uint64) {
		t.Helper()
		require.NoError(t, l.Rotate())
		require.NoError(t, l.Rotate())
		require.Equal(t, want, l.Stats().Segments)
	}
	rotated(0)
	add(t, l, 1, 100) // which is not written yet
	rotated(1)
	require.NoError(t, l.Flush())
	require.NoError(t, l.Seal())
	rotated(1)
	add(t, l, 1, 100)
	rotated(2)
	add(t, l, 1, 100)
	mustClose(t, l)
	_, l = reopen(t, mem, testOptions())
	rotated(1)
	mustClose(t, l)
	_, sc := mustRead(t, mem)
	require.Zero(t, sc.Unsealed)
}
