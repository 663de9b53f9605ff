package inmem_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/recovery"
	"inmem/vfs"
)

func TestSizesOutOfBounds(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.MaxKeySize = 10; o.MaxValueSize = 100; o.MaxCommitSize = 400 })
	r := s.begin()
	face := r.KV()
	longKey, longValue := strings.Repeat("k", 11), big(101)
	calls := map[string]func(key string, value []byte) error{
		"Put":   func(k string, v []byte) error { _, err := face.Put(ctx, k, v); return err },
		"PutIf": func(k string, v []byte) error { _, err := face.PutIf(ctx, k, v, 0); return err },
		"Write": func(k string, v []byte) error {
			var b kv.Batch
			b.Put("fine", nil)
			b.Put(k, v)
			_, err := face.Write(ctx, &b)
			return err
		},
	}
	for name, call := range calls {
		assert.ErrorIs(t, call("", nil), inmem.ErrKeyEmpty, name)
		for _, c := range []struct {
			key   string
			value []byte
			want  inmem.SizeError
		}{
			{longKey, nil, inmem.SizeError{Err: inmem.ErrKeyTooLarge, Size: 11, Max: 10}},
			{"k", longValue, inmem.SizeError{Err: inmem.ErrValueTooLarge, Size: 101, Max: 100}},
		} {
			err := call(c.key, c.value)
			var e *inmem.SizeError
			require.ErrorAs(t, err, &e, name)
			assert.Equal(t, c.want, *e, name)
			assert.ErrorIs(t, err, c.want.Err, name)
		}
	}
	_, err := face.Delete(ctx, "")
	assert.ErrorIs(t, err, inmem.ErrKeyEmpty)
	_, err = face.Delete(ctx, longKey)
	assert.ErrorIs(t, err, inmem.ErrKeyTooLarge)
	_, err = face.Get(ctx, longKey)
	assert.ErrorIs(t, err, inmem.ErrNotFound, "there can be no such key")
	_, err = face.Get(ctx, "")
	assert.ErrorIs(t, err, inmem.ErrNotFound)

	var b kv.Batch
	for i := range 4 {
		b.Put(key(i), big(100))
	}
	_, err = face.Write(ctx, &b)
	var e *inmem.SizeError
	require.ErrorAs(t, err, &e)
	assert.ErrorIs(t, err, inmem.ErrBatchTooLarge)
	assert.Equal(t, 400, e.Max)
	assert.Greater(t, e.Size, 400)

	assert.Empty(t, list(t, r, ""), "nothing of it happened")
	_, version, err := r.Digest()
	require.NoError(t, err)
	assert.Equal(t, uint64(1), version)
	put(t, r, strings.Repeat("k", 10), string(big(100)))
}

// Keys and values are any bytes.
func TestBinaryKeysAndValues(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	want := []string{"\x00", "\x00\x00", "\x01", "a\x00b", "\x7f", "\x80\xfe", "\xff", "\xff\xff", "\xff\xff\x00"}
	for _, k := range want {
		put(t, r, k, "\x00\xff"+k)
	}
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
	r = s.run(r.ID())
	items := list(t, r, "")
	assert.Equal(t, []string{"\x00", "\x00\x00", "\x01", "a\x00b", "\x7f", "\x80\xfe", "\xff", "\xff\xff", "\xff\xff\x00"}, keys(items))
	for _, it := range items {
		assert.Equal(t, "\x00\xff"+it.Key, string(it.Value))
	}
	assert.Equal(t, []string{"\xff", "\xff\xff", "\xff\xff\x00"}, keys(list(t, r, "\xff")))
	assert.Equal(t, []string{"\xff\xff", "\xff\xff\x00"}, keys(list(t, r, "\xff\xff")))
	put(t, r, "empty", "")
	v, err := r.KV().Get(ctx, "empty")
	assert.NoError(t, err)
	assert.Empty(t, v)
}

// The largest key and a value larger than a segment.
func TestLargeKeysAndValues(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 4 << 10; o.MaxKeySize = 1 << 20 })
	r := s.begin()
	long := strings.Repeat("k", 1<<20)
	put(t, r, long, string(big(3<<20)))
	put(t, r, long+"", string(big(5<<20)))
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
	v, err := s.run(r.ID()).KV().Get(ctx, long)
	require.NoError(t, err)
	assert.Equal(t, big(5<<20), v)
}

func TestDirectoryThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := inmem.Open(dir, nil)
		assert.ErrorIs(t, err, inmem.ErrNotDirectory)
		assert.ErrorContains(t, err, dir)
	}
	left, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(left))
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	disk := vfs.NewMem()
	disk.SetFault(func(vfs.Op) error { return os.ErrPermission })
	opts := &inmem.Options{FS: disk}
	_, err := inmem.Open("/store", opts)
	assert.ErrorIs(t, err, os.ErrPermission)
	disk.SetFault(nil)
	s := openStore(t, disk, "/store")
	put(t, s.begin(), "k", "v")
}

