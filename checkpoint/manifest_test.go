package checkpoint

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
	"inmem/vfs"
)

func sampleManifest() *Manifest {
	return &Manifest{
		Store: store, Created: 1_700_000_000_000, Time: 1_700_000_000_001,
		Shards: []Shard{{First: 1, Synced: 2, Checkpoint: 0}, {First: 0x0102030405060708, Synced: math.MaxUint64, Checkpoint: 9}},
	}
}

const goldenManifest = "696e6d656d4d414e" + "01000000" + "02000000" +
	"73746f726501000000000000000000ff" + "0068e5cf8b010000" + "0168e5cf8b010000" +
	"0100000000000000" + "0200000000000000" + "0000000000000000" +
	"0807060504030201" + "ffffffffffffffff" + "0900000000000000" +
	"7cf57af1"

func TestManifestGolden(t *testing.T) {
	b := sampleManifest().encode()
	assert.Equal(t, goldenManifest, hex.EncodeToString(b))
	m, err := decodeManifest("MANIFEST", b)
	require.NoError(t, err)
	assert.Equal(t, sampleManifest(), m)
}

func TestManifestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &Manifest{
			Created: rapid.Int64().Draw(t, "created"),
			Time:    rapid.Int64().Draw(t, "time"),
			Shards: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Shard {
				return Shard{
					First:      rapid.Uint64Min(1).Draw(t, "first"),
					Synced:     rapid.Uint64().Draw(t, "synced"),
					Checkpoint: rapid.Uint64().Draw(t, "checkpoint"),
				}
			}), 1, 20).Draw(t, "shards"),
		}
		copy(m.Store[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "store"))
		got, err := decodeManifest("", m.encode())
		require.NoError(t, err)
		require.Equal(t, m, got)
	})
	most := &Manifest{Shards: slices.Repeat([]Shard{{First: 1}}, MaxShards)}
	got, err := decodeManifest("", most.encode())
	require.NoError(t, err)
	assert.Len(t, got.Shards, MaxShards)
}

func readBytes(t *testing.T, b []byte) (*Manifest, error) {
	m := newDisk(t)
	require.NoError(t, m.WriteFile("store/MANIFEST", b))
	return ReadManifest(m, "store")
}

var manifestPath = filepath.Join("store", "MANIFEST")

func TestManifestDamage(t *testing.T) {
	good := sampleManifest().encode()
	for bit := range len(good) * 8 {
		b := slices.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		_, err := readBytes(t, b)
		requireCorrupt(t, err, manifestPath, len(b), "bit %d", bit)
	}
	for n := range good {
		_, err := readBytes(t, good[:n])
		requireCorrupt(t, err, manifestPath, len(good), "the first %d bytes", n)
	}
	_, err := readBytes(t, append(slices.Clone(good), 0))
	requireCorrupt(t, err, manifestPath, len(good)+1, "a byte more")
	_, err = readBytes(t, make([]byte, maxManifest+1))
	requireCorrupt(t, err, manifestPath, maxManifest+1, "too large")
}

// sealManifest makes the checksum right.
func sealManifest(b []byte) []byte {
	if len(b) >= 4 {
		binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	}
	return b
}

func TestManifestThatNobodyWrote(t *testing.T) {
	for name, c := range map[string]struct {
		at     int
		value  uint32
		offset int64
	}{
		"format 0":          {8, 0, 8},
		"no shards":         {12, 0, 12},
		"a shard too many":  {12, 3, 12},
		"a shard too few":   {12, 1, 12},
		"2^32-1 shards":     {12, math.MaxUint32, 12},
		"first sequence 0":  {48, 0, 48},
		"not even the name": {0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := sampleManifest().encode()
			binary.LittleEndian.PutUint32(b[c.at:], c.value)
			_, err := readBytes(t, sealManifest(b))
			requireCorrupt(t, err, manifestPath, len(b))
			var corrupt *op.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Equal(t, c.offset, corrupt.Offset)
		})
	}
	tooMany := (&Manifest{Shards: slices.Repeat([]Shard{{First: 1}}, MaxShards+1)}).encode()
	_, err := decodeManifest("m", tooMany)
	requireCorrupt(t, err, "m", len(tooMany))
}

