package inmem_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/vfs"
)

func TestKeyValues(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	face := r.KV()
	assert.Equal(t, "-", get(t, r, "k"))
	assert.Equal(t, uint64(2), put(t, r, "k", "one"))
	assert.Equal(t, uint64(3), put(t, r, "k", "two"))
	it, err := face.GetItem(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, kv.Item{Key: "k", Value: []byte("two"), Version: 3}, it)
	ok, err := face.Exists(ctx, "k")
	assert.True(t, ok && err == nil)
	old, err := face.Delete(ctx, "k")
	assert.NoError(t, err)
	assert.Equal(t, "two", string(old))
	_, err = face.Delete(ctx, "k")
	assert.ErrorIs(t, err, inmem.ErrNotFound)
	ok, err = face.Exists(ctx, "k")
	assert.True(t, !ok && err == nil)
	assert.Equal(t, uint64(5), put(t, r, "k", ""), "a delete of nothing made no commit")
}

func TestPutIf(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	v, err := r.KV().PutIf(ctx, "k", []byte("1"), 0)
	require.NoError(t, err)
	_, err = r.KV().PutIf(ctx, "k", []byte("2"), 0)
	var e *inmem.VersionError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, inmem.VersionError{Key: "k", Expected: 0, Actual: v}, *e)
	assert.ErrorIs(t, err, inmem.ErrWrongVersion)
	_, err = r.KV().PutIf(ctx, "none", nil, 7)
	require.ErrorAs(t, err, &e)
	assert.Equal(t, inmem.VersionError{Key: "none", Expected: 7}, *e)
	put(t, r, "other", "moves the run's version, not the key's")
	_, err = r.KV().PutIf(ctx, "k", []byte("2"), v)
	assert.NoError(t, err)
}

// Of those who race for a version exactly one wins, each time.
func TestPutIfHasOneWinner(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	version := uint64(0)
	for round := range 50 {
		var winners atomic.Int32
		var won atomic.Uint64
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				v, err := r.KV().PutIf(ctx, "k", fmt.Append(nil, round, i), version)
				if err == nil {
					winners.Add(1)
					won.Store(v)
					return
				}
				assert.ErrorIs(t, err, inmem.ErrWrongVersion)
			})
		}
		all.Wait()
		require.Equal(t, int32(1), winners.Load())
		version = won.Load()
	}
}

// A counter that everybody increments by PutIf loses no increment.
func TestPutIfCounter(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "n", "0")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for done := 0; done < 50; {
				it, err := r.KV().GetItem(ctx, "n")
				if !assert.NoError(t, err) {
					return
				}
				var n int
				_, err = fmt.Sscan(string(it.Value), &n)
				assert.NoError(t, err)
				if _, err := r.KV().PutIf(ctx, "n", fmt.Append(nil, n+1), it.Version); err == nil {
					done++
				}
			}
		})
	}
	ends(t, "counting", all.Wait)
	assert.Equal(t, "400", get(t, r, "n"))
}

func TestListAndRange(t *testing.T) {
	s := newStore(t)
	r, other := s.begin(), s.begin()
	for _, k := range []string{"b/2", "a", "b/1", "b", "c", "b/3", "b0"} {
		put(t, r, k, k)
	}
	put(t, other, "b/9", "of another run")
	for _, c := range []struct {
		prefix string
		opts   []kv.ListOption
		want   []string
	}{
		{"", nil, []string{"a", "b", "b/1", "b/2", "b/3", "b0", "c"}},
		{"b/", nil, []string{"b/1", "b/2", "b/3"}},
		{"b/", []kv.ListOption{kv.Reverse()}, []string{"b/3", "b/2", "b/1"}},
		{"b/", []kv.ListOption{kv.Limit(2)}, []string{"b/1", "b/2"}},
		{"b/", []kv.ListOption{kv.Limit(2), kv.Reverse()}, []string{"b/3", "b/2"}},
		{"", []kv.ListOption{kv.Limit(0)}, []string{"a", "b", "b/1", "b/2", "b/3", "b0", "c"}},
		{"", []kv.ListOption{kv.Limit(-1), kv.Limit(1)}, []string{"a"}},
		{"nothing", nil, []string{}},
		{"\xff", nil, []string{}},
	} {
		assert.Equal(t, c.want, keys(list(t, r, c.prefix, c.opts...)), "%q", c.prefix)
	}
	ranged := func(from, to string, opts ...kv.ListOption) []string {
		out := []string{}
		for it, err := range r.KV().Range(ctx, from, to, opts...) {
			require.NoError(t, err)
			out = append(out, it.Key)
		}
		return out
	}
	assert.Equal(t, []string{"b", "b/1"}, ranged("b", "b/2"))
	assert.Equal(t, []string{"b/1", "b"}, ranged("b", "b/2", kv.Reverse()))
	assert.Equal(t, []string{"b0", "c"}, ranged("b/4", ""))
	assert.Equal(t, []string{"c"}, ranged("b/4", "", kv.Reverse(), kv.Limit(1)))
	assert.Equal(t, []string{}, ranged("c", "a"))
	assert.Equal(t, []string{}, ranged("c", "a", kv.Reverse()))
	assert.Equal(t, []string{}, ranged("a", "a"))
}

