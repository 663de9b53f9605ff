package event_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/codec"
	"inmem/event"
)

type call struct {
	Tool string `json:"tool"`
	N    int    `json:"n,omitempty"`
}

func TestTyped(t *testing.T) {
	faces(t, func(t *testing.T, w *world, s event.Store) {
		calls := event.Typed[call](s)
		first, err := calls.Append(ctx, event.Main, event.TypedNew[call]{Type: "call", ID: "1", Value: call{"search", 3}}, event.ExpectSequence(0))
		require.NoError(t, err)
		assert.Equal(t, `{"tool":"search","n":3}`, string(first.Payload))
		assert.Equal(t, call{"search", 3}, first.Value)
		again, err := calls.Append(ctx, event.Main, event.TypedNew[call]{Type: "call", ID: "1", Value: call{"search", 3}})
		require.NoError(t, err)
		assert.Equal(t, first, again)
		more, err := calls.AppendAll(ctx, event.Main, []event.TypedNew[call]{{Type: "call", Value: call{Tool: "a"}}, {Type: "return", Value: call{Tool: "b"}}})
		require.NoError(t, err)
		all := append([]event.TypedEvent[call]{first}, more...)
		assert.Equal(t, all, collect(t, calls.Read(ctx, event.Main)))
		assert.Equal(t, all[2:], collect(t, calls.Read(ctx, event.Main, event.Types("return"))))
		last, err := calls.Last(ctx, event.Main)
		require.NoError(t, err)
		assert.Equal(t, all[2], last)
		got, err := calls.Get(ctx, event.Main, 2)
		require.NoError(t, err)
		assert.Equal(t, all[1], got)
		n, err := calls.Len(ctx, event.Main)
		require.NoError(t, err)
		assert.Equal(t, uint64(3), n, "what has no payload is the store's")
		for range calls.Read(ctx, event.Main) {
			break
		}
	})
}

func TestTypedErrors(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	calls := event.Typed(s, codec.JSON[call]())
	_, err := calls.Get(ctx, event.Main, 1)
	assert.ErrorIs(t, err, inmem.ErrNotFound)
	_, err = calls.Append(ctx, "", event.TypedNew[call]{Type: "a"})
	assert.ErrorIs(t, err, event.ErrInvalidStream)
	_, err = calls.AppendAll(ctx, "", []event.TypedNew[call]{{Type: "a"}})
	assert.ErrorIs(t, err, event.ErrInvalidStream)
	_, err = event.Typed[int](s).Append(ctx, event.Main, event.TypedNew[int]{Type: "a", Value: 1})
	assert.ErrorIs(t, err, event.ErrInvalidPayload, "JSON, but no object")

	numbers := event.Typed[map[string]float64](s, nil)
	bad := event.TypedNew[map[string]float64]{Type: "a", Value: map[string]float64{"x": math.NaN()}}
	_, err = numbers.Append(ctx, event.Main, bad)
	assert.ErrorContains(t, err, "NaN")
	_, err = numbers.AppendAll(ctx, event.Main, []event.TypedNew[map[string]float64]{{Type: "a"}, bad})
	assert.ErrorContains(t, err, "NaN")
	_, err = event.Typed[call](s, silent{}).Append(ctx, event.Main, event.TypedNew[call]{Type: "a"})
	assert.ErrorIs(t, err, event.ErrInvalidPayload)
	n, err := s.Len(ctx, event.Main)
	require.NoError(t, err)
	assert.Zero(t, n)

	add(t, s, event.Main, event.New{Type: "a", Payload: []byte(`{"tool":1}`)})
	add(t, s, event.Main, event.New{Type: "a"})
	_, err = calls.Last(ctx, event.Main)
	require.NoError(t, err)
	_, err = calls.Get(ctx, event.Main, 1)
	assert.ErrorContains(t, err, "event 1")
	assert.ErrorContains(t, failure(t, calls.Read(ctx, event.Main)), "event 1")
	_, err = event.Typed[call](s, silent{}).Get(ctx, event.Main, 2)
	assert.ErrorIs(t, err, errSilent)
}

// silent is a codec with nothing to say.
type silent struct{}

var errSilent = errors.New("silence")

func (silent) Encode(call) ([]byte, error) { return nil, nil }
func (silent) Decode([]byte) (call, error) { return call{}, errSilent }
