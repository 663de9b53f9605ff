package kv_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/kv"
	"inmem/op"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// fake is a run as a face sees it: a map, one version for each commit, no
// clock. It keeps what it is asked, as a run that copies does.
type fake struct {
	mu      sync.Mutex
	items   map[string]op.Item
	version uint64
	asked   []op.Request
	history []*op.Commit
	limit   int   // of a commit; 0 = the usual
	err     error // of everything
	// failWith is the error of the commit number failAt; 0 = of none.
	failAt   int
	failWith error
}

func (f *fake) Limits() op.Limits {
	return op.Limits{MaxKey: 10, MaxValue: 20, MaxCommit: cmp.Or(f.limit, 110)}
}

func (f *fake) Now() int64 { return 1 }

func (f *fake) History(context.Context, uint64) iter.Seq2[*op.Commit, error] {
	return func(yield func(*op.Commit, error) bool) {
		for _, c := range f.history {
			if !yield(c, f.err) || f.err != nil {
				return
			}
		}
	}
}

func (f *fake) Get(tag op.Tag, key string) (op.Item, error) {
	if f.err != nil {
		return op.Item{}, f.err
	}
	it, ok := f.items[op.MapKey(tag, key)]
	if !ok {
		return op.Item{}, op.ErrNotFound
	}
	return it, nil
}

func (f *fake) View() (op.View, error) {
	return &fakeView{items: maps.Clone(f.items), version: f.version}, f.err
}

func (f *fake) Commit(_ context.Context, req *op.Request) (op.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return op.Result{}, f.err
	}
	if f.failAt > 0 && len(f.asked)+1 == f.failAt {
		return op.Result{}, f.failWith
	}
	asked := *req
	asked.Writes = slices.Clone(req.Writes)
	f.asked = append(f.asked, asked)
	f.version++
	res := op.Result{Version: f.version}
	for i, w := range req.Writes {
		k := op.MapKey(w.Tag, w.Key)
		if i == 0 {
			res.Previous, res.Existed = f.items[k]
		}
		if w.Kind == op.Delete {
			delete(f.items, k)
			continue
		}
		f.items[k] = op.Item{Value: slices.Clone(w.Value), Version: f.version, Deadline: w.TTL.Milliseconds()}
	}
	return res, nil
}

type fakeView struct {
	items   map[string]op.Item
	version uint64
}

func (v *fakeView) Version() uint64 { return v.version }

func (v *fakeView) Get(tag op.Tag, key string) (op.Item, bool) {
	it, ok := v.items[op.MapKey(tag, key)]
	return it, ok
}

func (v *fakeView) Scan(tag op.Tag, r op.Range, fn func(string, op.Item) bool) {
	keys := slices.Sorted(maps.Keys(v.items))
	if r.Reverse {
		slices.Reverse(keys)
	}
	n := 0
	for _, k := range keys {
		user := k[1:]
		if k[0] != byte(tag) || user < r.From || r.To != "" && user >= r.To {
			continue
		}
		if !fn(user, v.items[k]) {
			return
		}
		if n++; n == r.Limit {
			return
		}
	}
}

func newStore() (kv.Store, *fake) {
	f := &fake{items: map[string]op.Item{}}
	return kv.New(f), f
}

func TestPutAsksForOnePut(t *testing.T) {
	s, f := newStore()
	v, err := s.Put(ctx, "k", []byte("v"), kv.TTL(time.Hour), kv.TTL(time.Minute), kv.Durability(op.Strict), kv.Durability(op.Default))
	require.NoError(t, err)
	assert.Equal(t, uint64(1), v)
	v, err = s.PutIf(ctx, "k", []byte("w"), 7)
	require.NoError(t, err)
	assert.Equal(t, uint64(2), v)
	assert.Equal(t, []op.Request{
		{Writes: []op.Write{{Kind: op.Put, Tag: op.KV, Key: "k", Value: []byte("v"), TTL: time.Minute}}, Durability: op.Strict},
		{Writes: []op.Write{{Kind: op.Put, Tag: op.KV, Key: "k", Value: []byte("w"), Expect: op.AtVersion(7)}}},
	}, f.asked)
}