// What is lent is what is copied otherwise; it stays as it is whatever becomes of
// the key, and takes no memory of its own.
func TestListLends(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	for i := range 300 {
		put(t, r, key(i), fmt.Sprint("value ", i), kv.TTL(time.Hour))
	}
	lend := func(from kv.Store) []kv.Item {
		var items []kv.Item
		for it, err := range from.List(ctx, "", kv.Lend(), kv.Reverse()) {
			require.NoError(t, err)
			items = append(items, it)
		}
		return items
	}
	want := list(t, r, "", kv.Reverse())
	lent := lend(r.KV())
	require.Equal(t, want, lent)
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		_, err := tx.KV().Put(ctx, "of the transaction", []byte("first"))
		require.NoError(t, err)
		own := lend(tx.KV())
		_, err = tx.KV().Put(ctx, "of the transaction", []byte("second"))
		require.Equal(t, "first", string(own[0].Value))
		return err
	}))
	for round := range 20 {
		for i := range 300 {
			put(t, r, key(i), fmt.Sprint("round ", round))
		}
	}
	for i := range 300 {
		_, err := r.KV().Delete(ctx, key(i))
		require.NoError(t, err)
	}
	require.Equal(t, want, lent)

	full := s.begin()
	for i := range 100 {
		put(t, full, key(i), "value")
	}
	require.Less(t, testing.AllocsPerRun(10, func() { lendAll(full.KV()) }), 20.0, "for 100 items")
}

func lendAll(from kv.Store) (n int) {
	for it := range from.List(ctx, "", kv.Lend()) {
		n += len(it.Value)
	}
	return n
}

func TestListEndsEarly(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	for i := range 100 {
		put(t, r, key(i), "v")
	}
	n := 0
	for range r.KV().List(ctx, "") {
		if n++; n == 3 {
			break
		}
	}
	assert.Equal(t, 3, n)
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	n = 0
	for _, err := range r.KV().List(short, "") {
		if n++; n == 3 {
			cancel()
		}
		if n > 3 {
			assert.ErrorIs(t, err, context.Canceled)
		}
	}
	assert.Equal(t, 4, n, "three items, one error")
}

// A listing shows the version that was the newest when its loop began, whole,
// while writers go on.
func TestListIsOneSnapshot(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	var b kv.Batch
	write := func(n int) {
		b.Reset()
		for i := range 50 {
			b.Put(key(i), fmt.Append(nil, n))
		}
		if n%2 == 0 {
			b.Put("sometimes", fmt.Append(nil, n))
		} else {
			b.Delete("sometimes")
		}
		_, err := r.KV().Write(ctx, &b)
		assert.NoError(t, err)
	}
	write(0)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				write(n)
			}
		}
	})
	for i := range 200 {
		opts := []kv.ListOption{}
		if i%2 == 1 {
			opts = append(opts, kv.Reverse())
		}
		items := list(t, r, "", opts...)
		for _, it := range items {
			require.Equal(t, string(items[0].Value), string(it.Value))
			require.Equal(t, items[0].Version, it.Version)
		}
		even := (items[0].Value[len(items[0].Value)-1]-'0')%2 == 0
		require.Equal(t, even, len(items) == 51)
	}
	close(stop)
	writer.Wait()
	n := 0
	for it, err := range r.KV().List(ctx, "") {
		require.NoError(t, err)
		put(t, r, "new"+it.Key, "added while listing")
		n++
	}
	assert.LessOrEqual(t, n, 51)
}

func TestRunsAreIsolated(t *testing.T) {
	s := newStore(t)
	var runs []*inmem.Run
	for i := range 20 {
		r := s.begin()
		put(t, r, "k", fmt.Sprint(i))
		runs = append(runs, r)
	}
	_, err := runs[3].KV().Delete(ctx, "k")
	require.NoError(t, err)
	for i, r := range runs {
		if i != 3 {
			assert.Equal(t, fmt.Sprint(i), get(t, r, "k"))
		}
		info, err := r.Info()
		require.NoError(t, err)
		assert.Equal(t, uint64(2+map[bool]int{true: 1}[i == 3]), info.LastVersion, "versions are a run's own")
	}
}

