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