func TestDelete(t *testing.T) {
	s, f := newStore()
	_, err := s.Delete(ctx, "k")
	assert.ErrorIs(t, err, op.ErrNotFound)
	_, err = s.Put(ctx, "k", []byte("v"))
	require.NoError(t, err)
	old, err := s.Delete(ctx, "k", kv.Durability(op.Async))
	require.NoError(t, err)
	assert.Equal(t, "v", string(old))
	assert.Equal(t, op.Request{Writes: []op.Write{{Kind: op.Delete, Tag: op.KV, Key: "k"}}, Durability: op.Async}, f.asked[2])
	_, err = s.Delete(ctx, "k", kv.TTL(time.Hour))
	assert.ErrorIs(t, err, op.ErrInvalidOption)
}

func TestReads(t *testing.T) {
	s, f := newStore()
	_, err := s.Put(ctx, "k", []byte("v"), kv.TTL(5*time.Millisecond))
	require.NoError(t, err)
	it, err := s.GetItem(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, kv.Item{Key: "k", Value: []byte("v"), Version: 1, Deadline: time.UnixMilli(5)}, it)
	it.Value[0] = 'X'
	v, err := s.Get(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, "v", string(v), "bytes belong to the caller")
	ok, err := s.Exists(ctx, "k")
	assert.True(t, ok && err == nil)
	ok, err = s.Exists(ctx, "none")
	assert.True(t, !ok && err == nil)
	_, err = s.Get(ctx, "none")
	assert.ErrorIs(t, err, op.ErrNotFound)
	_, err = s.GetItem(ctx, "none")
	assert.ErrorIs(t, err, op.ErrNotFound)

	f.err = errors.New("some failure")
	ok, err = s.Exists(ctx, "k")
	assert.False(t, ok)
	assert.ErrorIs(t, err, f.err, "not knowing is not absence")
	for _, err := range s.List(ctx, "") {
		assert.ErrorIs(t, err, f.err)
	}
	_, err = s.Put(ctx, "k", nil)
	assert.ErrorIs(t, err, f.err)
	_, err = s.Delete(ctx, "k")
	assert.ErrorIs(t, err, f.err)
}

func TestList(t *testing.T) {
	s, _ := newStore()
	for _, k := range []string{"a", "b", "ba", "bb", "c"} {
		_, err := s.Put(ctx, k, []byte(k))
		require.NoError(t, err)
	}
	collect := func(seq func(func(kv.Item, error) bool)) (out []string) {
		for it, err := range seq {
			require.NoError(t, err)
			assert.Equal(t, it.Key, string(it.Value))
			out = append(out, it.Key)
		}
		return out
	}
	assert.Equal(t, []string{"b", "ba", "bb"}, collect(s.List(ctx, "b")))
	assert.Equal(t, []string{"bb", "ba"}, collect(s.List(ctx, "b", kv.Reverse(), kv.Limit(2), kv.Limit(0))))
	assert.Equal(t, []string{"ba", "bb"}, collect(s.Range(ctx, "ba", "c")))
	assert.Equal(t, []string{"bb", "c"}, collect(s.Range(ctx, "bb", "")))
	for range s.List(ctx, "") {
		break
	}
}

func TestContextEndsReads(t *testing.T) {
	s, _ := newStore()
	for _, k := range []string{"a", "b", "c"} {
		_, err := s.Put(ctx, k, nil)
		require.NoError(t, err)
	}
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	var keys []string
	for it, err := range s.List(short, "") {
		if err != nil {
			assert.ErrorIs(t, err, context.Canceled)
			keys = append(keys, "error")
			continue
		}
		keys = append(keys, it.Key)
		cancel()
	}
	assert.Equal(t, []string{"a", "error"}, keys, "the loop ends after an error")
	_, err := s.Get(short, "a")
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.GetItem(short, "a")
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.Exists(short, "a")
	assert.ErrorIs(t, err, context.Canceled)
	for _, err := range s.List(short, "") {
		assert.ErrorIs(t, err, context.Canceled)
	}
}

