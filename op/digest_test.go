package op

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type pair struct {
	key string
	Item
}

func digest(version uint64, pairs ...pair) Digest {
	var d Digester
	for _, p := range pairs {
		d.Add(p.key, p.Item)
	}
	return d.Sum(version)
}

func TestDigestGolden(t *testing.T) {
	a := pair{MapKey(KV, "plan"), Item{Value: []byte("go"), Version: 3, Deadline: 1_700_000_060_000}}
	b := pair{MapKey(Event, "1"), Item{Value: []byte(strings.Repeat("long ", 20)), Version: 300}}
	// A digest is stored, and compared with those of other machines and times.
	assert.Equal(t, "c2b5ce6671bc80dbbfb8eaa088707fcb", digest(0).String())
	assert.Equal(t, "9f163c91ce0bc99938e0da061762bc45", digest(300, a, b).String())
}

func TestDigestIsSensitive(t *testing.T) {
	key := MapKey(KV, "key")
	item := func(change func(*pair)) pair {
		p := pair{key, Item{Value: []byte("value"), Version: 7, Deadline: 9}}
		change(&p)
		return p
	}
	same := func(*pair) {}
	other := pair{MapKey(KV, "other"), Item{Version: 1}}
	seen := map[Digest]string{}
	for name, d := range map[string]Digest{
		"as it is":           digest(8, item(same)),
		"run version":        digest(9, item(same)),
		"nothing":            digest(8),
		"nothing, version 0": digest(0),
		"key":                digest(8, item(func(p *pair) { p.key = MapKey(KV, "kez") })),
		"tag":                digest(8, item(func(p *pair) { p.key = MapKey(Trace, "key") })),
		"no key":             digest(8, item(func(p *pair) { p.key = "" })),
		"value":              digest(8, item(func(p *pair) { p.Value = []byte("valuf") })),
		"longer value":       digest(8, item(func(p *pair) { p.Value = []byte("value\x00") })),
		"no value":           digest(8, item(func(p *pair) { p.Value = nil })),
		"version":            digest(8, item(func(p *pair) { p.Version = 6 })),
		"deadline":           digest(8, item(func(p *pair) { p.Deadline = 10 })),
		"no deadline":        digest(8, item(func(p *pair) { p.Deadline = 0 })),
		"swapped numbers":    digest(8, item(func(p *pair) { p.Version, p.Deadline = 9, 7 })),
		"one more":           digest(8, item(same), other),
		"only another":       digest(8, other),
		"twice":              digest(8, item(same), item(same)),
		"three times":        digest(8, item(same), item(same), item(same)),
	} {
		if was, ok := seen[d]; ok {
			t.Errorf("%q and %q have the same digest", name, was)
		}
		seen[d] = name
	}
	assert.Equal(t, digest(8, item(same)), digest(8, item(same)))
}

// TestDigestFields moves bytes between neighbouring fields: what follows in the
// hashed bytes must not read like what stood there before.
func TestDigestFields(t *testing.T) {
	seen := map[Digest]string{}
	const text = "\x01\x02\x03\x04\x05\x06\x07\x08"
	for i := range len(text) + 1 {
		for version := range uint64(9) {
			for deadline := range int64(9) {
				d := digest(1, pair{text[:i], Item{Value: []byte(text[i:]), Version: version, Deadline: deadline}})
				name := fmt.Sprint(i, version, deadline)
				require.NotContainsf(t, seen, d, "%s and %s", name, seen[d])
				seen[d] = name
			}
		}
	}
	// Values of two keys that change places.
	a, b := Item{Value: []byte("a"), Version: 1}, Item{Value: []byte("b"), Version: 1}
	assert.NotEqual(t, digest(2, pair{"x", a}, pair{"y", b}), digest(2, pair{"x", b}, pair{"y", a}))
}

func TestDigestUsesAll128Bits(t *testing.T) {
	zeros, ones := Digest{}, Digest{}
	for i := range uint64(200) {
		for j, b := range digest(i) {
			zeros[j] |= ^b
			ones[j] |= b
		}
	}
	for j := range zeros {
		assert.Equalf(t, byte(0xff), zeros[j]&ones[j], "each bit of byte %d takes both values", j)
	}
}

func TestDigestDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := rapid.MapOfN(rapid.String(), rapid.SliceOfN(rapid.Byte(), 0, 100), 0, 50).Draw(t, "state")
		var pairs []pair
		for k, v := range state {
			pairs = append(pairs, pair{k, Item{Value: v, Version: uint64(len(k)) + 1}})
		}
		want := digest(3, pairs...)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rng.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		require.Equal(t, want, digest(3, pairs...))
		if len(pairs) > 0 {
			require.NotEqual(t, want, digest(3, pairs[1:]...))
		}
	})
}

func TestSumLeavesTheDigesterAsItIs(t *testing.T) {
	var d Digester
	d.Add("a", Item{Value: []byte("1"), Version: 1})
	assert.Equal(t, d.Sum(1), d.Sum(1))
	d.Add("b", Item{Version: 2})
	assert.Equal(t, digest(2, pair{"b", Item{Version: 2}}, pair{"a", Item{Value: []byte("1"), Version: 1}}), d.Sum(2))
}
