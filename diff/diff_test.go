package diff

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/event"
	"inmem/kv"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

func keyOf(name, value string) kv.Item { return kv.Item{Key: name, Value: []byte(value)} }

func events(list ...string) (all []event.Event) {
	for i, e := range list {
		kind, payload, _ := strings.Cut(e, " ")
		all = append(all, event.Event{Sequence: uint64(i + 1), Type: kind, Payload: []byte(payload)})
	}
	return all
}

// sketch is a result as text, a line for each thing.
func sketch(r *Result) string {
	var b strings.Builder
	within := func(w *Within) {
		for _, d := range w.Differences {
			b.WriteString(" " + cmp.Or(d.Path, "all"))
		}
		if w.Form {
			b.WriteString(" form")
		}
		b.WriteString("\n")
	}
	for _, k := range r.Keys {
		b.WriteString(k.Change.String() + " " + side(k.A, k.B, func(it *kv.Item) string { return it.Key }))
		within(&k.Within)
	}
	for _, c := range r.Cells {
		b.WriteString(c.Change.String() + " " + side(c.A, c.B, func(c *state.Cell) string { return c.Name }))
		within(&c.Within)
	}
	position := func(e *event.Event) string { return e.Type + strconv.FormatUint(e.Sequence, 10) }
	for _, s := range r.Streams {
		b.WriteString(s.Name + " " + strconv.Itoa(s.Same) + " same, first " + strconv.Itoa(s.First.Position))
		within(&s.First.Within)
		for _, e := range s.Items {
			b.WriteString(e.Change.String() + " " + side(e.A, e.B, position))
			within(&e.Within)
		}
	}
	if r.Spans != nil {
		b.WriteString("spans " + strconv.Itoa(r.Spans.Same) + " same, first " + strconv.Itoa(r.Spans.First.Position))
		within(&r.Spans.First.Within)
		for _, s := range r.Spans.Items {
			b.WriteString(s.Change.String() + " " + side(s.A, s.B, func(s *trace.Span) string { return s.Name + strconv.Itoa(int(s.ID)) }))
			within(&s.Within)
		}
	}
	if r.Steps != nil {
		b.WriteString("steps, first " + strconv.Itoa(r.Steps.Position))
		within(&r.Steps.Within)
	}
	return b.String()
}

func side[T any](a, b *T, name func(*T) string) string {
	switch {
	case a == nil:
		return "- " + name(b)
	case b == nil:
		return name(a) + " -"
	}
	return name(a) + " " + name(b)
}

