package state_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/state"
)

type budget struct {
	Left int `json:"left"`
}

func TestTyped(t *testing.T) {
	r := newRun(t)
	cells := state.Typed[budget](r.State())
	cell, err := cells.Init(ctx, "b", state.TypedValue[budget]{State: "open", Data: budget{10}})
	require.NoError(t, err)
	require.Equal(t, state.TypedCell[budget]{Name: "b", TypedValue: state.TypedValue[budget]{State: "open", Data: budget{10}}, Version: 2}, cell)
	plain, err := r.State().Get(ctx, "b")
	require.NoError(t, err)
	require.JSONEq(t, `{"left": 10}`, string(plain.Data))

	cell, err = cells.CompareAndSet(ctx, "b", 2, state.TypedValue[budget]{Data: budget{9}})
	require.NoError(t, err)
	require.Equal(t, state.TypedValue[budget]{Data: budget{9}}, cell.TypedValue)
	_, err = cells.CompareAndSet(ctx, "b", 2, state.TypedValue[budget]{})
	require.ErrorIs(t, err, inmem.ErrWrongVersion)
	spend := func(c state.TypedCell[budget]) (state.TypedValue[budget], error) {
		c.Data.Left--
		return c.TypedValue, nil
	}
	cell, err = cells.Transition(ctx, "b", spend)
	require.NoError(t, err)
	require.Equal(t, budget{8}, cell.Data)
	got, err := cells.Get(ctx, "b")
	require.NoError(t, err)
	require.Equal(t, cell, got)

	err = r.Update(ctx, func(tx *inmem.Tx) error {
		_, err := state.Typed[budget](tx.State()).Transition(ctx, "b", spend)
		return err
	})
	require.NoError(t, err)
	for c, err := range cells.List(ctx, "") {
		require.NoError(t, err)
		require.Equal(t, state.TypedCell[budget]{Name: "b", TypedValue: state.TypedValue[budget]{Data: budget{7}}, Version: 5}, c)
	}
	_, err = cells.Get(ctx, "none")
	require.ErrorIs(t, err, inmem.ErrNotFound)
	refused := errors.New("no")
	_, err = cells.Transition(ctx, "b", func(state.TypedCell[budget]) (v state.TypedValue[budget], err error) { return v, refused })
	require.ErrorIs(t, err, refused)
}

// Data that is not of the type is an error that names the cell, and stays.
func TestTypedDataThatIsNone(t *testing.T) {
	r := newRun(t)
	cells := state.Typed[budget](r.State())
	_, err := r.State().Init(ctx, "bad", state.Value{Data: []byte("{")})
	require.NoError(t, err)
	refused := func(err error) {
		t.Helper()
		var bad *state.CodecError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "bad", bad.Cell)
		require.ErrorContains(t, err, `"bad"`)
		require.Error(t, errors.Unwrap(bad))
	}
	_, err = cells.Get(ctx, "bad")
	refused(err)
	_, err = cells.Transition(ctx, "bad", func(c state.TypedCell[budget]) (state.TypedValue[budget], error) { return c.TypedValue, nil })
	refused(err)
	for _, err := range cells.List(ctx, "") {
		refused(err)
	}
	channels := state.Typed[chan int](r.State())
	v := state.TypedValue[chan int]{Data: make(chan int)}
	_, err = channels.Init(ctx, "bad", v)
	refused(err)
	_, err = channels.CompareAndSet(ctx, "bad", 2, v)
	refused(err)
	cell, err := r.State().Get(ctx, "bad")
	require.NoError(t, err)
	require.EqualValues(t, 2, cell.Version)
}