func TestBatch(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "there", "old")
	var b kv.Batch
	v, err := r.KV().Write(ctx, &b)
	assert.NoError(t, err)
	assert.Equal(t, uint64(2), v, "an empty batch makes no commit")
	b.Delete("missing")
	b.Delete("missing too")
	v, err = r.KV().Write(ctx, &b)
	assert.NoError(t, err)
	assert.Equal(t, uint64(2), v, "nor does one that deletes nothing")

	b.Reset()
	assert.Zero(t, b.Len())
	b.Put("twice", []byte("first"))
	b.Put("twice", []byte("last"))
	b.Put("put, deleted", nil)
	b.Delete("put, deleted")
	b.Delete("there")
	b.Put("there", []byte("new"))
	b.Delete("deleted, put")
	b.Put("deleted, put", []byte("v"))
	b.PutIf("if", []byte("v"), 0)
	assert.Equal(t, 9, b.Len())
	v, err = r.KV().Write(ctx, &b)
	require.NoError(t, err)
	assert.Equal(t, uint64(3), v)
	items := list(t, r, "")
	assert.Equal(t, []string{"deleted, put", "if", "there", "twice"}, keys(items))
	for _, it := range items {
		assert.Equal(t, v, it.Version, "all of one commit")
	}
	assert.Equal(t, "last", get(t, r, "twice"))
	assert.Equal(t, "new", get(t, r, "there"))

	b.Reset()
	b.Put("never", nil)
	b.PutIf("if", []byte("w"), v)
	b.PutIf("there", []byte("w"), 2)
	_, err = r.KV().Write(ctx, &b)
	assert.ErrorIs(t, err, inmem.ErrWrongVersion)
	assert.Equal(t, "-", get(t, r, "never"), "all or nothing")
	assert.Equal(t, "v", get(t, r, "if"))
}

// Bytes that come out belong to the caller, and bytes that went in do again.
func TestBytesBelongToTheCaller(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	in := []byte("value")
	_, err := r.KV().Put(ctx, "k", in)
	require.NoError(t, err)
	copy(in, "XXXXX")
	assert.Equal(t, "value", get(t, r, "k"))

	var b kv.Batch
	in = []byte("value")
	b.Put("b", in)
	_, err = r.KV().Write(ctx, &b)
	require.NoError(t, err)
	copy(in, "XXXXX")
	assert.Equal(t, "value", get(t, r, "b"))

	scribble := func(v []byte) {
		for i := range v[:cap(v)] {
			v[:cap(v)][i] = 'X'
		}
	}
	v, err := r.KV().Get(ctx, "k")
	require.NoError(t, err)
	scribble(v)
	it, err := r.KV().GetItem(ctx, "k")
	require.NoError(t, err)
	scribble(it.Value)
	for it, err := range r.KV().List(ctx, "") {
		require.NoError(t, err)
		scribble(it.Value)
	}
	for _, c := range history(t, r, 0) {
		for _, o := range c.Ops {
			scribble(o.Value)
		}
	}
	assert.Equal(t, "value", get(t, r, "k"))
	put(t, r, "z", "value")
	_, err = r.KV().Delete(ctx, "k")
	require.NoError(t, err)
	// A listing that has begun still shows what is deleted meanwhile.
	for it, err := range r.KV().List(ctx, "") {
		require.NoError(t, err)
		assert.Equal(t, "value", string(it.Value), it.Key)
		if it.Key == "b" {
			put(t, r, "b", "value")
			old, err := r.KV().Delete(ctx, "z")
			require.NoError(t, err)
			scribble(old)
		}
	}
	s.reopen()
	assert.Equal(t, "value", get(t, s.run(r.ID()), "b"))
}

// A call that was given up after it was accepted is carried out with the bytes
// of then, or not at all.
func TestBytesOfAnAbandonedCall(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Durability = inmem.Strict; o.Shards = 1 })
	r := s.begin()
	for i := range 50 {
		short, cancel := context.WithCancel(ctx)
		s.mem.SetFault(func(o vfs.Op) error {
			if o.Kind == vfs.Sync {
				cancel()
			}
			return nil
		})
		in := []byte("value")
		_, err := r.KV().Put(short, key(i), in)
		copy(in, "XXXXX")
		s.mem.SetFault(nil)
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, s.Flush(ctx))
		assert.Contains(t, []string{"value", "-"}, get(t, r, key(i)))
		cancel()
	}
}

func TestDurabilityOfOneCall(t *testing.T) {
	for _, c := range []struct {
		mode        inmem.Durability
		power, kill string
	}{{inmem.Strict, "v", "v"}, {inmem.Batched, "-", "v"}, {inmem.Async, "-", "-"}} {
		for _, call := range []string{"put", "batch", "delete"} {
			s := newStore(t, func(o *inmem.Options) { o.Shards = 1; o.BatchInterval = time.Hour })
			r := s.begin()
			put(t, r, "deleted", "x")
			require.NoError(t, s.Flush(ctx))
			var b kv.Batch
			b.Put("k", []byte("v"))
			var err error
			switch call {
			case "put":
				_, err = r.KV().Put(ctx, "k", []byte("v"), kv.Durability(c.mode))
			case "batch":
				_, err = r.KV().Write(ctx, &b, kv.Durability(c.mode))
			case "delete":
				_, err = r.KV().Delete(ctx, "deleted", kv.Durability(c.mode))
			}
			require.NoError(t, err)
			seen := func(m *vfs.Mem) string {
				left := openStore(t, m, s.dir, func(o *inmem.Options) { o.Shards = 0 }).run(r.ID())
				if call == "delete" {
					return map[string]string{"x": "-", "-": "v"}[get(t, left, "deleted")]
				}
				return get(t, left, "k")
			}
			assert.Equal(t, c.kill, seen(s.mem.Clone()), "%v %s, killed", c.mode, call)
			assert.Equal(t, c.power, seen(powerLoss(s.mem)), "%v %s, power cut", c.mode, call)
		}
	}
}