func TestManifestOfANewerFormat(t *testing.T) {
	b := sampleManifest().encode()
	binary.LittleEndian.PutUint32(b[8:], manifestVersion+1)
	binary.LittleEndian.PutUint32(b[12:], 77) // whatever the new format means by it
	_, err := readBytes(t, sealManifest(b))
	var newer *op.UnsupportedError
	require.ErrorAs(t, err, &newer)
	assert.Equal(t, &op.UnsupportedError{File: manifestPath, Version: manifestVersion + 1, Known: manifestVersion}, newer)
	assert.NotErrorIs(t, err, op.ErrCorrupt)
}

func TestReadManifestErrors(t *testing.T) {
	m := newDisk(t)
	_, err := ReadManifest(m, "store")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, m.WriteFile("store/MANIFEST", sampleManifest().encode()))
	m.SetReadFault(func(vfs.Op) error { return syscall.EIO })
	_, err = ReadManifest(m, "store")
	assert.ErrorIs(t, err, syscall.EIO)
	assert.NotErrorIs(t, err, op.ErrCorrupt, "what cannot be read is not damaged")
}

func TestManifestFileKeepsItsOwnCopy(t *testing.T) {
	given := sampleManifest()
	f := NewManifestFile(newDisk(t), "store", given)
	given.Shards[0].First = 99
	f.Current().Shards[0].First = 98
	var kept *Manifest
	require.NoError(t, f.Update(func(m *Manifest) { kept = m }))
	kept.Shards[0].First = 97
	assert.Equal(t, sampleManifest(), f.Current())
}

func TestUpdateRefusesWhatCannotBeRead(t *testing.T) {
	m := newDisk(t)
	f := NewManifestFile(m, "store", sampleManifest())
	require.NoError(t, f.Update(func(*Manifest) {}))
	for name, spoil := range map[string]func(*Manifest){
		"no shards":        func(m *Manifest) { m.Shards = nil },
		"too many shards":  func(m *Manifest) { m.Shards = slices.Repeat(m.Shards, MaxShards) },
		"first sequence 0": func(m *Manifest) { m.Shards[1].First = 0 },
	} {
		ops := m.Ops()
		assert.Error(t, f.Update(spoil), name)
		assert.Equal(t, ops, m.Ops(), "%s: nothing is written", name)
		assert.Equal(t, sampleManifest(), f.Current(), name)
	}
}

func TestUpdateConcurrently(t *testing.T) {
	const shards, updates = 8, 25
	m := newDisk(t)
	f := NewManifestFile(m, "store", &Manifest{Store: store, Shards: slices.Repeat([]Shard{{First: 1}}, shards)})
	var wg sync.WaitGroup
	for i := range shards {
		wg.Go(func() {
			for n := range updates {
				assert.NoError(t, f.Update(func(m *Manifest) {
					m.Time++
					m.Shards[i].Synced++
				}))
				assert.GreaterOrEqual(t, f.Current().Shards[i].Synced, uint64(n+1))
			}
		})
		wg.Go(func() {
			for range updates {
				got, err := ReadManifest(m, "store")
				if err != nil {
					assert.ErrorIs(t, err, fs.ErrNotExist, "a reader sees a whole manifest or none")
					continue
				}
				var sum uint64
				for _, s := range got.Shards {
					sum += s.Synced
				}
				assert.EqualValues(t, got.Time, sum, "each update is there whole")
			}
		})
	}
	wg.Wait()
	got, err := ReadManifest(m.CrashWith(rand.New(rand.NewPCG(1, 1)), vfs.DropAll), "store")
	require.NoError(t, err)
	assert.Equal(t, f.Current(), got)
	for _, s := range got.Shards {
		assert.EqualValues(t, updates, s.Synced)
	}
	assert.EqualValues(t, shards*updates, got.Time)
}

