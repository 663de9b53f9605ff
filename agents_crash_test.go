package inmem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

// errand is an agent's work with everything in it, and what was seen of it: the
// steps that were executed, and those that were acknowledged as recorded.
type errand struct {
	mu       sync.Mutex
	executed map[string]int
	returned map[string]bool
	again    []string // executed though they were acknowledged before
}

func (e *errand) execute(ctx context.Context) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := inmem.IdempotencyKey(ctx)
	if e.executed[key]++; e.returned[key] {
		e.again = append(e.again, key)
	}
	return len(key)
}

func (e *errand) recorded(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.returned[key] = true
}

func (e *errand) agent(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
	step := func(ctx context.Context, place, name string) error {
		_, err := inmem.Do(ctx, r, name, nil, func(ctx context.Context) (int, error) { return e.execute(ctx), nil })
		if err == nil {
			e.recorded(r.ID().String() + "/" + place)
		}
		return err
	}
	if err := step(ctx, "1", "first"); err != nil {
		return nil, err
	}
	_, err := inmem.Transact(ctx, r, "count", nil, func(ctx context.Context, tx *inmem.Tx) (int, error) {
		b, _ := tx.KV().Get(ctx, "n")
		_, err := tx.KV().Put(ctx, "n", append(b, 'x'))
		return e.execute(ctx), err
	})
	if err != nil {
		return nil, err
	}
	e.recorded(r.ID().String() + "/2")
	if _, err := inmem.Do(ctx, r, "outer", nil, func(ctx context.Context) (int, error) { return 0, step(ctx, "3.1", "inner") }); err != nil {
		return nil, err
	}
	if err := r.Sleep(ctx, 0); err != nil {
		return nil, err
	}
	v, err := inmem.Await[string](ctx, r, "go")
	if err != nil {
		return nil, err
	}
	return v + fmt.Sprint(r.Epoch()), r.Sleep(ctx, 0)
}

// TestAgentPowerLossSweep cuts the power before each operation on the disk of an
// agent at work, in a store that is Strict, and lets another go on: it ends, with
// the same result, what it wrote was written once, and what was acknowledged as
// recorded is not executed again.
func TestAgentPowerLossSweep(t *testing.T) {
	rng := rand.New(rand.NewPCG(crashSeeds(t, 1)[0], 13))
	cuts := 0
	for at := 1; ; at++ {
		e := &errand{executed: map[string]int{}, returned: map[string]bool{}}
		disk, crashed := vfs.NewMem(), (*vfs.Mem)(nil)
		open := func(disk *vfs.Mem) *store {
			s := openStore(t, disk, "/store", func(o *inmem.Options) {
				o.Durability, o.SegmentSize, o.CheckpointBytes, o.Shards = inmem.Strict, 4<<10, 1<<10, 1
			})
			s.Agents().Register("errand", e.agent)
			return s
		}
		s := open(disk)
		begun := disk.Ops()
		var mu sync.Mutex
		disk.SetFault(func(o vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if o.Index-begun == at {
				crashed = disk.Crash(rng)
			}
			if crashed != nil {
				return errDisk // nothing is acknowledged from here on
			}
			return nil
		})
		id := run.Namespace{App: "errand"}.DeriveID("1")
		r, err := s.Agents().Start(ctx, "errand", run.Meta{ID: id}, nil)
		if err == nil {
			_, err = r.Signal(ctx, "go", "gone")
			if err == nil {
				_, err = inmem.Result[string](ctx, r)
			}
		}
		_ = s.Agents().Wait(ctx)
		disk.SetFault(nil)
		s.abandon()
		if crashed == nil {
			require.NoError(t, err)
			require.Greater(t, cuts, 10)
			t.Logf("%d power cuts", cuts)
			return
		}
		cuts++
		s = open(crashed)
		if _, err := s.Agents().Start(ctx, "errand", run.Meta{ID: id}, nil); err != nil {
			require.ErrorIs(t, err, inmem.ErrRunExists)
			_, err = s.Agents().Resume(ctx)
			require.NoError(t, err)
		}
		r = s.run(id)
		if info, err := r.Info(); err == nil && info.Status == run.Active {
			_, err = r.Signal(ctx, "go", "gone")
			if err != nil {
				require.ErrorIs(t, err, inmem.ErrRunNotActive)
			}
		}
		_, err = inmem.Result[string](ctx, r)
		require.NoError(t, err, "cut at %d", at)
		require.Equal(t, "x", get(t, r, "n"), "cut at %d", at)
		require.Empty(t, e.again, "cut at %d", at)
		require.Len(t, e.executed, 3)
		require.NoError(t, s.Agents().Wait(ctx))
		s.end()
	}
}
