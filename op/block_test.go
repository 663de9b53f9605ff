package op

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBlock(t *testing.T) {
	b := BlockOf("key", []byte("value"))
	require.Equal(t, "value", string(b.Value()))
	require.Equal(t, 5, cap(b.Value()))
	v := b.Value()
	require.True(t, b.Holds(v))
	require.False(t, b.Holds(v[1:]))
	require.False(t, b.Holds(v[:4]))
	require.False(t, b.Holds(bytes.Clone(v)))
	require.False(t, b.Holds(nil))
	require.Nil(t, b.Take(5), "it has other room in front")
	m := b.Take(BlockHead + 4)
	require.Equal(t, "value", string(m[BlockHead+4:][:5]))
	require.Equal(t, len(m), cap(m), "as long as the memory behind it")
	require.Nil(t, b.Take(BlockHead+4), "once")
	require.False(t, b.Holds(v))
}

func TestOwnValues(t *testing.T) {
	small := &Request{Writes: []Write{{Key: "a", Value: make([]byte, Large-1)}, {Kind: Delete, Key: "b"}}}
	require.Same(t, small, OwnValues(small))

	value := bytes.Repeat([]byte{7}, Large)
	req := &Request{Durability: Strict, Writes: []Write{{Key: "a", Value: []byte("x")}, {Key: "b", Value: value}}}
	own := OwnValues(req)
	require.Same(t, own, OwnValues(own))
	require.Equal(t, Strict, own.Durability)
	require.Nil(t, req.Writes[1].Block, "the caller's request is as it was")
	require.Nil(t, own.Writes[0].Block)
	require.True(t, own.Writes[1].Block.Holds(own.Writes[1].Value))
	clear(value)
	require.Equal(t, byte(7), own.Writes[1].Value[Large-1])
}

// A commit with gaps is the same commit.
func TestAppendCommitAround(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genCommit().Draw(t, "commit")
		large := rapid.IntRange(0, 30).Draw(t, "large")
		before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "before")
		b, gaps := AppendCommitAround(before, nil, &c, large)
		var whole []byte
		from := 0
		for _, g := range gaps {
			require.GreaterOrEqual(t, len(g.Bytes), large)
			whole = append(append(whole, b[from:g.At]...), g.Bytes...)
			from = g.At
		}
		whole = append(whole, b[from:]...)
		require.Equal(t, AppendCommit(before, &c), whole)
		require.Equal(t, len(whole), len(b)+InGaps(gaps))
	})
}