// TestUpdateFails lets each operation of an update fail.
func TestUpdateFails(t *testing.T) {
	final := map[vfs.OpKind]bool{vfs.Create: false, vfs.Write: false, vfs.Sync: true, vfs.Rename: true, vfs.SyncDir: true}
	seen := map[vfs.OpKind]bool{}
	for i := 1; ; i++ {
		m := newDisk(t)
		f := NewManifestFile(m, "store", sampleManifest())
		require.NoError(t, f.Update(func(*Manifest) {}))
		failAt, kind := m.Ops()+i, vfs.OpKind(0)
		m.SetFault(func(o vfs.Op) error {
			if o.Index == failAt {
				kind = o.Kind
				return vfs.ShortWrite{N: 10, Err: syscall.ENOSPC}
			}
			return nil
		})
		change := func(m *Manifest) { m.Shards[0].Checkpoint = 77 }
		err := f.Update(change)
		if kind == 0 {
			require.NoError(t, err)
			break
		}
		seen[kind] = true
		require.ErrorIs(t, err, syscall.ENOSPC)
		assert.ErrorContains(t, err, "replacing the manifest")
		assert.Equal(t, final[kind], isFinal(err), "%v", kind)
		assert.Equal(t, sampleManifest(), f.Current(), "%v", kind)
		if !final[kind] {
			for seed := range uint64(20) {
				got, err := ReadManifest(m.Crash(rand.New(rand.NewPCG(seed, 0))), "store")
				require.NoError(t, err)
				assert.Equal(t, sampleManifest(), got, "%v", kind)
			}
			assert.NotContains(t, m.Files(), "store/MANIFEST.tmp")
			require.NoError(t, f.Update(change), "the disk has room again")
			got, err := ReadManifest(m, "store")
			require.NoError(t, err)
			assert.EqualValues(t, 77, got.Shards[0].Checkpoint)
		}
	}
	assert.Len(t, seen, len(final), "%v", seen)
}

func TestUpdateFailsAtClose(t *testing.T) {
	b := &brittle{FS: newDisk(t), close: syscall.EIO}
	err := NewManifestFile(b, "store", sampleManifest()).Update(func(*Manifest) {})
	require.True(t, isFinal(err))
	require.ErrorIs(t, err, syscall.EIO)
	_, err = ReadManifest(b.FS, "store")
	assert.ErrorIs(t, err, fs.ErrNotExist, "what may not be on the disk gets no name")
}

// TestUpdateSurvivesPowerLoss crashes at every operation of a few updates: the
// manifest is the last acknowledged one or the one that was being written.
func TestUpdateSurvivesPowerLoss(t *testing.T) {
	const updates = 3
	counts := map[string]int{}
	for at := 1; ; at++ {
		over := true
		for seed := range uint64(60) {
			m := newDisk(t)
			crashed := crashAt(m, m.Ops()+at, rand.New(rand.NewPCG(seed, uint64(at))))
			f := NewManifestFile(m, "store", sampleManifest())
			acknowledged := int64(0)
			for n := range int64(updates) {
				if f.Update(func(m *Manifest) { m.Time = n + 1 }) != nil {
					over = false
					break
				}
				acknowledged = n + 1
			}
			got, err := ReadManifest(crashed(), "store")
			if acknowledged == 0 && err != nil {
				require.ErrorIs(t, err, fs.ErrNotExist)
				counts["none"]++
				continue
			}
			require.NoError(t, err, "crash at %d, seed %d", at, seed)
			switch got.Time {
			case acknowledged:
				counts["old"]++
			case acknowledged + 1:
				counts["new"]++
			default:
				require.Fail(t, fmt.Sprintf("crash at %d: time %d after %d was acknowledged", at, got.Time, acknowledged))
			}
		}
		if over {
			break
		}
	}
	for _, outcome := range []string{"none", "old", "new"} {
		assert.NotZero(t, counts[outcome], "the sweep reaches %q", outcome)
	}
}
