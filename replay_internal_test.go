package inmem

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/run"
	"inmem/shard"
)

// A history whose times go back was not written by a store: no store of a test
// gets one.
func TestVerifyOfTimesThatGoBack(t *testing.T) {
	v := &verifier{snap: &shard.Snapshot{Head: shard.Head{Version: 9}}}
	id := run.ID{1}
	for _, at := range []int64{1000, 1000, 1001} {
		require.NoError(t, v.commit(context.Background(), &Replayed{Commit: &Commit{Run: id, Version: 7, Time: at}}))
	}
	err := v.commit(context.Background(), &Replayed{Commit: &Commit{Run: id, Version: 8, Time: 999}})
	var wrong *VerifyError
	require.ErrorAs(t, err, &wrong)
	require.EqualValues(t, 8, wrong.Version)
	require.ErrorIs(t, err, ErrNotReproduced)
	require.ErrorContains(t, err, "its time is 2 ms before that of the commit before")
}
