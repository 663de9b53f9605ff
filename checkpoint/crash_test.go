package checkpoint

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/run"
	"inmem/vfs"
)

var errPower = errors.New("the power is gone")

// crashAt lets the power go before the operation with the index: it and all
// later ones fail. The function it returns gives what the disk holds then, or,
// if there was no such operation, after a power loss now.
func crashAt(m *vfs.Mem, index int, rng *rand.Rand) func() *vfs.Mem {
	var left *vfs.Mem
	m.SetFault(func(o vfs.Op) error {
		if o.Index < index {
			return nil
		}
		if left == nil {
			left = m.Crash(rng)
		}
		return errPower
	})
	return func() *vfs.Mem {
		if left == nil {
			left = m.Crash(rng)
		}
		return left
	}
}

func isFinal(err error) bool { return errors.As(err, new(*FinalError)) }

// larger are images of more than one chunk, so that writing them takes several
// operations.
func larger() []*image {
	images := samples()
	for i := range 5 {
		key := string(rune('l' + i))
		images[2].items = append(images[2].items, kv(key, strings.Repeat(key, 1<<19), 3, 0))
	}
	return images
}

func path(sequence uint64) string { return filepath.ToSlash(Name(dir, sequence)) }

// TestFinishSurvivesPowerLoss crashes at every operation of a checkpoint. Up to
// the rename nothing has the final name; whatever has it is whole; and once
// Finish is back it is there.
func TestFinishSurvivesPowerLoss(t *testing.T) {
	const old, next = 5, 9
	deleted := []run.ID{id(7), id(8)}
	renameAt := len(operations(t)) - 1
	before := map[bool]int{} // named after a crash between rename and the directory's sync?
	for at := 1; ; at++ {
		done := false
		for seed := range uint64(15) {
			m := newDisk(t)
			first := samples()
			require.NoError(t, write(m, old, first))
			crashed := crashAt(m, m.Ops()+at, rand.New(rand.NewPCG(seed, uint64(at))))
			images := larger()
			done = write(m, next, images, deleted...) == nil
			left := crashed()
			named := slices.Contains(left.Files(), path(next))
			switch {
			case done:
				require.True(t, named, "seed %d: acknowledged and gone", seed)
			case at <= renameAt:
				require.False(t, named, "crash at %d, seed %d: named before the rename", at, seed)
			default:
				before[named]++
			}
			if named {
				check(t, left, next, images, deleted...)
			}
			check(t, left, old, first)
			require.NoError(t, Clean(left, dir, map[uint64]bool{old: true}))
			require.Equal(t, []string{path(old)}, left.Files(), "the next open removes the rest")
			check(t, left, old, first)
		}
		if done {
			break
		}
	}
	assert.Len(t, before, 2, "between the rename and the sync of its directory both happen: %v", before)
}

// operations lists what writing the larger checkpoint does to the disk.
func operations(t *testing.T) []vfs.OpKind {
	var kinds []vfs.OpKind
	m := newDisk(t)
	m.SetFault(func(o vfs.Op) error {
		kinds = append(kinds, o.Kind)
		return nil
	})
	require.NoError(t, write(m, 1, larger()))
	return kinds
}

func TestOrderOfOperations(t *testing.T) {
	kinds := operations(t)
	writes := len(kinds) - 4
	require.Greater(t, writes, 2)
	want := []vfs.OpKind{vfs.Create}
	want = append(want, slices.Repeat([]vfs.OpKind{vfs.Write}, writes)...)
	assert.Equal(t, append(want, vfs.Sync, vfs.Rename, vfs.SyncDir), kinds)
}

// TestWriteFails lets each operation of a checkpoint fail.
func TestWriteFails(t *testing.T) {
	for i, kind := range operations(t) {
		m, first := newDisk(t), samples()
		require.NoError(t, write(m, 5, first))
		base := m.Ops()
		m.SetFault(func(o vfs.Op) error {
			if o.Index == base+i+1 {
				return vfs.ShortWrite{N: 100, Err: syscall.EIO}
			}
			return nil
		})
		err := write(m, 9, larger())
		require.ErrorIs(t, err, syscall.EIO, "%v", kind)
		final := kind == vfs.Sync || kind == vfs.Rename || kind == vfs.SyncDir
		assert.Equal(t, final, isFinal(err), "%v", kind)
		if final {
			assert.ErrorContains(t, err, "checkpoint: ")
		} else {
			assert.Equal(t, []string{path(5)}, m.Files(), "%v: Abort leaves nothing", kind)
			require.NoError(t, write(m, 9, larger()), "and the next one comes about")
		}
		check(t, m, 5, first)
	}
}

func TestDiskFull(t *testing.T) {
	m := newDisk(t)
	m.SetCapacity(1 << 20)
	err := write(m, 9, larger())
	require.True(t, vfs.IsNoSpace(err), "%v", err)
	assert.False(t, isFinal(err), "the store may go on and try again later")
	assert.Empty(t, m.Files())
	m.SetCapacity(0)
	images := larger()
	require.NoError(t, write(m, 9, images))
	check(t, m, 9, images)
}

func TestCloseFails(t *testing.T) {
	b := &brittle{FS: newDisk(t), close: syscall.EIO}
	err := write(b, 9, samples())
	require.True(t, isFinal(err))
	require.ErrorIs(t, err, syscall.EIO)
	assert.NotContains(t, b.FS.(*vfs.Mem).Files(), path(9), "what may not be on the disk gets no name")

	good := newDisk(t)
	require.NoError(t, write(good, 9, samples()))
	b = &brittle{FS: good, close: syscall.EIO}
	files := OpenFiles(b, dir, store, shard)
	_, err = files.Index(9)
	require.NoError(t, err)
	require.ErrorIs(t, files.Close(), syscall.EIO)
	require.NoError(t, files.Close(), "they are closed once")
}