// Whatever else is in the directory stays as it is.
func TestForeignFilesStay(t *testing.T) {
	s := newStore(t)
	foreign := []string{"notes.txt", "shard-0000/notes.txt", "shard-0001/0.wal.bak", "other/deep/file", "shard-abc", ".hidden"}
	for _, name := range foreign {
		require.NoError(t, s.mem.WriteFile(filepath.Join(s.dir, name), []byte(name)))
	}
	r := s.begin()
	put(t, r, "k", "v")
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
	put(t, s.run(r.ID()), "k", "w")
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
	for _, name := range foreign {
		b, err := s.mem.ReadFile(filepath.Join(s.dir, name))
		require.NoError(t, err)
		assert.Equal(t, name, string(b))
	}
}

func TestNewerFormat(t *testing.T) {
	s := newStore(t)
	put(t, s.begin(), "k", "v")
	require.NoError(t, s.Close())
	name := filepath.Join(s.dir, "MANIFEST")
	old, err := s.mem.ReadFile(name)
	require.NoError(t, err)
	b := append([]byte(nil), old...)
	binary.LittleEndian.PutUint32(b[8:], 7)
	sum := crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[len(b)-4:], sum)
	require.NoError(t, s.mem.WriteFile(name, b))
	_, err = inmem.Open(s.dir, &s.opts)
	var e *inmem.UnsupportedError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, uint32(7), e.Version)
	assert.ErrorIs(t, err, inmem.ErrUnsupported)
	assert.NotErrorIs(t, err, inmem.ErrCorrupt)
	require.NoError(t, s.mem.WriteFile(name, old))
	s.open()
}

// A creation that a power cut ends at any moment leaves what Open makes a
// store of, and never an error.
func TestCreationCutShort(t *testing.T) {
	const dir = "/a/b/store"
	create := func(disk *vfs.Mem) error {
		db, err := inmem.Open(dir, &inmem.Options{FS: disk, Shards: 2, Durability: inmem.Strict})
		if err != nil {
			return err
		}
		return db.Close()
	}
	whole := vfs.NewMem()
	require.NoError(t, create(whole))
	for at := 1; at <= whole.Ops(); at++ {
		for seed := range uint64(8) {
			rng := rand.New(rand.NewPCG(seed, uint64(at)))
			disk := vfs.NewMem()
			var left *vfs.Mem
			var mu sync.Mutex // shards are opened side by side
			disk.SetFault(func(o vfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if o.Index < at {
					return nil
				}
				if left == nil {
					left = disk.Crash(rng)
				}
				return errCut
			})
			require.ErrorIs(t, create(disk), errCut)
			for name, left := range map[string]*vfs.Mem{"power cut": left, "killed": disk.Clone()} {
				db, err := inmem.Open(dir, &inmem.Options{FS: left, Shards: 2, Durability: inmem.Strict})
				require.NoError(t, err, "%s at operation %d, seed %d", name, at, seed)
				assert.Contains(t, []recovery.Verdict{recovery.Created, recovery.Recreated, recovery.Clean, recovery.Interrupted}, db.Recovery().Verdict)
				r, err := db.BeginRun(ctx, metaNamed("after"))
				require.NoError(t, err)
				put(t, r, "k", "v")
				after := powerLoss(left)
				require.NoError(t, db.Close())
				again, err := inmem.Open(dir, &inmem.Options{FS: after})
				require.NoError(t, err, "%s at operation %d, seed %d, and again", name, at, seed)
				r, err = again.Run(r.ID())
				require.NoError(t, err, "what was acknowledged as synced")
				assert.Equal(t, "v", get(t, r, "k"))
				require.NoError(t, again.Close())
			}
		}
	}
}

var errCut = errors.New("the power is cut")

func TestCheckWithoutAStore(t *testing.T) {
	_, err := inmem.Check(t.TempDir())
	assert.ErrorIs(t, err, inmem.ErrNoStore)
	_, err = inmem.Check(filepath.Join(t.TempDir(), "nothing"))
	assert.ErrorIs(t, err, inmem.ErrNoStore)
}

func TestInvalidCallOptions(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	_, err := r.KV().Put(ctx, "k", nil, kv.Durability(9))
	assert.ErrorIs(t, err, inmem.ErrInvalidOption)
	_, err = r.KV().Delete(ctx, "k", kv.TTL(time.Hour))
	assert.ErrorIs(t, err, inmem.ErrInvalidOption)
	var b kv.Batch
	b.Put("k", nil)
	_, err = r.KV().Write(ctx, &b, kv.TTL(time.Hour))
	assert.ErrorIs(t, err, inmem.ErrInvalidOption)
	b.Put("k", nil, kv.Durability(inmem.Strict))
	_, err = r.KV().Write(ctx, &b)
	assert.ErrorIs(t, err, inmem.ErrInvalidOption)
	assert.Equal(t, "v", get(t, r, "k"))
}
