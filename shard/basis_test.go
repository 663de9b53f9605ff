package shard

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

// seen is a snapshot as a transaction reads it, at a moment.
type seen struct {
	*Snapshot
	now int64
}

func (s seen) Version() uint64 { return s.Snapshot.Version }

func (s seen) Get(tag op.Tag, key string) (op.Item, bool) {
	it, ok := s.Snapshot.Get(tag, key)
	return it, ok && !it.Expired(s.now)
}

func (s seen) Scan(tag op.Tag, r op.Range, fn func(string, op.Item) bool) {
	s.Snapshot.Scan(tag, r, s.now, fn)
}

// What a transaction read is held against the run as it is when it commits.
func TestBasis(t *testing.T) {
	keys := func(names ...string) *op.Basis {
		b := &op.Basis{}
		for _, k := range names {
			b.Keys = append(b.Keys, op.Key{Tag: op.KV, Key: k})
		}
		return b
	}
	within := func(from, to string) *op.Basis {
		return &op.Basis{Ranges: []op.KeyRange{{Tag: op.KV, From: from, To: to}}}
	}
	remove := op.Write{Kind: op.Delete, Tag: op.KV, Key: "b"}
	for name, c := range map[string]struct {
		read      *op.Basis
		meanwhile []op.Write
		passes    time.Duration
		conflict  *op.ConflictError
	}{
		"nothing was written":           {keys("a", "none"), nil, 0, nil},
		"others were written":           {keys("a", "none"), []op.Write{kvPut("b", "2")}, 0, nil},
		"a key was written":             {keys("a", "b"), []op.Write{kvPut("b", "2")}, 0, &op.ConflictError{Tag: op.KV, Key: "b", Seen: 2, Now: 3}},
		"a key was removed":             {keys("b"), []op.Write{remove}, 0, &op.ConflictError{Tag: op.KV, Key: "b", Seen: 2}},
		"a key was made":                {keys("none"), []op.Write{kvPut("none", "1")}, 0, &op.ConflictError{Tag: op.KV, Key: "none", Now: 3}},
		"a key is past its deadline":    {keys("ttl"), nil, time.Hour, &op.ConflictError{Tag: op.KV, Key: "ttl", Seen: 2}},
		"others are past theirs":        {keys("a"), nil, time.Hour, nil},
		"the same key of another face":  {keys("a"), []op.Write{{Kind: op.Put, Tag: op.Event, Key: "a"}}, 0, nil},
		"outside of a range":            {within("a", "b"), []op.Write{kvPut("b", "2"), kvPut("A", "1")}, 0, nil},
		"within a range":                {within("a", "c"), []op.Write{kvPut("b", "2")}, 0, &op.ConflictError{Tag: op.KV, Key: "b", Seen: 2, Now: 3}},
		"removed from a range":          {within("", ""), []op.Write{remove}, 0, &op.ConflictError{Tag: op.KV, Key: "b", Seen: 2}},
		"new in a range":                {within("a", ""), []op.Write{kvPut("x", "2")}, 0, &op.ConflictError{Tag: op.KV, Key: "x", Now: 3}},
		"a range that loses a deadline": {within("t", ""), nil, time.Hour, &op.ConflictError{Tag: op.KV, Key: "ttl", Seen: 2}},
		"new in a range, and gone":      {within("x", ""), []op.Write{with(kvPut("x", "2"), time.Second)}, time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var now atomic.Int64 // Unix milliseconds
			now.Store(1000)
			r := newRig(t, unsealed, func(o *rigOptions) { o.wall = func() time.Time { return time.UnixMilli(now.Load()) } })
			h := r.begin()
			_, err := r.Commit(ctx, h.ID, &op.Request{Writes: []op.Write{kvPut("a", "1"), kvPut("b", "1"), with(kvPut("ttl", "1"), time.Minute)}})
			require.NoError(t, err)
			c.read.View = seen{h.snapshot.Load(), 1000}
			if c.meanwhile != nil {
				_, err := r.Commit(ctx, h.ID, &op.Request{Writes: c.meanwhile})
				require.NoError(t, err)
			}
			before := h.snapshot.Load().Version
			now.Add(c.passes.Milliseconds())
			res, err := r.Commit(ctx, h.ID, &op.Request{Writes: []op.Write{kvPut("mine", "1")}, Basis: c.read})
			if c.conflict == nil {
				require.NoError(t, err)
				require.Equal(t, before+1, res.Version)
				return
			}
			var conflict *op.ConflictError
			require.ErrorAs(t, err, &conflict)
			require.Equal(t, c.conflict, conflict)
			require.Equal(t, before, h.snapshot.Load().Version, "it did nothing")
		})
	}
}

// A run's newest image is found as long as the version is not older.
func TestImage(t *testing.T) {
	r := newRig(t, unsealed)
	h := r.begin()
	e, st, err := r.Image(h.ID, 9)
	require.NoError(t, err)
	require.Nil(t, e)
	require.Nil(t, st)
	r.put(h, "k", "2")
	want := h.snapshot.Load().Digest()
	require.NoError(t, r.Checkpoint(ctx))
	r.put(h, "k", "3")
	for range 2 {
		e, st, err = r.Image(h.ID, 2)
		require.NoError(t, err)
		require.EqualValues(t, 2, e.Version)
		require.Equal(t, want, st.Snapshot(h.ID).Digest())
		require.Nil(t, st.Snapshot(someID))
		e, st, err = r.Image(h.ID, 1)
		require.NoError(t, err)
		require.EqualValues(t, 2, e.Version)
		require.Nil(t, st, "it is younger")
		r = r.reopen()
	}
}
