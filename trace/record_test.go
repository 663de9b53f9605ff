package trace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func samples() (Start, Finish) {
	return Start{Kind: ToolCall, Name: "n", Parent: 3, Input: []byte("in"), At: time.UnixMilli(5), Attributes: map[string]string{"a": "1", "b": ""}},
		Finish{Status: Failed, Output: []byte("out"), Error: "e", At: time.UnixMilli(9), Usage: Usage{1, 2, 0.25}, Attributes: map[string]string{"c": "2"}}
}

func TestRecordsOfOthers(t *testing.T) {
	start, finish := samples()
	var span Span
	require.NoError(t, span.decodeStart(start.encode()))
	require.NoError(t, span.decodeFinish(finish.encode()))
	for what, decode := range map[string]func([]byte) error{"start": span.decodeStart, "finish": span.decodeFinish} {
		b := start.encode()
		if what == "finish" {
			b = finish.encode()
		}
		for n := range b {
			assert.ErrorIs(t, decode(b[:n]), ErrInvalidRecord, "%s, %d bytes", what, n)
		}
		assert.ErrorIs(t, decode(append(b, 0)), ErrInvalidRecord)
		assert.ErrorIs(t, decode([]byte{9}), ErrUnsupportedRecord)
	}
	open := finish
	open.Status = Open
	assert.ErrorIs(t, span.decodeFinish(open.encode()), ErrInvalidRecord)
	assert.ErrorIs(t, span.decodeStart([]byte{recordFormat, 0, 0, 0, 0, 0, 2, 1, 'b', 0, 1, 'a', 0}), ErrInvalidRecord, "order")
	assert.ErrorIs(t, span.decodeStart([]byte{recordFormat, 0, 0, 0, 0, 0, 0xff, 0xff, 3}), ErrInvalidRecord, "count")
}

// FuzzRecords: what a decoder takes, the encoder writes back byte for byte.
func FuzzRecords(f *testing.F) {
	start, finish := samples()
	f.Add(start.encode())
	f.Add(finish.encode())
	f.Add([]byte{recordFormat, 0, 0, 0, 0, 0, 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Span
		if s.decodeStart(b) == nil {
			again := Start{Kind: s.Kind, Name: s.Name, Parent: s.Parent, Input: s.Input, At: s.Start, Attributes: s.Attributes}
			assert.Equal(t, b, again.encode())
		}
		s = Span{}
		if s.decodeFinish(b) == nil {
			again := Finish{Status: s.Status, Output: s.Output, Error: s.Error, At: s.End, Usage: s.Usage, Attributes: s.Attributes}
			assert.Equal(t, b, again.encode())
		}
	})
}
