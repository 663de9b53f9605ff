package shard

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// TestLoadsOnTheirWayCount: what readers have loaded is charged before the owner
// has time for it, and once.
func TestLoadsOnTheirWayCount(t *testing.T) {
	m := NewMemory(1 << 20)
	r := newRig(t, func(o *rigOptions) { o.memory = m })
	var handles []*Handle
	for range 6 {
		h := r.begin()
		r.put(h, "k", strings.Repeat("v", 10_000))
		handles = append(handles, h)
	}
	require.NoError(t, r.Checkpoint(ctx))
	gone, err := r.evict(ctx, r.candidates(nil)[:5])
	require.NoError(t, err)
	require.Equal(t, 5, gone)

	reached, gate := make(chan struct{}), make(chan struct{})
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == vfs.Sync && hasSuffix(o.Name, ".wal") {
			r.fs.SetFault(nil)
			close(reached)
			<-gate
		}
		return nil
	})
	busy := make(chan error, 1)
	go func() {
		req := put("k", "v")
		req.Durability = op.Strict
		_, err := r.Commit(ctx, r.begin().ID, req)
		busy <- err
	}()
	<-reached
	for _, h := range handles {
		before, cold := m.used.Load(), h.snapshot.Load().cold != nil
		_, err := r.Load(h)
		assert.NoError(t, err)
		if cold {
			charged := m.used.Load()
			assert.Greater(t, charged, before+10_000)
			_, err = r.Load(h)
			assert.NoError(t, err)
			assert.Equal(t, charged, m.used.Load(), "once")
		}
	}
	close(gate)
	require.NoError(t, <-busy)
	_, err = r.Commit(ctx, handles[0].ID, put("more", "v")) // behind all that was on its way
	require.NoError(t, err)
	require.Zero(t, r.metrics.cold.Load())
	require.Equal(t, r.Metrics().Bytes, m.used.Load())
}
