package shard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
)

// A snapshot shows one version for ever, and one face's keys by themselves.
func TestSnapshot(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	for _, w := range []op.Write{
		kvPut("a", "1"), kvPut("b", "2"), with(kvPut("c", "3"), time.Second), kvPut("d", "4"), kvPut("\xff\xff", "5"),
		{Kind: op.Put, Tag: op.Event, Key: "a", Value: []byte("event")},
		{Kind: op.Put, Tag: op.Vector, Key: "z", Value: []byte("vector")},
	} {
		_, err := r.Commit(ctx, h.ID, &op.Request{Writes: []op.Write{w}})
		require.NoError(t, err)
	}
	snap := h.snapshot.Load()
	scan := func(tag op.Tag, rng op.Range, now int64) (keys string) {
		snap.Scan(tag, rng, now, func(key string, _ op.Item) bool {
			keys += key
			return key != "stop"
		})
		return keys
	}
	check := func() {
		t.Helper()
		assert.Equal(t, "abcd\xff\xff", scan(op.KV, op.Range{}, 1999))
		assert.Equal(t, "abd\xff\xff", scan(op.KV, op.Range{}, 2000), "past its deadline")
		assert.Equal(t, "\xff\xffdba", scan(op.KV, op.Range{Reverse: true}, 2000))
		assert.Equal(t, "\xff\xffd", scan(op.KV, op.Range{Reverse: true, Limit: 2}, 2000))
		assert.Equal(t, "abd", scan(op.KV, op.Range{Limit: 3}, 2000), "what has expired does not count")
		assert.Equal(t, "bc", scan(op.KV, op.Range{From: "b", To: "d"}, 0))
		assert.Equal(t, "cb", scan(op.KV, op.Range{From: "b", To: "d", Reverse: true}, 0))
		assert.Equal(t, "", scan(op.KV, op.Range{From: "d", To: "b"}, 0))
		assert.Equal(t, "a", scan(op.Event, op.Range{}, 0))
		assert.Equal(t, "z", scan(op.Vector, op.Range{}, 0), "the last tag")
		assert.Equal(t, "", scan(op.Trace, op.Range{}, 0))
		assert.Equal(t, 8, snap.Len(), "with the metadata")
		assert.Equal(t, uint64(8), snap.Version)
		assert.Equal(t, 1, snap.Deadlines)
	}
	check()
	digest := snap.Digest()
	for i := range 500 {
		r.put(h, string(rune('a'+i%26)), "changed")
	}
	check()
	assert.Equal(t, digest, snap.Digest())
	assert.NotEqual(t, digest, h.snapshot.Load().Digest())
}

func TestIndexOfRuns(t *testing.T) {
	r := newRig(t)
	a, b := r.begin(), r.begin()
	count := func() (n int) {
		r.Runs().Scan(&run.Filter{}, func(*run.Info) bool { n++; return true })
		return n
	}
	assert.Equal(t, 2, count())
	assert.Len(t, r.state.Active(), 2)
	before := r.Runs()
	require.NoError(t, r.Drop(ctx, a.ID, op.Default))
	assert.Equal(t, 1, count())
	assert.Equal(t, 2, before.Len(), "an index that was handed out does not change")
	require.NoError(t, r.SetStatus(ctx, b.ID, run.Failed, op.Expect{}, op.Default))
	assert.Equal(t, 1, count())
}
