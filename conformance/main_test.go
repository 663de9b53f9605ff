package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ctx is for the interfaces here that know no context.
var ctx = context.Background()

// open makes a store on the disk, to be closed when the test ends. A suite may
// take its time in one transaction.
func open(t *testing.T) *inmem.DB {
	t.Helper()
	db, err := inmem.Open(t.TempDir(), &inmem.Options{TxTimeout: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func begin(t *testing.T, db *inmem.DB) *inmem.Run {
	t.Helper()
	r, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	return r
}
