package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// text is a list of differences, one a line.
func text(list []Difference) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s %s: %s -> %s\n", d.Change, d.Path, d.A, d.B)
	}
	return b.String()
}

func TestJSON(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"the same", `{"a":1}`, `{"a":1}`, ""},
		{"written differently", `{"a": 1, "b":"é"}`, "{\"b\":\"\\u00e9\",\n\"a\":1}", ""},
		{"numbers", `[1,100,0,0.5,12e-1,-0.0]`, `[1.0,1e2,0e9,5E-1,1.2,0]`, ""},
		{"large numbers", `[10000000000000000001]`, `[10000000000000000002]`, "changed /0: 10000000000000000001 -> 10000000000000000002\n"},
		{"huge exponents", `[1e99999999999999999999]`, `[2e99999999999999999999]`, "changed /0: 1e99999999999999999999 -> 2e99999999999999999999\n"},
		{"a member", `{"a":{"b":[1,{"c":true}]}}`, `{"a":{"b":[1,{"c":null}]}}`, "changed /a/b/1/c: true -> null\n"},
		{"members come and go", `{"x":1,"y":2}`, `{"y":2,"z":3}`, "removed /x: 1 -> \nadded /z:  -> 3\n"},
		{"elements come and go", `[1,2,3]`, `[1]`, "removed /1: 2 -> \nremoved /2: 3 -> \n"},
		{"an element more", `[]`, `[[]]`, "added /0:  -> []\n"},
		{"another kind", `{"a":[1]}`, `{"a":{"0":1}}`, "changed /a: [1] -> {\"0\":1}\n"},
		{"a number is no text", `{"a":1}`, `{"a":"1"}`, "changed /a: 1 -> \"1\"\n"},
		{"all of it", `1`, `"1"`, "changed : 1 -> \"1\"\n"},
		{"names that need escapes", `{"a/b":1,"m~n":2,"":3}`, `{"a/b":0,"m~n":0,"":0}`, "changed /: 3 -> 0\nchanged /a~1b: 1 -> 0\nchanged /m~0n: 2 -> 0\n"},
		{"a tilde and a slash", `{"~1":1,"~/":2}`, `{"~1":0,"~/":0}`, "changed /~0~1: 2 -> 0\nchanged /~01: 1 -> 0\n"},
		{"order of names", `{"b":1,"a":1}`, `{"a":2,"b":2}`, "changed /a: 1 -> 2\nchanged /b: 1 -> 2\n"},
		{"half a surrogate", `["\ud800"]`, `["\udbff"]`, "changed /0: \"\\ud800\" -> \"\\udbff\"\n"},
		{"white space around", ` [ 1 , 2 ] `, "\t[1,\r\n3]", "changed /1: 2 -> 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, more, ok := JSON([]byte(c.a), []byte(c.b))
			require.True(t, ok)
			require.Zero(t, more)
			require.Equal(t, c.want, text(list))
		})
	}
}

func TestJSONThatIsNotComparedByPath(t *testing.T) {
	for name, odd := range map[string]string{
		"nothing": "", "no JSON": "{", "two values": "1 2", "not UTF-8": "\"\xff\"", "two members of a name": `{"a":1,"a":2}`,
		"the same name in other words": `{"a":1,"\u0061":2}`, "a name that is no text": `{"\ud800":1}`,
		"within": `[{"x":{"a":1,"a":1}}]`, "too many values": "[" + strings.Repeat("1,", maxNodes) + "1]",
		"too deep": strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
	} {
		_, _, ok := JSON([]byte(odd), []byte(`{}`))
		require.False(t, ok, name)
		_, _, ok = JSON([]byte(`{}`), []byte(odd))
		require.False(t, ok, name)
	}
}

