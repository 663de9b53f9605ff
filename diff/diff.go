package diff

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"inmem/event"
	"inmem/kv"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// Runs compares two sides. Items of a side must be in the order that Side says.
//
// Events belong together by their types, spans by kind and name, as many as
// possible in order: by a longest common subsequence. Of events the payloads are
// compared; of cells /state and /data; of spans /status, /parent, /input,
// /output, /error, /usage and /attributes; of collections /dimension and /metric; of
// vectors /vector and /metadata.
func Runs(a, b *Side, opts ...Option) *Result {
	o := gather(opts)
	r := &Result{A: Point{a.Run, a.Version}, B: Point{b.Run, b.Version}}
	if o.parts&Keys != 0 {
		r.Keys = merge(a.Keys, b.Keys, func(it *kv.Item) string { return it.Key }, o.key)
	}
	if o.parts&State != 0 {
		r.Cells = merge(a.Cells, b.Cells, func(c *state.Cell) string { return c.Name }, o.cell)
	}
	if o.parts&Events != 0 {
		r.Streams = o.streams(a.Streams, b.Streams)
	}
	if o.parts&Trace != 0 {
		r.Spans, r.Steps = o.spans(a.Spans, b.Spans)
	}
	if o.parts&Vectors != 0 {
		r.Collections = merge(a.Collections, b.Collections, func(c *vector.Collection) string { return c.Name }, o.collection)
		r.Vectors = merge(a.Vectors, b.Vectors, func(v *Vector) string { return v.Collection + "\x00" + v.Key }, o.vector)
	}
	return r
}

// merge compares two lists that are in order of their names.
func merge[T any](a, b []T, name func(*T) string, compare func(a, b *T) Within) (list []Item[T]) {
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(b) == 0:
			order = -1
		case len(a) == 0:
			order = 1
		default:
			order = cmp.Compare(name(&a[0]), name(&b[0]))
		}
		switch {
		case order < 0:
			list = append(list, Item[T]{Change: Removed, A: &a[0]})
			a = a[1:]
		case order > 0:
			list = append(list, Item[T]{Change: Added, B: &b[0]})
			b = b[1:]
		default:
			if w := compare(&a[0], &b[0]); !w.Same() {
				list = append(list, Item[T]{Change: Changed, A: &a[0], B: &b[0], Within: w})
			}
			a, b = a[1:], b[1:]
		}
	}
	return list
}

func (w *walker) within() Within { return Within{Differences: w.list, More: w.more, Form: w.form} }

func (o *options) key(a, b *kv.Item) Within {
	w := walker{options: o}
	w.value(a.Value, b.Value)
	return w.within()
}

func (o *options) cell(a, b *state.Cell) Within {
	w := walker{options: o}
	w.text("state", a.State, b.State, true, true)
	w.field("data", a.Data, b.Data)
	return w.within()
}

func (o *options) event(a, b *event.Event) Within {
	w := walker{options: o}
	w.value(a.Payload, b.Payload)
	return w.within()
}

func (o *options) collection(a, b *vector.Collection) Within {
	w := walker{options: o}
	w.field("dimension", strconv.AppendInt(nil, int64(a.Dimension), 10), strconv.AppendInt(nil, int64(b.Dimension), 10))
	w.text("metric", a.Metric.String(), b.Metric.String(), true, true)
	return w.within()
}

func (o *options) vector(a, b *Vector) Within {
	w := walker{options: o}
	if !slices.Equal(a.Vector, b.Vector) {
		w.field("vector", numbers(a.Vector), numbers(b.Vector))
	}
	w.field("metadata", a.Metadata, b.Metadata)
	return w.within()
}

// numbers is a vector as JSON.
func numbers(v []float32) []byte {
	b := []byte{'['}
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(x), 'g', -1, 32)
	}
	return append(b, ']')
}

func (o *options) streams(a, b map[string][]event.Event) (list []Stream) {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		listA, listB := a[name], b[name]
		seq := sequence(listA, listB, func(e *event.Event) string { return e.Type },
			func(_ []pair, p pair) Within { return o.event(&listA[p.a], &listB[p.b]) })
		if len(seq.Items) > 0 {
			list = append(list, Stream{name, *seq})
		}
	}
	return list
}

// sequence compares two lists: what belongs together by name is compared.
func sequence[T any](a, b []T, name func(*T) string, compare func([]pair, pair) Within) *Sequence[T] {
	namesA, namesB := namesOf(a, name), namesOf(b, name)
	pairs, exact := align(namesA, namesB)
	s := &Sequence[T]{LenA: len(a), LenB: len(b), Cut: !exact}
	at := pair{}
	upTo := func(end pair) {
		for ; at.a < end.a; at.a++ {
			s.Items = append(s.Items, Item[T]{Change: Removed, A: &a[at.a]})
		}
		for ; at.b < end.b; at.b++ {
			s.Items = append(s.Items, Item[T]{Change: Added, B: &b[at.b]})
		}
	}
	for _, p := range pairs {
		upTo(p)
		at = pair{p.a + 1, p.b + 1}
		w := compare(pairs, p)
		if w.Same() {
			s.Same++
			continue
		}
		if s.First.Position == 0 && p.a == p.b && p.a == s.Same {
			s.First = Divergence[T]{Position: p.a + 1, A: &a[p.a], B: &b[p.b], Within: w}
		}
		s.Items = append(s.Items, Item[T]{Change: Changed, A: &a[p.a], B: &b[p.b], Within: w})
	}
	upTo(pair{len(a), len(b)})
	if len(s.Items) > 0 && s.First.Position == 0 {
		s.First = divergedByName(a, b, namesA, namesB)
	}
	return s
}