func tool(id, parent trace.ID, name, input string, attributes ...string) trace.Span {
	s := trace.Span{ID: id, Parent: parent, Kind: trace.ToolCall, Name: name, Status: trace.OK, Input: []byte(input)}
	for i := 0; i < len(attributes); i += 2 {
		if s.Attributes == nil {
			s.Attributes = map[string]string{}
		}
		s.Attributes[attributes[i]] = attributes[i+1]
	}
	return s
}

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b Side
		opts []Option
		want string
	}{
		{name: "nothing"},
		{
			name: "keys",
			a:    Side{Keys: []kv.Item{keyOf("a", "1"), keyOf("b", "x"), keyOf("c", `{"n":1}`), keyOf("d", "same")}},
			b:    Side{Keys: []kv.Item{keyOf("b", "y"), keyOf("c", `{"n":2}`), keyOf("d", "same"), keyOf("e", "")}},
			want: "removed a -\nchanged b b all\nchanged c c /n\nadded - e\n",
		},
		{
			name: "what is never the same is not compared",
			a:    Side{Run: run.ID{1}, Version: 3, Keys: []kv.Item{{Key: "a", Version: 1}}, Cells: []state.Cell{{Name: "c", Version: 3}}, Streams: map[string][]event.Event{"s": {{Sequence: 1, ID: "x", Time: time.Unix(1, 0), Version: 2}}}, Spans: []trace.Span{{ID: 1, Start: time.Unix(1, 0), Version: 4}}},
			b:    Side{Run: run.ID{2}, Version: 9, Keys: []kv.Item{{Key: "a", Version: 2, Deadline: time.Unix(9, 0)}}, Cells: []state.Cell{{Name: "c", Version: 4}}, Streams: map[string][]event.Event{"s": {{Sequence: 1, ID: "y", Time: time.Unix(2, 0), Version: 7, Prev: [32]byte{1}}}}, Spans: []trace.Span{{ID: 5, Start: time.Unix(2, 0), End: time.Unix(3, 0), Version: 5}}},
		},
		{
			name: "the same JSON, written differently",
			a:    Side{Keys: []kv.Item{keyOf("a", `{"n":1}`), keyOf("b", `[1, 2]`)}},
			b:    Side{Keys: []kv.Item{keyOf("a", `{"n": 1.0}`), keyOf("b", `[1, 3]`)}},
			want: "changed a a form\nchanged b b /1\n",
		},
		{
			name: "the same JSON counts as equal",
			a:    Side{Keys: []kv.Item{keyOf("a", `{"n":1}`), keyOf("b", "x")}},
			b:    Side{Keys: []kv.Item{keyOf("a", `{"n": 1.0}`), keyOf("b", "x ")}},
			opts: []Option{SameJSON()},
			want: "changed b b all\n",
		},
		{
			name: "cells",
			a:    Side{Cells: []state.Cell{{Name: "c", Value: state.Value{State: "queued", Data: []byte(`{"n":1}`)}}, {Name: "d", Value: state.Value{Data: []byte("x")}}, {Name: "e"}}},
			b:    Side{Cells: []state.Cell{{Name: "c", Value: state.Value{State: "done", Data: []byte(`{"n":2}`)}}, {Name: "d"}, {Name: "f"}}},
			want: "changed c c /state /data/n\nchanged d d /data\nremoved e -\nadded - f\n",
		},
		{
			name: "an event more in the middle",
			a:    Side{Streams: map[string][]event.Event{"main": events("ask {}", "answer {}", "bye {}")}},
			b:    Side{Streams: map[string][]event.Event{"main": events("ask {}", "tool {}", "answer {}", "bye {}")}},
			want: "main 3 same, first 2\nadded - tool2\n",
		},
		{
			name: "content first, then names",
			a:    Side{Streams: map[string][]event.Event{"main": events("ask {}", `answer {"t":1}`, "tool {}", "bye {}")}},
			b:    Side{Streams: map[string][]event.Event{"main": events("ask {}", `answer {"t":2}`, "bye {}")}},
			want: "main 2 same, first 2 /t\nchanged answer2 answer2 /t\nremoved tool3 -\n",
		},
		{
			name: "names first, then content",
			a:    Side{Streams: map[string][]event.Event{"main": events("ask {}", "x {}", `answer {"t":1}`)}},
			b:    Side{Streams: map[string][]event.Event{"main": events("ask {}", "y {}", `answer {"t":2}`)}},
			want: "main 1 same, first 2\nremoved x2 -\nadded - y2\nchanged answer3 answer3 /t\n",
		},
		{
			name: "one goes on, and a stream of its own",
			a:    Side{Streams: map[string][]event.Event{"main": events("ask {}"), "same": events("x {}")}},
			b:    Side{Streams: map[string][]event.Event{"main": events("ask {}", "ask {}"), "same": events("x {}"), "log": events("x {}")}},
			want: "log 0 same, first 1\nadded - x1\nmain 1 same, first 2\nadded - ask2\n",
		},
		{
			name: "ignored paths",
			a:    Side{Streams: map[string][]event.Event{"main": events(`call {"id":1,"q":1}`, `call {"id":2, "q":1}`)}},
			b:    Side{Streams: map[string][]event.Event{"main": events(`call {"id":7,"q":1}`, `call {"id":8,"q":2}`)}},
			opts: []Option{Ignore("/id")},
			want: "main 1 same, first 2 /q\nchanged call2 call2 /q\n",
		},
		{
			name: "spans",
			a: Side{Spans: []trace.Span{
				{ID: 1, Kind: trace.ModelCall, Name: "gpt", Status: trace.OK, Usage: trace.Usage{InputTokens: 5, Cost: 0.5}, Attributes: map[string]string{"a": "1", "b": "2"}},
				tool(2, 1, "search", `{"q":"x"}`), tool(3, 1, "book", `{}`), tool(4, 0, "mail", "text"),
			}},
			b: Side{Spans: []trace.Span{
				{ID: 1, Kind: trace.ModelCall, Name: "gpt", Status: trace.Failed, Error: "no", Usage: trace.Usage{InputTokens: 6, OutputTokens: 1, Cost: 0.25}, Output: []byte("{}"), Attributes: map[string]string{"b": "3", "c": ""}},
				tool(2, 1, "search", `{"q":"y"}`), tool(3, 2, "mail", "texts"),
			}},
			want: "spans 0 same, first 1 /status /output /error /usage/input_tokens /usage/output_tokens /usage/cost /attributes/a /attributes/b /attributes/c\n" +
				"changed gpt1 gpt1 /status /output /error /usage/input_tokens /usage/output_tokens /usage/cost /attributes/a /attributes/b /attributes/c\n" +
				"changed search2 search2 /input/q\nremoved book3 -\nchanged mail4 mail3 /parent /input\n",
		},
		{
			name: "the parents that belong together are the same",
			a:    Side{Spans: []trace.Span{tool(1, 0, "x", ""), tool(2, 0, "p", ""), tool(3, 2, "c", "")}},
			b:    Side{Spans: []trace.Span{tool(1, 0, "p", ""), tool(2, 1, "c", "")}},
			want: "spans 2 same, first 1\nremoved x1 -\n",
		},
		{
			name: "the same number of another parent",
			a:    Side{Spans: []trace.Span{tool(1, 0, "x", ""), tool(2, 0, "p", ""), tool(3, 1, "c", "")}},
			b:    Side{Spans: []trace.Span{tool(1, 0, "p", ""), tool(2, 1, "c", "")}},
			want: "spans 1 same, first 1\nremoved x1 -\nchanged c3 c2 /parent\n",
		},
		{
			name: "steps by themselves",
			a: Side{Spans: []trace.Span{
				tool(1, 0, "x", ""), tool(2, 0, "p", ""), tool(3, 2, "plan", "1", trace.AttrStepPath, "plan"), tool(4, 2, "book", "1", trace.AttrStepPath, "book"),
			}},
			b: Side{Spans: []trace.Span{
				tool(1, 0, "p", ""), tool(2, 1, "plan", "1", trace.AttrStepPath, "plan"), tool(3, 1, "book", "2", trace.AttrStepPath, "book"),
			}},
			want: "spans 2 same, first 1\nremoved x1 -\nchanged book4 book3 /input\nsteps, first 2 /input\n",
		},
		{
			name: "only some parts",
			a:    Side{Keys: []kv.Item{keyOf("a", "1")}, Cells: []state.Cell{{Name: "c"}}, Spans: []trace.Span{tool(1, 0, "x", "")}, Streams: map[string][]event.Event{"main": events("a {}")}},
			opts: []Option{Only(State)},
			want: "removed c -\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Runs(&c.a, &c.b, c.opts...)
			require.Equal(t, c.want, sketch(r))
			require.Equal(t, c.want == "", r.Equal())
			require.Empty(t, sketch(Runs(&c.a, &c.a, c.opts...)))
			requireMirrored(t, r, Runs(&c.b, &c.a, c.opts...))
		})
	}
}