func TestJSONIsBounded(t *testing.T) {
	var a, b []string
	for i := range 1000 {
		a, b = append(a, strconv.Itoa(i)), append(b, strconv.Itoa(i+1))
	}
	left, right := []byte("["+strings.Join(a, ",")+"]"), []byte("["+strings.Join(b, ",")+"]")
	list, more, ok := JSON(left, right)
	require.True(t, ok)
	require.Len(t, list, DefaultLimit)
	require.Equal(t, 1000-DefaultLimit, more)
	list, more, _ = JSON(left, right, Limit(7))
	require.Len(t, list, 7)
	require.Equal(t, 993, more)
	list, _, _ = JSON(left, right, Limit(0))
	require.Len(t, list, DefaultLimit)

	// Paths that are long themselves.
	long := strings.Repeat("n", 300<<10)
	object := func(v int) []byte {
		return fmt.Appendf(nil, `{%q:{"a":%d,"b":%d,"c":%d,"d":%d,"e":%d}}`, long, v, v, v, v, v)
	}
	list, more, ok = JSON(object(1), object(2))
	require.True(t, ok)
	require.Len(t, list, 3)
	require.Equal(t, 2, more)
	require.Equal(t, "/"+long+"/a", list[0].Path)
	deep := func(v string) []byte {
		return []byte(strings.Repeat(`{"a":`, 9000) + v + strings.Repeat("}", 9000))
	}
	list, _, ok = JSON(deep("1"), deep("2"))
	require.True(t, ok)
	require.Equal(t, strings.Repeat("/a", 9000), list[0].Path)
}

func TestIgnore(t *testing.T) {
	a := []byte(`{"id":1,"calls":[{"id":1,"x":1},{"id":2,"x":2}],"a/b":{"c":1}}`)
	b := []byte(`{"id":2,"calls":[{"id":3,"x":1},{"id":4,"x":3}],"a/b":{"c":2}}`)
	for _, c := range []struct {
		ignore []string
		want   string
	}{
		{nil, "/a~1b/c /calls/0/id /calls/1/id /calls/1/x /id"},
		{[]string{"/id"}, "/a~1b/c /calls/0/id /calls/1/id /calls/1/x"},
		{[]string{"/calls/*/id", "/id"}, "/a~1b/c /calls/1/x"},
		{[]string{"/calls/1"}, "/a~1b/c /calls/0/id /id"},
		{[]string{"/calls"}, "/a~1b/c /id"},
		{[]string{"/a~1b"}, "/calls/0/id /calls/1/id /calls/1/x /id"},
		{[]string{"/*"}, ""},
		{[]string{"/calls/*/id/none", "/none", "/"}, "/a~1b/c /calls/0/id /calls/1/id /calls/1/x /id"},
	} {
		list, _, ok := JSON(a, b, Ignore(c.ignore...))
		require.True(t, ok)
		var paths []string
		for _, d := range list {
			paths = append(paths, d.Path)
		}
		require.Equal(t, c.want, strings.Join(paths, " "), c.ignore)
	}
	for _, bad := range []string{"", "id", "/a~2", "/~"} {
		_, err := Check(Ignore("/fine", bad))
		require.ErrorIs(t, err, ErrInvalidPath, "%q", bad)
	}
	parts, err := Check(Ignore("/~0~1", "/*/x"), Only(Keys|Trace))
	require.NoError(t, err)
	require.Equal(t, Keys|Trace, parts)
}

// value draws any JSON value whose numbers are written in one way only.
func value(depth int) *rapid.Generator[any] {
	name := rapid.SampledFrom([]string{"", "a", "b", "~", "/", "~1", "é", "0", "\x00"})
	leaf := rapid.OneOf(
		rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(v bool) any { return v }),
		rapid.Map(rapid.IntRange(-3, 3), func(v int) any { return float64(v) }), rapid.Map(name, func(v string) any { return v }),
	)
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf,
		rapid.Map(rapid.MapOfN(name, value(depth-1), 0, 5), func(v map[string]any) any { return v }),
		rapid.Map(rapid.SliceOfN(value(depth-1), 0, 5), func(v []any) any { return v }),
	)
}

// apply carries differences out on a decoded value.
func apply(t require.TestingT, doc any, list []Difference) any {
	var removed []Difference
	for _, d := range list {
		if d.Change == Removed { // from the end: indexes stay what they are
			removed = slices.Insert(removed, 0, d)
			continue
		}
		doc = set(t, doc, d, steps(d.Path))
	}
	for _, d := range removed {
		doc = set(t, doc, d, steps(d.Path))
	}
	return doc
}

