package run

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func manyTags(n int) map[string]string {
	tags := make(map[string]string)
	for i := range n {
		tags[fmt.Sprint(i)] = ""
	}
	return tags
}

func TestMetaValidateAccepts(t *testing.T) {
	longest := strings.Repeat("x", MaxNamespacePart)
	for name, m := range map[string]Meta{
		"zero":     {},
		"own ID":   {ID: ID{1}},
		"a parent": {ID: ID{1}, Parent: ID{2}},
		"parent of a run without ID yet": {
			Parent: ID{2},
		},
		"everything at its limit": {
			Name:      strings.Repeat("x", MaxName),
			Namespace: Namespace{longest, longest, longest},
			Tags:      map[string]string{strings.Repeat("k", MaxTagKey): strings.Repeat("v", MaxTagValue)},
		},
		"most tags": {Tags: manyTags(MaxTags)},
	} {
		assert.NoError(t, m.Validate(), name)
	}
}

func TestMetaValidateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		meta  Meta
		field string
		says  string
	}{
		"long name":      {Meta{Name: strings.Repeat("x", MaxName+1)}, "name", "1025 bytes, the limit is 1024"},
		"name not text":  {Meta{Name: "\xff"}, "name", "UTF-8"},
		"namespace":      {Meta{Namespace: Namespace{App: "a/b"}}, "namespace", "app: contains '/'"},
		"own parent":     {Meta{ID: ID{1}, Parent: ID{1}}, "parent", "own parent"},
		"too many tags":  {Meta{Tags: manyTags(MaxTags + 1)}, "tags", "65 tags, the limit is 64"},
		"empty key":      {Meta{Tags: map[string]string{"": "v"}}, "tags", "empty"},
		"long key":       {Meta{Tags: map[string]string{strings.Repeat("k", MaxTagKey+1): ""}}, "tags", "limit is 255"},
		"key not text":   {Meta{Tags: map[string]string{"\xff": ""}}, "tags", "UTF-8"},
		"long value":     {Meta{Tags: map[string]string{"k": strings.Repeat("v", MaxTagValue+1)}}, "tags", "limit is 4096"},
		"value not text": {Meta{Tags: map[string]string{"k": "\xff"}}, "tags", `value of "k"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.meta.Validate()
			require.ErrorIs(t, err, ErrInvalidMeta)
			var me *MetaError
			require.ErrorAs(t, err, &me)
			assert.Equal(t, c.field, me.Field)
			assert.ErrorContains(t, err, c.says)
			if c.field == "namespace" {
				assert.ErrorIs(t, err, ErrInvalidNamespace)
			}
		})
	}
}

func TestInfoTimes(t *testing.T) {
	i := &Info{Created: 1_700_000_000_123}
	assert.Equal(t, time.Date(2023, 11, 14, 22, 13, 20, 123e6, time.UTC), i.CreatedAt())
	assert.True(t, i.EndedAt().IsZero())
	i.Ended = i.Created + 1000
	assert.Equal(t, time.Second, i.EndedAt().Sub(i.CreatedAt()))
}

func TestCloneSharesNothing(t *testing.T) {
	i := &Info{Meta: Meta{ID: ID{1}, Tags: map[string]string{"a": "1"}}, Status: Active}
	c := i.Clone()
	require.Equal(t, i, c)
	c.Tags["a"], c.Status = "2", Paused
	assert.Equal(t, "1", i.Tags["a"])
	assert.Equal(t, Active, i.Status)
	assert.Nil(t, (&Info{}).Clone().Tags)
}

func TestInfoJSON(t *testing.T) {
	b, err := json.Marshal(&Info{
		Meta:         Meta{ID: ID{0: 0xab, 15: 1}, Namespace: Namespace{"t", "a", "g"}, Tags: map[string]string{"k": "v"}},
		Status:       Active,
		Created:      5,
		FirstVersion: 1,
		LastVersion:  2,
	})
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"id": "ab000000-0000-0000-0000-000000000001",
		"namespace": {"tenant": "t", "app": "a", "agent": "g"},
		"tags": {"k": "v"},
		"status": "active",
		"created": 5,
		"first_version": 1,
		"last_version": 2
	}`, string(b))
}

func TestInfoJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genInfo().Draw(t, "info")
		b, err := json.Marshal(want)
		require.NoError(t, err)
		got := new(Info)
		require.NoError(t, json.Unmarshal(b, got))
		require.Equal(t, want, got)
	})
}

// genID draws IDs from few, so that they meet.
func genID() *rapid.Generator[ID] {
	return rapid.Custom(func(t *rapid.T) ID {
		return ID{0: rapid.Byte().Draw(t, "first"), 15: rapid.ByteRange(1, 3).Draw(t, "last")}
	})
}

func genText() *rapid.Generator[string] {
	return rapid.StringMatching(`[a-cé世]{0,3}`)
}

// genInfo draws valid infos of which many share times, names and tags.
func genInfo() *rapid.Generator[*Info] {
	return rapid.Custom(func(t *rapid.T) *Info {
		i := &Info{
			Meta: Meta{
				ID:        genID().Draw(t, "id"),
				Name:      genText().Draw(t, "name"),
				Namespace: genNamespace().Draw(t, "namespace"),
				Tags:      rapid.MapOfN(rapid.StringMatching(`[a-c]{1,2}`), genText(), 0, 4).Draw(t, "tags"),
			},
			Status:       Status(rapid.ByteRange(byte(Active), byte(Archived)).Draw(t, "status")),
			Space:        rapid.Bool().Draw(t, "space"),
			Created:      rapid.Int64Range(0, 20).Draw(t, "created"),
			Ended:        rapid.Int64Min(0).Draw(t, "ended"),
			FirstVersion: rapid.Uint64().Draw(t, "first version"),
			LastVersion:  rapid.Uint64().Draw(t, "last version"),
		}
		if rapid.Bool().Draw(t, "has parent") {
			i.Parent = genID().Filter(func(p ID) bool { return p != i.ID }).Draw(t, "parent")
		}
		if len(i.Tags) == 0 {
			i.Tags = nil
		}
		return i
	})
}

func genNamespace() *rapid.Generator[Namespace] {
	return rapid.Custom(func(t *rapid.T) Namespace {
		return Namespace{
			Tenant: genText().Draw(t, "tenant"),
			App:    genText().Draw(t, "app"),
			Agent:  genText().Draw(t, "agent"),
		}
	})
}