func mirrorItems[T any](list []Item[T]) (out []Item[T]) {
	for _, it := range list {
		it.A, it.B = it.B, it.A
		it.Change = mirror(Difference{Change: it.Change}).Change
		it.Within = mirrorWithin(it.Within)
		out = append(out, it)
	}
	return out
}

func mirrorWithin(w Within) Within {
	var list []Difference
	for _, d := range w.Differences {
		list = append(list, mirror(d))
	}
	w.Differences = list
	return w
}

// mirrorSequence exchanges A and B. Of what lies between two pairs, that of A
// comes first.
func mirrorSequence[T any](s Sequence[T]) Sequence[T] {
	s.LenA, s.LenB = s.LenB, s.LenA
	s.First.A, s.First.B = s.First.B, s.First.A
	s.First.Within = mirrorWithin(s.First.Within)
	s.Items = mirrorItems(s.Items)
	return s
}

// sorted brings the items of a sequence into an order that does not depend on
// which side is A.
func sorted[T any](items []Item[T]) []Item[T] {
	at := func(it Item[T]) int { return map[Change]int{Removed: 0, Added: 1, Changed: 2}[it.Change] }
	slices.SortStableFunc(items, func(a, b Item[T]) int { return at(a) - at(b) })
	return items
}

func requireMirrored(t require.TestingT, r, back *Result) {
	require.Equal(t, r.A, back.B)
	require.Equal(t, r.B, back.A)
	require.Equal(t, mirrorItems(r.Keys), back.Keys)
	require.Equal(t, mirrorItems(r.Cells), back.Cells)
	require.Len(t, back.Streams, len(r.Streams))
	for i := range r.Streams {
		want, have := mirrorSequence(r.Streams[i].Sequence), back.Streams[i].Sequence
		want.Items, have.Items = sorted(want.Items), sorted(slices.Clone(have.Items))
		require.Equal(t, want, have)
		require.Equal(t, r.Streams[i].Name, back.Streams[i].Name)
	}
	require.Equal(t, r.Spans == nil, back.Spans == nil)
	if r.Spans == nil {
		return
	}
	want, have := mirrorSequence(*r.Spans), *back.Spans
	want.Items, have.Items = sorted(want.Items), sorted(slices.Clone(have.Items))
	require.Equal(t, want, have)
}

