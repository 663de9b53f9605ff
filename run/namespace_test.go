package run

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseNamespace(t *testing.T) {
	for text, want := range map[string]Namespace{
		"t/a/g":     {"t", "a", "g"},
		"//":        {},
		"t//":       {Tenant: "t"},
		"/a/":       {App: "a"},
		"//g":       {Agent: "g"},
		"é 世/a.b/-": {"é 世", "a.b", "-"},
	} {
		got, err := ParseNamespace(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
		assert.Equal(t, text, got.String())
	}
}

func TestNamespaceRefused(t *testing.T) {
	for _, s := range []string{
		"", "t", "t/a", "t/a/g/", "t/a/g/x", "t/a/\x00", "t\n/a/g", "t/\u0085/g", "\xff/a/g",
		strings.Repeat("x", MaxNamespacePart+1) + "/a/g",
	} {
		n, err := ParseNamespace(s)
		assert.ErrorIs(t, err, ErrInvalidNamespace, s)
		assert.Zero(t, n)
	}
	assert.ErrorContains(t, Namespace{Tenant: "a/b"}.Validate(), "tenant: contains '/'")
	assert.ErrorContains(t, Namespace{App: "a\x7f"}.Validate(), "app: contains a control character")
	assert.ErrorContains(t, Namespace{Agent: strings.Repeat("x", 256)}.Validate(), "agent: 256 bytes, the limit is 255")
}

func TestNamespaceRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := Namespace{
			Tenant: rapid.String().Draw(t, "tenant"),
			App:    rapid.String().Draw(t, "app"),
			Agent:  rapid.String().Draw(t, "agent"),
		}
		if n.Validate() != nil {
			return
		}
		got, err := ParseNamespace(n.String())
		require.NoError(t, err)
		require.Equal(t, n, got)
	})
}

// Stored data depends on these IDs: a change here loses the spaces of every
// store there is.
func TestDerivedIDsNeverChange(t *testing.T) {
	n := Namespace{"acme", "support", "triage"}
	assert.Equal(t, "8608a494-86c4-896a-8512-ff3be4769283", n.SpaceID().String())
	assert.Equal(t, "1ff52469-77b9-80bb-bc65-21a0fded2f48", n.DeriveID("ticket-1").String())
	assert.Equal(t, "18d22dab-7406-836b-ab44-8ee96f27b573", Namespace{}.SpaceID().String())
}

func TestDerivedIDsDiffer(t *testing.T) {
	seen := make(map[ID]string)
	add := func(id ID, what string) {
		assert.Empty(t, seen[id], what)
		seen[id] = what
		assert.Equal(t, uuid.Version(8), uuid.UUID(id).Version(), what)
		assert.Equal(t, uuid.RFC4122, uuid.UUID(id).Variant(), what)
	}
	// Namespaces and names whose texts run together into the same bytes.
	for _, n := range []Namespace{
		{}, {"a", "", ""}, {"", "a", ""}, {"", "", "a"},
		{"ab", "c", ""}, {"a", "bc", ""}, {"a", "b", "c"}, {"abc", "", ""},
		{"a\x01b", "", ""}, {"a", "b", ""},
	} {
		add(n.SpaceID(), n.String())
		for _, name := range []string{"", "a", "c", "\x00", "bc"} {
			add(n.DeriveID(name), n.String()+" "+name)
		}
	}
}
