package kv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/kv"
	"inmem/op"
)

func TestHistoryOfAKey(t *testing.T) {
	store, f := newStore()
	put := func(key, value string) op.Op {
		return op.Op{Kind: op.Put, Tag: op.KV, Key: key, Value: []byte(value)}
	}
	remove := func(kind op.Kind, key string) op.Op { return op.Op{Kind: kind, Tag: op.KV, Key: key} }
	expiring := put("k", "until")
	expiring.Deadline = 9000
	for i, ops := range [][]op.Op{
		{{Kind: op.Put, Tag: op.RunMetadata}},
		{put("k", "1")},
		{put("other", "x")},
		{put("other", "x"), remove(op.Delete, "k")},
		{remove(op.Delete, "k"), put("k", "2"), put("k", "3")}, // the last counts
		{expiring},
		{remove(op.Expire, "k")},
		{{Kind: op.Put, Tag: op.Event, Key: "k", Value: []byte("of another face")}},
		{{Kind: op.Drop}},
	} {
		f.history = append(f.history, &op.Commit{Version: uint64(i + 1), Time: int64(i+1) * 1000, Ops: ops})
	}
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	var got []kv.Change
	for c, err := range store.History(ctx, "k") {
		require.NoError(t, err)
		got = append(got, c)
	}
	require.Equal(t, []kv.Change{
		{Version: 2, Time: at(2), Value: []byte("1")},
		{Version: 4, Time: at(4), Removed: op.Delete},
		{Version: 5, Time: at(5), Value: []byte("3")},
		{Version: 6, Time: at(6), Value: []byte("until"), Deadline: time.Unix(9, 0)},
		{Version: 7, Time: at(7), Removed: op.Expire},
	}, got)
	for range store.History(ctx, "k") {
		break // and nothing comes after it
	}
	for range store.History(ctx, "never") {
		t.Error("there is no such key")
	}
	f.err = errors.New("the run's")
	n := 0
	for _, err := range store.History(ctx, "k") {
		require.ErrorIs(t, err, f.err)
		n++
	}
	require.Equal(t, 1, n)
}

// A batch that is too large for a commit is carried out in several, in order,
// or not begun.
func TestChunkedBatch(t *testing.T) {
	store, f := newStore()
	var b kv.Batch
	for i := range 20 {
		b.Put(string(rune('a'+i)), []byte("0123456789"))
	}
	_, err := store.Write(ctx, &b)
	require.ErrorIs(t, err, op.ErrBatchTooLarge)
	require.Empty(t, f.asked)
	version, err := store.Write(ctx, &b, kv.Chunked(), kv.Durability(op.Strict))
	require.NoError(t, err)
	require.Len(t, f.items, 20)
	require.Greater(t, len(f.asked), 2)
	require.EqualValues(t, len(f.asked), version)
	next := 'a'
	for _, req := range f.asked {
		size := 0
		for _, w := range req.Writes {
			require.Equal(t, string(next), w.Key)
			size += op.OpSize(len(w.Key), len(w.Value))
			next++
		}
		require.LessOrEqual(t, size, f.Limits().MaxCommit)
		require.Equal(t, op.Strict, req.Durability)
	}

	// Where it ends in the middle, the error says how far it got.
	f.asked, f.failAt, f.err = nil, 2, nil
	refused := errors.New("the run's")
	f.failWith = refused
	version, err = store.Write(ctx, &b, kv.Chunked())
	var chunk *kv.ChunkError
	require.ErrorAs(t, err, &chunk)
	require.ErrorIs(t, err, refused)
	require.ErrorContains(t, err, "the first")
	require.Equal(t, len(f.asked[0].Writes), chunk.Done)
	require.Equal(t, version, chunk.Version)
	require.Equal(t, f.version, chunk.Version)

	f.limit = op.OpSize(1, 10) - 1
	var tooLarge *op.SizeError
	_, err = store.Write(ctx, &b, kv.Chunked())
	require.ErrorAs(t, err, &tooLarge, "not even one operation fits")
	f.limit, f.asked, f.failAt = 0, nil, 1
	_, err = store.Write(ctx, &b, kv.Chunked())
	require.ErrorIs(t, err, refused)
	require.NotErrorAs(t, err, &chunk, "nothing was done")
}
