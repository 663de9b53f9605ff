package inmem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// largeValue is a value that no other number and size have.
func largeValue(n uint64, size int) []byte {
	b := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(size), byte(size >> 8), byte(size >> 16)})
	rng.Read(b)
	return b
}

func putReader(t testing.TB, r *inmem.Run, key string, value []byte, opts ...kv.WriteOption) uint64 {
	t.Helper()
	version, err := r.KV().PutReader(ctx, key, bytes.NewReader(value), int64(len(value)), opts...)
	require.NoError(t, err)
	return version
}

// Large values come back as they were put, whichever way: by the log, by images,
// by copies of the run; alone, in batches, in transactions; in every mode.
func TestLargeValues(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newStore(t, func(o *inmem.Options) { o.Durability, o.SegmentSize = mode, 1<<20 })
			r := s.begin()
			want := map[string][]byte{}
			sizes := []int{op.Large - 1, op.Large, op.Large + 1, 300_000, 3 << 20}
			if raceEnabled {
				sizes = sizes[:4] // hashing is slow with it
			}
			for i, size := range sizes {
				key := fmt.Sprint("key ", i)
				want[key] = largeValue(uint64(i), size)
				switch i % 3 {
				case 0:
					putReader(t, r, key, want[key])
				case 1:
					put(t, r, key, string(want[key]))
				default:
					_, err := r.KV().PutReader(ctx, key, iotest.HalfReader(bytes.NewReader(want[key])), -1)
					require.NoError(t, err)
				}
			}
			var b kv.Batch
			for i := range 5 {
				key := fmt.Sprint("batch ", i)
				want[key] = largeValue(uint64(i), 50_000*i)
				b.Put(key, want[key])
			}
			_, err := r.KV().Write(ctx, &b)
			require.NoError(t, err)
			require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
				want["tx"], want["tx reader"] = largeValue(8, 100_000), largeValue(9, 200_000)
				if _, err := tx.KV().Put(ctx, "tx", want["tx"]); err != nil {
					return err
				}
				_, err := tx.KV().PutReader(ctx, "tx reader", bytes.NewReader(want["tx reader"]), 200_000)
				require.NoError(t, err)
				v, err := tx.KV().GetReader(ctx, "tx reader")
				require.NoError(t, err)
				require.Equal(t, op.Uncommitted, v.Version())
				return iotest.TestReader(v, want["tx reader"])
			}))
			check := func(r *inmem.Run) {
				t.Helper()
				for key, value := range want {
					require.True(t, bytes.Equal(value, []byte(get(t, r, key))), key)
					v, err := r.KV().GetReader(ctx, key)
					require.NoError(t, err)
					require.Equal(t, int64(len(value)), v.Size())
					var out bytes.Buffer
					_, err = io.Copy(&out, v)
					require.NoError(t, err)
					require.True(t, bytes.Equal(value, out.Bytes()), key)
					require.NoError(t, v.Close())
				}
			}
			check(r)
			fork, err := s.Fork(ctx, r.ID(), 0, run.Meta{})
			require.NoError(t, err)
			check(fork)
			s.reopen()
			check(s.run(r.ID()))
			require.NoError(t, s.Checkpoint(ctx))
			put(t, s.run(r.ID()), "small", "value")
			s.reopen()
			check(s.run(r.ID()))
			check(s.run(fork.ID()))
			_, err = s.Verify(ctx, r.ID(), 0)
			require.NoError(t, err)
		})
	}
}

// What the caller had stays the caller's, also where it puts it twice.
func TestLargeValuesBelongToTheCaller(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	value := largeValue(1, 200_000)
	was := string(value)
	var b kv.Batch
	b.Put("batch", value)
	_, err := r.KV().Write(ctx, &b)
	require.NoError(t, err)
	put(t, r, "put", was)
	_, err = r.KV().Put(ctx, "put", value)
	require.NoError(t, err)
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.KV().Put(ctx, "tx", value)
	require.NoError(t, err)
	clear(value)
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	for _, key := range []string{"batch", "put", "tx"} {
		require.True(t, was == get(t, r, key), key)
	}
	_, err = r.KV().Write(ctx, &b)
	require.NoError(t, err)
	require.True(t, string(value) == get(t, r, "batch"), "the batch has what the caller has now")
	got := []byte(get(t, r, "put"))
	clear(got)
	require.True(t, was == get(t, r, "put"))
}