func steps(path string) []string {
	if path == "" {
		return nil
	}
	list := strings.Split(path[1:], "/")
	for i, s := range list {
		list[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return list
}

func set(t require.TestingT, doc any, d Difference, path []string) any {
	if len(path) == 0 {
		require.Equal(t, Changed, d.Change)
		return decoded(t, d.B)
	}
	switch doc := doc.(type) {
	case map[string]any:
		old, has := doc[path[0]]
		require.Equal(t, len(path) > 1 || d.Change != Added, has)
		switch {
		case len(path) == 1 && d.Change == Removed:
			delete(doc, path[0])
		case len(path) == 1 && d.Change == Added:
			doc[path[0]] = decoded(t, d.B)
		default:
			doc[path[0]] = set(t, old, d, path[1:])
		}
		return doc
	case []any:
		i, err := strconv.Atoi(path[0])
		require.NoError(t, err)
		switch {
		case len(path) == 1 && d.Change == Removed:
			require.Equal(t, len(doc)-1, i)
			return doc[:i]
		case len(path) == 1 && d.Change == Added:
			require.Len(t, doc, i)
			return append(doc, decoded(t, d.B))
		}
		doc[i] = set(t, doc[i], d, path[1:])
		return doc
	}
	require.Fail(t, "no container", "%v at %v", doc, path)
	return nil
}

func decoded(t require.TestingT, b []byte) (v any) {
	require.NoError(t, json.Unmarshal(b, &v))
	return v
}

// requireDiff wants of two JSON values that the differences lead from a to b, and
// mirrored from b to a, and that there are none only where they are the same.
func requireDiff(t require.TestingT, a, b []byte) {
	list, more, ok := JSON(a, b, Limit(1<<20))
	require.True(t, ok)
	require.Zero(t, more)
	require.Equal(t, decoded(t, b), apply(t, decoded(t, a), list))
	back, _, _ := JSON(b, a, Limit(1<<20))
	require.Len(t, back, len(list))
	for i, d := range back {
		require.Equal(t, mirror(list[i]), d)
	}
}

func mirror(d Difference) Difference {
	d.A, d.B = d.B, d.A
	d.Change = map[Change]Change{Added: Removed, Removed: Added, Changed: Changed}[d.Change]
	return d
}

func TestJSONAppliedLeadsToB(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encode := func(v any) []byte {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			if rapid.Bool().Draw(t, "indented") {
				var out bytes.Buffer
				require.NoError(t, json.Indent(&out, b, "", "\t"))
				b = out.Bytes()
			}
			return b
		}
		a, b := value(4).Draw(t, "a"), value(4).Draw(t, "b")
		requireDiff(t, encode(a), encode(b))
		list, _, _ := JSON(encode(a), encode(a))
		require.Empty(t, list)
	})
}

func FuzzJSON(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":1}`, `{"a":2}`}, {`[1,[2]]`, `[1,[2,3]]`}, {`{"a/b":{"~":null}}`, `{"a/b":{}}`}, {`"\ud83d\ude00"`, `"😀"`},
		{`1e2`, `100`}, {`{"a":1,"a":2}`, `{}`}, {` [ ] `, `{ }`}, {`-0.0`, `0`}, {`{"":{"":""}}`, `{"":{"":"x"}}`}, {"\"\\", `"`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		list, _, ok := JSON(a, b)
		_, _, back := JSON(b, a)
		require.Equal(t, ok, back)
		if !ok {
			return
		}
		require.True(t, json.Valid(a) && json.Valid(b), "only JSON is compared by path")
		if bytes.Equal(a, b) {
			require.Empty(t, list)
		}
		if plainNumbers(a) && plainNumbers(b) {
			requireDiff(t, a, b)
		}
	})
}

// plainNumbers reports whether a value's numbers and texts survive being decoded
// by encoding/json, so that what it says can be held against.
func plainNumbers(b []byte) bool {
	return !bytes.ContainsAny(b, ".eE+-\\") && !strings.Contains(string(b), "\ufffd") &&
		!slices.ContainsFunc(slices.Collect(maps.Keys(digitRuns(b))), func(n int) bool { return n > 15 })
}

// digitRuns are the lengths of the numbers in a text.
func digitRuns(b []byte) map[int]bool {
	lengths, n := map[int]bool{}, 0
	for _, c := range b {
		if c < '0' || c > '9' {
			n = 0
			continue
		}
		n++
		lengths[n] = true
	}
	return lengths
}

func BenchmarkJSON(b *testing.B) {
	object := func(n int) []byte {
		return fmt.Appendf(nil, `{"key":%d,"n":%d,"text":"%s"}`, 7, n, strings.Repeat("x", 220))
	}
	x, y := object(1), object(2)
	b.ReportAllocs()
	for b.Loop() {
		JSON(x, y)
	}
}