func TestLimits(t *testing.T) {
	s, f := newStore()
	write := func(w func(*kv.Batch)) error {
		var b kv.Batch
		w(&b)
		_, err := s.Write(ctx, &b)
		return err
	}
	for _, c := range []struct {
		key   string
		value int
		want  error
	}{
		{"", 0, op.ErrKeyEmpty}, {strings.Repeat("k", 11), 0, op.ErrKeyTooLarge}, {"k", 21, op.ErrValueTooLarge},
		{strings.Repeat("k", 10), 20, nil},
	} {
		value := make([]byte, c.value)
		_, err := s.Put(ctx, c.key, value)
		assert.ErrorIs(t, err, c.want)
		_, err = s.PutIf(ctx, c.key, value, 1)
		assert.ErrorIs(t, err, c.want)
		assert.ErrorIs(t, write(func(b *kv.Batch) { b.Put(c.key, value) }), c.want)
		if c.value == 0 {
			_, err = s.Delete(ctx, c.key)
			assert.ErrorIs(t, err, c.want)
			assert.ErrorIs(t, write(func(b *kv.Batch) { b.Delete(c.key) }), c.want)
		}
	}
	assert.Len(t, f.asked, 3, "only what fits got to the run")
	err := write(func(b *kv.Batch) {
		for _, k := range []string{"a", "b", "c", "d"} {
			b.Put(k, make([]byte, 20))
		}
	})
	var e *op.SizeError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, op.SizeError{Err: op.ErrBatchTooLarge, Size: 4 * op.OpSize(1, 20), Max: 110}, *e)
}

func TestInvalidOptions(t *testing.T) {
	s, f := newStore()
	for _, d := range []time.Duration{0, -1, math.MinInt64} {
		_, err := s.Put(ctx, "k", nil, kv.TTL(d))
		assert.ErrorIs(t, err, op.ErrInvalidTTL)
	}
	bad := kv.Durability(op.Async + 1)
	_, err := s.Put(ctx, "k", nil, bad)
	assert.ErrorIs(t, err, op.ErrInvalidOption)
	_, err = s.Delete(ctx, "k", bad)
	assert.ErrorIs(t, err, op.ErrInvalidOption)
	var b kv.Batch
	_, err = s.Write(ctx, &b, bad)
	assert.ErrorIs(t, err, op.ErrInvalidOption)
	_, err = s.Write(ctx, &b, kv.TTL(time.Hour))
	assert.ErrorIs(t, err, op.ErrInvalidOption, "a deadline belongs to each put")
	b.Put("k", nil, kv.Durability(op.Strict))
	b.Put("k", nil, kv.TTL(-1))
	_, err = s.Write(ctx, &b)
	assert.ErrorIs(t, err, op.ErrInvalidOption, "a mode belongs to the commit; the first error counts")
	b.Reset()
	_, err = s.Write(ctx, &b)
	assert.NoError(t, err, "forgotten by Reset")
	assert.Len(t, f.asked, 1)
}

func TestBatchAsksForOneCommit(t *testing.T) {
	s, f := newStore()
	var b kv.Batch
	b.Put("a", []byte("1"), kv.TTL(time.Second))
	b.PutIf("b", []byte("2"), 3)
	b.Delete("c")
	assert.Equal(t, 3, b.Len())
	v, err := s.Write(ctx, &b, kv.Durability(op.Strict))
	require.NoError(t, err)
	assert.Equal(t, uint64(1), v)
	assert.Equal(t, []op.Request{{Durability: op.Strict, Writes: []op.Write{
		{Kind: op.Put, Tag: op.KV, Key: "a", Value: []byte("1"), TTL: time.Second},
		{Kind: op.Put, Tag: op.KV, Key: "b", Value: []byte("2"), Expect: op.AtVersion(3)},
		{Kind: op.Delete, Tag: op.KV, Key: "c"},
	}}}, f.asked)
}

// Requests of single writes come from a pool: callers at the same time must
// not get each other's.
func TestPooledRequestsDoNotMix(t *testing.T) {
	s, f := newStore()
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			k := string(rune('a' + g))
			for range 500 {
				_, err := s.Put(ctx, k, []byte(k))
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	assert.Len(t, f.asked, 4000)
	for _, req := range f.asked {
		assert.Equal(t, req.Writes[0].Key, string(req.Writes[0].Value))
	}
}
