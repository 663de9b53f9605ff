package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNewIDsAscend(t *testing.T) {
	var last ID
	for range 1000 {
		id, err := NewID()
		require.NoError(t, err)
		require.Equal(t, 1, id.Compare(last))
		assert.Equal(t, uuid.Version(7), uuid.UUID(id).Version())
		assert.Equal(t, uuid.RFC4122, uuid.UUID(id).Variant())
		last = id
	}
}

func TestNewIDWithoutRandomness(t *testing.T) {
	broken := errors.New("no randomness")
	uuid.SetRand(iotest.ErrReader(broken))
	defer uuid.SetRand(nil)
	id, err := NewID()
	assert.ErrorIs(t, err, broken)
	assert.True(t, id.IsZero())
}

func TestParseID(t *testing.T) {
	const text = "01890a5d-ac96-774b-bcce-b302099a8057"
	id, err := ParseID(text)
	require.NoError(t, err)
	assert.Equal(t, text, id.String())
	upper, err := ParseID(strings.ToUpper(text))
	require.NoError(t, err)
	assert.Equal(t, id, upper)

	for _, s := range []string{
		"",
		"x",
		"00000000-0000-0000-0000-000000000000",
		"01890a5dac96774bbcceb302099a8057",
		"{" + text + "}",
		"urn:uuid:" + text,
		text + "0",
		strings.Replace(text, "-", "0", 1),
		strings.Replace(text, "a", "g", 1),
	} {
		id, err := ParseID(s)
		assert.ErrorIs(t, err, ErrInvalidID, s)
		assert.True(t, id.IsZero(), s)
	}
	_, err = ParseID(strings.Repeat("x", 1<<20))
	assert.Less(t, len(err.Error()), 100, "an error does not repeat everything")
}

func TestIDCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genID().Draw(t, "a"), genID().Draw(t, "b")
		require.Equal(t, bytes.Compare(a[:], b[:]), a.Compare(b))
		require.Equal(t, a == b, a.Compare(b) == 0)
		require.Equal(t, -a.Compare(b), b.Compare(a))
	})
}

func TestIDText(t *testing.T) {
	id := ID{0: 1, 15: 0xff}
	type holder struct {
		One  ID
		None ID
		Keys map[ID]int
	}
	want := holder{One: id, Keys: map[ID]int{id: 1}}
	b, err := json.Marshal(want)
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"One": "01000000-0000-0000-0000-0000000000ff",
		"None": "",
		"Keys": {"01000000-0000-0000-0000-0000000000ff": 1}
	}`, string(b))
	got := holder{None: ID{9}}
	require.NoError(t, json.Unmarshal(b, &got))
	assert.Equal(t, want, got)

	before := id
	require.ErrorIs(t, id.UnmarshalText([]byte("nonsense")), ErrInvalidID)
	assert.Equal(t, before, id)
}
