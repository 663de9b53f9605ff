package main

import (
	"fmt"
	"strings"

	"inmem"
	"inmem/diff"
	"inmem/event"
	"inmem/kv"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// shownPaths is how many differences within one thing are shown.
const shownPaths = 4

// diffPrinter prints how runs differ, for people.
type diffPrinter struct {
	*app
	limit int // of things of a kind; 0 = none
}

func (p *diffPrinter) head(name string, past *inmem.Past) error {
	info, err := past.Info()
	if err == nil {
		p.printf("%s  %v  version %s  %s\n", p.style.bold(name), info.ID, count(past.Version()), plainOr(info.Name, "-"))
	}
	return err
}

func (p *diffPrinter) all(r *diff.Result) {
	if r.Equal() {
		p.printf("nothing differs\n")
		return
	}
	p.divergences(r)
	printItems(p, "keys", "", r.Keys, func(_ diff.Change, a, b *kv.Item) string { return plain(either(a, b).Key) },
		func(it *kv.Item) []byte { return it.Value })
	printItems(p, "state", "", r.Cells, func(_ diff.Change, a, b *state.Cell) string { return plain(either(a, b).Name) },
		func(c *state.Cell) []byte { return []byte(strings.TrimSpace(c.State + " " + string(c.Data))) })
	for i := range r.Streams {
		s := &r.Streams[i]
		printItems(p, "events of "+plain(s.Name), sizes(s.LenA, s.LenB, s.Same, s.Cut), s.Items, eventLabel,
			func(e *event.Event) []byte { return e.Payload })
	}
	if s := r.Spans; s != nil {
		printItems(p, "spans", sizes(s.LenA, s.LenB, s.Same, s.Cut), s.Items, spanLabel,
			func(s *trace.Span) []byte { return s.Input })
	}
	printItems(p, "collections", "", r.Collections, func(_ diff.Change, a, b *vector.Collection) string { return plain(either(a, b).Name) },
		func(c *vector.Collection) []byte { return []byte(c.Config.String()) })
	printItems(p, "vectors", "", r.Vectors, func(_ diff.Change, a, b *diff.Vector) string {
		v := either(a, b)
		return plain(v.Collection) + " " + plain(v.Key)
	}, func(v *diff.Vector) []byte { return v.Metadata })
}

func sizes(a, b, same int, cut bool) string {
	text := fmt.Sprintf("A has %s, B %s, %s the same", count(a), count(b), count(same))
	if cut {
		text += "; what belongs together was not searched for to the end"
	}
	return text
}

// either is a, or b where there is no a.
func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// numbers says where something is in A and in B.
func numbers(c diff.Change, a, b string) string {
	if c == diff.Changed && a != b {
		return a + ":" + b
	}
	if c == diff.Added {
		return b
	}
	return a
}

func eventLabel(c diff.Change, a, b *event.Event) string {
	at := func(e *event.Event) string {
		if e == nil {
			return ""
		}
		return count(e.Sequence)
	}
	return numbers(c, at(a), at(b)) + " " + plain(either(a, b).Type)
}

func spanLabel(c diff.Change, a, b *trace.Span) string {
	at := func(s *trace.Span) string {
		if s == nil {
			return ""
		}
		return spanID(s.ID)
	}
	s := either(a, b)
	return numbers(c, at(a), at(b)) + " " + plainOr(string(s.Kind), "-") + " " + plainOr(s.Name, "-")
}

// divergences prints where the runs first diverge.
func (p *diffPrinter) divergences(r *diff.Result) {
	if len(r.Streams) == 0 && r.Spans == nil {
		return
	}
	p.printf("\n%s\n", p.style.dim("first divergence"))
	for i := range r.Streams {
		s := &r.Streams[i]
		printDivergence(p, "event", " of "+plain(s.Name), &s.First, func(e *event.Event) string { return plain(e.Type) })
	}
	name := func(s *trace.Span) string { return plainOr(string(s.Kind), "-") + " " + plainOr(s.Name, "-") }
	if r.Spans != nil {
		printDivergence(p, "span", "", &r.Spans.First, name)
	}
	if r.Steps != nil {
		printDivergence(p, "step", "", r.Steps, func(s *trace.Span) string { return plain(s.Attributes[trace.AttrStepPath]) })
	}
}

func printDivergence[T any](p *diffPrinter, what, of string, d *diff.Divergence[T], name func(*T) string) {
	at := fmt.Sprintf("  %s %s%s: ", what, count(d.Position), of)
	switch {
	case d.A == nil:
		p.printf("%sA has ended, B has %s\n", at, name(d.B))
	case d.B == nil:
		p.printf("%sA has %s, B has ended\n", at, name(d.A))
	case d.Same():
		p.printf("%sA has %s, B has %s\n", at, name(d.A), name(d.B))
	default:
		p.printf("%s%s\n", at, name(d.A))
		p.within(&d.Within)
	}
}

// printItems prints what differs of a kind. value is what is shown of something
// that only one side has.
func printItems[T any](p *diffPrinter, title, note string, items []diff.Item[T], label func(diff.Change, *T, *T) string, value func(*T) []byte) {
	if len(items) == 0 {
		return
	}
	counts := map[diff.Change]int{}
	for i := range items {
		counts[items[i].Change]++
	}
	var parts []string
	for c := diff.Added; c <= diff.Changed; c++ {
		if counts[c] > 0 {
			parts = append(parts, count(counts[c])+" "+c.String())
		}
	}
	if note != "" {
		note = " (" + note + ")"
	}
	p.printf("\n%s: %s%s\n", p.style.bold(title), strings.Join(parts, ", "), p.style.dim(note))
	for i := range items {
		if p.limit > 0 && i == p.limit {
			p.printf("%s\n", p.style.dim("  … and "+count(len(items)-i)+" more; --limit 0 shows all"))
			return
		}
		it := &items[i]
		name := label(it.Change, it.A, it.B)
		switch it.Change {
		case diff.Added:
			p.onlyOne(p.style.green("+ "+name), value(it.B))
		case diff.Removed:
			p.onlyOne(p.style.red("- "+name), value(it.A))
		default:
			p.printf("%s\n", p.style.yellow("~ "+name))
			p.within(&it.Within)
		}
	}
}

// onlyOne prints what only one side has.
func (p *diffPrinter) onlyOne(name string, value []byte) {
	if len(value) > 0 {
		name += "  " + p.style.dim(dataText(value))
	}
	p.printf("%s\n", name)
}

// within prints what differs within one thing.
func (p *diffPrinter) within(w *diff.Within) {
	for _, d := range w.Differences[:min(len(w.Differences), shownPaths)] {
		path := ""
		if d.Path != "" {
			path = p.style.cyan(plain(cutPath(d.Path))) + "  "
		}
		a, b := previews(d.A, d.B)
		switch d.Change {
		case diff.Added:
			p.printf("      %s%s\n", path, p.style.green("+ "+b))
		case diff.Removed:
			p.printf("      %s%s\n", path, p.style.red("- "+a))
		default:
			p.printf("      %s%s → %s\n", path, a, b)
		}
	}
	if rest := len(w.Differences) - min(len(w.Differences), shownPaths) + w.More; rest > 0 {
		p.printf("      %s\n", p.style.dim("… and "+plural(rest, "more difference")))
	}
	if w.Form && len(w.Differences) == 0 {
		p.printf("      %s\n", p.style.dim("the same JSON, written differently"))
	}
}

// cutPath is the end of a path that is too long to be shown.
func cutPath(path string) string {
	const most = 100
	if len(path) <= most {
		return path
	}
	return "…" + strings.ToValidUTF8(path[len(path)-most:], "")
}

// previews are the beginnings of two values, or, where these are the same for
// long, parts from a little before they differ.
func previews(a, b []byte) (textA, textB string) {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	const before = dataPreview / 3
	if same <= dataPreview-before {
		return preview(a, dataPreview), preview(b, dataPreview)
	}
	from := same - before
	for from > 0 && from > same-before-4 && a[from]&0xC0 == 0x80 { // not in the middle of a character
		from--
	}
	return "…" + preview(a[from:], dataPreview), "…" + preview(b[from:], dataPreview)
}
