package kv_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/kv"
	"inmem/op"
)

type plan struct {
	Step int `json:"s"`
}

func TestTyped(t *testing.T) {
	store, f := newStore()
	plans := kv.Typed[plan](store)
	v, err := plans.Put(ctx, "a", plan{1})
	require.NoError(t, err)
	require.EqualValues(t, 1, v)
	require.JSONEq(t, `{"s":1}`, string(f.items[op.MapKey(op.KV, "a")].Value))
	got, version, err := plans.GetVersion(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, plan{1}, got)
	require.EqualValues(t, 1, version)
	_, err = plans.PutIf(ctx, "a", plan{2}, version)
	require.NoError(t, err)
	require.Equal(t, op.AtVersion(1), f.asked[1].Writes[0].Expect)
	_, err = plans.Put(ctx, "b", plan{3}, kv.Durability(op.Strict))
	require.NoError(t, err)
	require.Equal(t, op.Strict, f.asked[2].Durability)
	var list []kv.TypedItem[plan]
	for it, err := range plans.List(ctx, "") {
		require.NoError(t, err)
		list = append(list, it)
	}
	require.Equal(t, []kv.TypedItem[plan]{{"a", plan{2}, 2}, {"b", plan{3}, 3}}, list)
	for range plans.List(ctx, "") {
		break // nothing comes after it
	}
	old, err := plans.Delete(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, plan{2}, old)
	_, err = plans.Get(ctx, "a")
	require.ErrorIs(t, err, op.ErrNotFound)
	_, err = plans.Delete(ctx, "a")
	require.ErrorIs(t, err, op.ErrNotFound)
}

// What is not of the type is an error that names the key, and changes nothing.
func TestTypedValuesThatAreNone(t *testing.T) {
	store, f := newStore()
	plans := kv.Typed[plan](store)
	_, err := store.Put(ctx, "bad", []byte("{"))
	require.NoError(t, err)
	refused := func(err error) {
		t.Helper()
		var bad *kv.CodecError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "bad", bad.Key)
		require.ErrorContains(t, err, `"bad"`)
	}
	_, err = plans.Get(ctx, "bad")
	refused(err)
	n := 0
	for _, err := range plans.List(ctx, "") {
		refused(err)
		n++
	}
	require.Equal(t, 1, n)
	channels := kv.Typed[chan int](store)
	_, err = channels.Put(ctx, "bad", make(chan int))
	refused(err)
	_, err = channels.PutIf(ctx, "bad", make(chan int), 1)
	refused(err)
	require.Len(t, f.asked, 1)
	f.err = errors.New("the run's")
	for _, err := range plans.List(ctx, "") {
		assert.ErrorIs(t, err, f.err)
	}
}

// decimal is a codec of somebody's own.
type decimal struct{}

func (decimal) Encode(n int) ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }
func (decimal) Decode(b []byte) (int, error) { return strconv.Atoi(string(b)) }

func TestTypedByAnotherCodec(t *testing.T) {
	store, f := newStore()
	numbers := kv.Typed[int](store, decimal{})
	_, err := numbers.Put(ctx, "n", 12)
	require.NoError(t, err)
	require.Equal(t, "12", string(f.items[op.MapKey(op.KV, "n")].Value))
	n, err := numbers.Get(ctx, "n")
	require.NoError(t, err)
	require.Equal(t, 12, n)
	_, err = store.Put(ctx, "n", []byte("x"))
	require.NoError(t, err)
	_, err = numbers.Get(ctx, "n")
	require.ErrorIs(t, err, strconv.ErrSyntax)
}