func namesOf[T any](list []T, name func(*T) string) []string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = name(&list[i])
	}
	return names
}

// divergedByName is the first place at which two lists have other names, or one
// has ended.
func divergedByName[T any](a, b []T, namesA, namesB []string) (d Divergence[T]) {
	i := 0
	for i < min(len(a), len(b)) && namesA[i] == namesB[i] {
		i++
	}
	d.Position = i + 1
	if i < len(a) {
		d.A = &a[i]
	}
	if i < len(b) {
		d.B = &b[i]
	}
	return d
}

func spanName(s *trace.Span) string { return string(s.Kind) + "\x00" + s.Name }

func isStep(s *trace.Span) bool { return s.Attributes[trace.AttrStepPath] != "" }

// spans compares spans, and those of them that are steps by themselves.
func (o *options) spans(a, b []trace.Span) (*Sequence[trace.Span], *Divergence[trace.Span]) {
	all, partner := o.spanSequence(a, b, nil)
	if len(all.Items) == 0 {
		return nil, nil
	}
	stepsA, stepsB := stepsOf(a), stepsOf(b)
	if len(stepsA)+len(stepsB) == 0 {
		return all, nil
	}
	steps, _ := o.spanSequence(stepsA, stepsB, partner)
	if len(steps.Items) == 0 {
		return all, nil
	}
	return all, &steps.First
}

func stepsOf(spans []trace.Span) (list []trace.Span) {
	for i := range spans {
		if isStep(&spans[i]) {
			list = append(list, spans[i])
		}
	}
	return list
}

// spanSequence compares spans. partner says which of a's and b's IDs belong
// together; nil = those that are found to.
func (o *options) spanSequence(a, b []trace.Span, partner map[trace.ID]trace.ID) (*Sequence[trace.Span], map[trace.ID]trace.ID) {
	seq := sequence(a, b, spanName, func(pairs []pair, p pair) Within {
		if partner == nil {
			partner = make(map[trace.ID]trace.ID, len(pairs))
			for _, p := range pairs {
				partner[a[p.a].ID] = b[p.b].ID
			}
		}
		return o.span(&a[p.a], &b[p.b], partner)
	})
	return seq, partner
}

// span compares two spans. Their parents are the same where they belong together.
func (o *options) span(a, b *trace.Span, partner map[trace.ID]trace.ID) Within {
	w := walker{options: o}
	w.text("status", a.Status.String(), b.Status.String(), true, true)
	if other, paired := partner[a.Parent]; a.Parent == 0 && b.Parent != 0 || a.Parent != 0 && (!paired || other != b.Parent) {
		w.parent(a.Parent, b.Parent)
	}
	w.field("input", a.Input, b.Input)
	w.field("output", a.Output, b.Output)
	w.text("error", a.Error, b.Error, a.Error != "", b.Error != "")
	w.tokens = append(w.tokens, "usage")
	w.number("input_tokens", strconv.FormatInt(a.Usage.InputTokens, 10), strconv.FormatInt(b.Usage.InputTokens, 10))
	w.number("output_tokens", strconv.FormatInt(a.Usage.OutputTokens, 10), strconv.FormatInt(b.Usage.OutputTokens, 10))
	w.number("cost", strconv.FormatFloat(a.Usage.Cost, 'g', -1, 64), strconv.FormatFloat(b.Usage.Cost, 'g', -1, 64))
	w.tokens[len(w.tokens)-1] = "attributes"
	for _, key := range attributes(a, b) {
		valueA, inA := a.Attributes[key]
		valueB, inB := b.Attributes[key]
		w.text(key, valueA, valueB, inA, inB)
	}
	w.tokens = w.tokens[:0]
	return w.within()
}

// parent adds that spans are part of other ones: IDs, in JSON.
func (w *walker) parent(a, b trace.ID) {
	d := Difference{Change: Changed}
	if a != 0 {
		d.A = strconv.AppendQuote(nil, a.String())
	} else {
		d.Change = Added
	}
	if b != 0 {
		d.B = strconv.AppendQuote(nil, b.String())
	} else {
		d.Change = Removed
	}
	w.tokens = append(w.tokens, "parent")
	w.add(d)
	w.tokens = w.tokens[:len(w.tokens)-1]
}

// number compares two JSON numbers at a path below the current one.
func (w *walker) number(name, a, b string) {
	if a == b {
		return
	}
	w.tokens = append(w.tokens, name)
	w.add(Difference{Change: Changed, A: []byte(a), B: []byte(b)})
	w.tokens = w.tokens[:len(w.tokens)-1]
}

// attributes returns the names of the attributes that either span has, in order.
func attributes(a, b *trace.Span) []string {
	if len(a.Attributes)+len(b.Attributes) == 0 {
		return nil
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(a.Attributes)), maps.Keys(b.Attributes))
	slices.Sort(names)
	return slices.Compact(names)
}