// A reader that fails leaves the store as it was; so does a store that refuses.
func TestPutReaderRefused(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.MaxValueSize = 1 << 20 })
	r := s.begin()
	version := putReader(t, r, "key", largeValue(1, 1<<20))
	broken := errors.New("broken")
	refused := func(want error, r *inmem.Run, reader io.Reader, size int64) {
		t.Helper()
		_, err := r.KV().PutReader(ctx, "key", reader, size)
		require.ErrorIs(t, err, want)
		info, err := r.Info()
		require.NoError(t, err)
		require.Equal(t, version, info.LastVersion)
	}
	refused(broken, r, io.MultiReader(bytes.NewReader(make([]byte, 500_000)), iotest.ErrReader(broken)), 1<<20)
	refused(io.ErrUnexpectedEOF, r, bytes.NewReader(make([]byte, 500_000)), 1<<20)
	refused(kv.ErrLonger, r, bytes.NewReader(make([]byte, 500_000)), 400_000)
	refused(inmem.ErrValueTooLarge, r, bytes.NewReader(make([]byte, 1<<20+1)), -1)
	refused(inmem.ErrValueTooLarge, r, bytes.NewReader(nil), 1<<20+1)

	past, err := r.At(ctx, version)
	require.NoError(t, err)
	put(t, r, "key", "new")
	version++
	v, err := past.KV().GetReader(ctx, "key")
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(v, largeValue(1, 1<<20)))
	_, err = past.KV().PutReader(ctx, "key", bytes.NewReader(make([]byte, 500_000)), 500_000)
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.KV().PutReader(ctx, "key", iotest.ErrReader(broken), -1)
	require.ErrorIs(t, err, broken)
	require.Equal(t, "new", string(mustGet(tx.KV().Get(ctx, "key"))))
	tx.Rollback()
	require.NoError(t, r.Pause(ctx))
	version++
	refused(inmem.ErrRunNotActive, r, bytes.NewReader(make([]byte, 500_000)), 500_000)
}

// Watchers see large values whole.
func TestLargeValuesAreWatched(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	want := largeValue(1, 1<<20)
	seen := 0
	for e, err := range r.Watch(over, 0) {
		require.NoError(t, err)
		if seen++; seen == 1 {
			var b kv.Batch
			b.Put("a", want)
			b.Put("b", []byte("small"))
			b.Put("c", want[:100_000])
			_, err := r.KV().Write(ctx, &b)
			require.NoError(t, err)
			continue
		}
		require.Len(t, e.Ops, 3)
		require.True(t, bytes.Equal(want, e.Ops[0].Value))
		require.Equal(t, "small", string(e.Ops[1].Value))
		require.True(t, bytes.Equal(want[:100_000], e.Ops[2].Value))
		break
	}
}

// mustGet is for calls that cannot fail.
func mustGet[T any](v T, err error) T {
	must(err)
	return v
}

// allocates is how many bytes fn allocates.
func allocates(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A value is copied once on its way in, and, where it is read piece by piece, not
// at all on its way out.
func TestLargeValuesAreNotCopied(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, too; run without -race")
	}
	const size = 16 << 20
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		s := openStore(t, vfs.OS, t.TempDir(), func(o *inmem.Options) {
			o.Now, o.Durability, o.Shards, o.CheckpointBytes = time.Now, mode, 1, -1
		})
		r := s.begin()
		value := largeValue(1, size)
		put(t, r, "warm", "up")
		for name, fn := range map[string]func(){
			"PutReader": func() { putReader(t, r, "reader", value) },
			"Put":       func() { _ = mustGet(r.KV().Put(ctx, "put", value)) },
			"Write": func() {
				var b kv.Batch
				b.Put("batch", value)
				_ = mustGet(r.KV().Write(ctx, &b))
			},
			"Update": func() {
				require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error { _, err := tx.KV().Put(ctx, "tx", value); return err }))
			},
		} {
			n := allocates(fn)
			require.GreaterOrEqual(t, n, uint64(size), name)
			require.Less(t, n, uint64(size+size/16), "%s allocates the value once", name)
		}
		require.Less(t, allocates(func() {
			v := mustGet(r.KV().GetReader(ctx, "reader"))
			mustGet(io.Copy(io.Discard, v))
		}), uint64(size/16))
		require.NoError(t, s.Close())
		s.ended = true
	}
}

func BenchmarkLargeValues(b *testing.B) {
	const size = 16 << 20
	s := openStore(b, vfs.OS, b.TempDir(), func(o *inmem.Options) {
		o.Now, o.Shards, o.CheckpointBytes = time.Now, 1, -1

	})
	r := s.begin()
	value := largeValue(1, size)
	put(b, r, "key", string(value))
	for _, c := range []struct {
		name string
		fn   func()
	}{
		{"Put", func() { _ = mustGet(r.KV().Put(ctx, "key", value)) }},
		{"PutReader", func() { putReader(b, r, "key", value) }},
		{"PutReader/unknown", func() { mustGet(r.KV().PutReader(ctx, "key", bytes.NewReader(value), -1)) }},
		{"Get", func() { _ = mustGet(r.KV().Get(ctx, "key")) }},
		{"GetReader", func() { mustGet(io.Copy(io.Discard, mustGet(r.KV().GetReader(ctx, "key")))) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				c.fn()
			}
		})
	}
	require.NoError(b, s.Close())
	s.ended = true
}