// drawSide draws a side with few names and values, so that much is the same.
func drawSide(t *rapid.T) *Side {
	word := rapid.SampledFrom([]string{"", "x", "1", `{"n":1}`, `{"n":2}`, `{"n": 1}`, `[1,{"a":null}]`, "\xff"})
	object := rapid.SampledFrom([]string{"{}", `{"n":1}`, `{"n":2,"m":[1]}`, `{"m":[2]}`})
	s := &Side{Streams: map[string][]event.Event{}}
	for _, name := range []string{"a", "b", "c", "d"} {
		if rapid.Bool().Draw(t, "key") {
			s.Keys = append(s.Keys, keyOf(name, word.Draw(t, "value")))
		}
		if rapid.Bool().Draw(t, "cell") {
			s.Cells = append(s.Cells, state.Cell{Name: name, Value: state.Value{State: word.Draw(t, "state"), Data: []byte(word.Draw(t, "data"))}})
		}
		for i := range rapid.IntRange(0, 6).Draw(t, "events") {
			e := event.Event{Sequence: uint64(i + 1), Type: rapid.SampledFrom([]string{"t", "u"}).Draw(t, "type"), Payload: []byte(object.Draw(t, "payload"))}
			s.Streams[name] = append(s.Streams[name], e)
		}
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "spans") {
		s.Spans = append(s.Spans, tool(trace.ID(i+1), trace.ID(rapid.IntRange(0, i).Draw(t, "parent")),
			rapid.SampledFrom([]string{"s", "t"}).Draw(t, "name"), word.Draw(t, "input"), "k", word.Draw(t, "attribute")))
	}
	return s
}

// requireLeads wants the items and the pairs they leave out to be all of a and of
// b, in order, what is left out being the same.
func requireLeads[T any](t require.TestingT, a, b []T, s *Sequence[T], same func(a, b *T) bool) {
	i, j, equal := 0, 0, 0
	skip := func(endA, endB *T) {
		for i < len(a) && j < len(b) && &a[i] != endA && &b[j] != endB {
			require.True(t, same(&a[i], &b[j]))
			i, j, equal = i+1, j+1, equal+1
		}
	}
	for _, it := range s.Items {
		skip(it.A, it.B)
		if it.A != nil {
			require.Same(t, &a[i], it.A)
			i++
		}
		if it.B != nil {
			require.Same(t, &b[j], it.B)
			j++
		}
	}
	skip(nil, nil)
	require.Equal(t, []int{len(a), len(b), s.Same}, []int{i, j, equal})
}

func TestRunsDifferAsTheResultSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSide(t), drawSide(t)
		r := Runs(a, b)
		require.Empty(t, sketch(Runs(a, a)))
		require.Equal(t, r, Runs(a, b))
		requireMirrored(t, r, Runs(b, a))

		// Applied to a's keys the changes give b's.
		keys := map[string]string{}
		for _, it := range a.Keys {
			keys[it.Key] = string(it.Value)
		}
		for _, it := range r.Keys {
			if it.A != nil {
				require.Equal(t, keys[it.A.Key], string(it.A.Value))
				delete(keys, it.A.Key)
			}
			if it.B != nil {
				keys[it.B.Key] = string(it.B.Value)
			}
		}
		want := map[string]string{}
		for _, it := range b.Keys {
			want[it.Key] = string(it.Value)
		}
		require.Equal(t, want, keys)

		found := map[string]*Sequence[event.Event]{}
		for i := range r.Streams {
			found[r.Streams[i].Name] = &r.Streams[i].Sequence
		}
		sameEvent := func(x, y *event.Event) bool { return x.Type == y.Type && string(x.Payload) == string(y.Payload) }
		for name := range maps.Keys(a.Streams) {
			seq := found[name]
			if seq == nil {
				require.Len(t, b.Streams[name], len(a.Streams[name]))
				seq = &Sequence[event.Event]{Same: len(a.Streams[name])}
			} else {
				requireFirst(t, a.Streams[name], b.Streams[name], seq, sameEvent)
			}
			requireLeads(t, a.Streams[name], b.Streams[name], seq, sameEvent)
		}
		if r.Spans != nil {
			requireLeads(t, a.Spans, b.Spans, r.Spans, func(x, y *trace.Span) bool {
				return x.Name == y.Name && string(x.Input) == string(y.Input) && x.Attributes["k"] == y.Attributes["k"]
			})
		}
	})
}

// requireFirst wants the divergence to be at the first place that is not the same.
func requireFirst[T any](t require.TestingT, a, b []T, s *Sequence[T], same func(a, b *T) bool) {
	i := 0
	for i < min(len(a), len(b)) && same(&a[i], &b[i]) {
		i++
	}
	require.Equal(t, i+1, s.First.Position)
	require.Equal(t, i < len(a), s.First.A != nil)
	require.Equal(t, i < len(b), s.First.B != nil)
	if s.First.A != nil {
		require.Same(t, &a[i], s.First.A)
	}
	if s.First.B != nil {
		require.Same(t, &b[i], s.First.B)
	}
}

func TestChangeText(t *testing.T) {
	for c, want := range map[Change]string{Added: "added", Removed: "removed", Changed: "changed", 0: "change 0"} {
		text, err := c.MarshalText()
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}
