package shard

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/retention"
)

// One sweep at a time; who waits for another one stops waiting with its context.
func TestSweepWaits(t *testing.T) {
	r := newRig(t)
	r.sweeping <- struct{}{}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.Sweep(over, SweepOptions{Policy: &retention.Policy{}})
	require.ErrorIs(t, err, context.Canceled)
	<-r.sweeping
	_, err = r.Sweep(ctx, SweepOptions{Policy: &retention.Policy{}})
	require.NoError(t, err)
}
