package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"inmem/event"
	"inmem/op"
	"inmem/run"
)

// access is what is read of a run: less than all of it where a condition says so.
type access struct {
	// from <= key < to of keys, and of names of cells; an empty to is no bound.
	from, to string

	stream        string // of events; "" = all streams
	collection    string // of vectors; "" = all of them
	types         []string
	after, before uint64 // sequences, and IDs of spans: after < n < before
	since, until  time.Time
	used          []string // what of it narrows, for people
}

// narrowRuns uses a condition on runs, if it can. The whole condition is looked at
// for each run that is left.
func (p *plan) narrowRuns(x *bound) {
	c := x.cond
	if c == nil {
		return
	}
	name := strings.TrimPrefix(c.column, "run.")
	list, _ := c.value.([]any)
	switch {
	case name == "created":
		p.created(c)
	case name == "space" && c.op == "==" && c.value == false:
		p.runs.Spaces = false
	case name == "status" && c.op == "in":
		p.status(list)
	case c.op == "in" && len(list) == 1:
		p.equal(name, c.label, list[0])
	case c.op == "==":
		p.equal(name, c.label, c.value)
	default:
		return
	}
}

// equal uses that a column of a run is equal to a text.
func (p *plan) equal(name, label string, v any) {
	s, ok := v.(string)
	if !ok {
		return
	}
	f := &p.runs
	set := func(field *string) {
		if *field != "" && *field != s {
			p.none = true
		}
		*field = s // "" narrows nothing
	}
	switch name {
	case "id":
		id, err := run.ParseID(s)
		if err != nil || p.id != nil && *p.id != id {
			p.none = true // IDs are never written so
			return
		}
		p.id = &id
	case "status":
		p.status([]any{s})
	case "name":
		set(&f.Name)
	case "namespace.tenant":
		set(&f.Namespace.Tenant)
	case "namespace.app":
		set(&f.Namespace.App)
	case "namespace.agent":
		set(&f.Namespace.Agent)
	case "namespace":
		if ns, err := run.ParseNamespace(s); err == nil {
			p.equal("namespace.tenant", "", ns.Tenant)
			p.equal("namespace.app", "", ns.App)
			p.equal("namespace.agent", "", ns.Agent)
		}
	case "parent":
		if id, err := run.ParseID(s); err == nil && f.Parent.IsZero() {
			f.Parent = id
		}
	case "tags":
		if label == "" {
			return
		}
		if f.Tags == nil {
			f.Tags = map[string]string{}
		}
		set2 := f.Tags[label]
		p.none = p.none || set2 != "" && set2 != s
		f.Tags[label] = s
	}
}

// status uses that a run has one of some statuses.
func (p *plan) status(words []any) {
	var list []run.Status
	for _, w := range words {
		if text, ok := w.(string); ok {
			if s, err := run.ParseStatus(text); err == nil && (p.runs.Status == nil || slices.Contains(p.runs.Status, s)) {
				list = append(list, s)
			}
		}
	}
	p.none = p.none || len(list) == 0
	p.runs.Status = list
}

// created uses a bound of when runs were created.
func (p *plan) created(c *condition) {
	since := func(t time.Time) {
		if p.runs.From.IsZero() || t.After(p.runs.From) {
			p.runs.From = t
		}
	}
	until := func(t time.Time) {
		if p.runs.To.IsZero() || t.Before(p.runs.To) {
			p.runs.To = t
		}
	}
	times(c, since, until)
}

// times calls since and until with the bounds that a condition sets: the first
// time that can be, and the first that cannot be any more.
func times(c *condition, since, until func(time.Time)) bool {
	ends, _ := c.value.([]any)
	if t, ok := c.value.(time.Time); ok {
		ends = []any{t, t}
	}
	if len(ends) != 2 {
		return false
	}
	first, ok := ends[0].(time.Time)
	last, ok2 := ends[1].(time.Time)
	if !ok || !ok2 || !storable(first) || !storable(last) {
		return false
	}
	switch c.op {
	case "==", "..":
		since(first)
		until(last.Add(1))
	case ">=":
		since(first)
	case ">":
		since(first.Add(1))
	case "<":
		until(last)
	case "<=":
		until(last.Add(1))
	default:
		return false
	}
	return true
}

// storable reports whether a time can be one of the store's, with room to spare.
func storable(t time.Time) bool { return t.Year() > 0 && t.Year() < 10_000 }

// narrowItems uses a condition on items, and reports whether nothing of it is left
// to look at.
func (p *plan) narrowItems(c *condition) bool {
	if c == nil {
		return false
	}
	switch a := &p.items; string(p.q.source.name) + " " + c.column {
	case "kv key", "states name", "vectors key":
		return a.keys(c)
	case "vectors collection":
		if s, ok := c.value.(string); ok && c.op == "==" && s != "" && a.collection == "" {
			a.collection = s
			a.use("collection %q", s)
			return true
		}
	case "events stream":
		if s, ok := c.value.(string); ok && c.op == "==" && (a.stream == "" || a.stream == s) {
			p.none = p.none || s == "" || len(s) > event.MaxName || strings.Contains(s, "\x00") // no stream is named so
			a.stream = s
			a.use("stream %q", s)
			return true
		}
	case "events type":
		return a.eventTypes(c)
	case "events sequence", "spans id":
		return a.numbers(c)
	case "events time":
		// Times of events never decrease within a stream.
		if times(c, func(t time.Time) {
			if a.since.IsZero() || t.After(a.since) {
				a.since = t
			}
		}, func(t time.Time) {
			if a.until.IsZero() || t.Before(a.until) {
				a.until = t
			}
		}) {
			a.use("time %s %s", c.op, writtenConstant(c.value))
		}
	}
	return false
}

func (a *access) use(format string, args ...any) {
	a.used = append(a.used, fmt.Sprintf(format, args...))
}

// keys narrows a range of keys.
func (a *access) keys(c *condition) (whole bool) {
	const next = "\x00" // the first key behind k is k + next
	narrow := func(from, to string) {
		a.from = max(a.from, from)
		if to != "" && (a.to == "" || to < a.to) {
			a.to = to
		}
	}
	s, isText := c.value.(string)
	list, _ := c.value.([]any)
	var texts []string
	for _, v := range list {
		if t, ok := v.(string); ok {
			texts = append(texts, t)
		}
	}
	switch {
	case c.op == ".." && len(texts) == 2:
		narrow(texts[0], texts[1]+next)
	case c.op == "in" && len(texts) > 0 && len(texts) == len(list):
		narrow(slices.Min(texts), slices.Max(texts)+next)
		a.use("%s between the first and the last of %s", c.column, writtenConstant(list))
		return len(texts) == 1
	case !isText:
		return false
	case c.op == "==":
		narrow(s, s+next)
	case c.op == "startsWith":
		r := op.Prefix(s)
		narrow(r.From, r.To)
	case c.op == ">=":
		narrow(s, "")
	case c.op == ">":
		narrow(s+next, "")
	case c.op == "<=":
		narrow("", s+next)
	case c.op == "<" && s != "":
		narrow("", s)
	default:
		return false
	}
	a.use("%s %s %s", c.column, c.op, writtenConstant(c.value))
	return true
}

// eventTypes narrows the types of events.
func (a *access) eventTypes(c *condition) bool {
	list, _ := c.value.([]any)
	if c.op == "==" {
		list = []any{c.value}
	} else if c.op != "in" {
		return false
	}
	var types []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			types = append(types, s)
		}
	}
	if len(types) == 0 || a.types != nil {
		return false
	}
	a.types = types
	a.use("type %s %s", c.op, writtenConstant(c.value))
	return true
}

// numbers narrows sequences and IDs.
func (a *access) numbers(c *condition) bool {
	n, ok := c.value.(int64)
	if !ok || n < 1 || n >= 1<<62 {
		return false
	}
	lower := func(after uint64) { a.after = max(a.after, after) }
	upper := func(before uint64) {
		if a.before == 0 || before < a.before {
			a.before = before
		}
	}
	u := uint64(n)
	switch c.op {
	case "==":
		lower(u - 1)
		upper(u + 1)
	case ">=":
		lower(u - 1)
	case ">":
		lower(u)
	case "<":
		upper(u)
	case "<=":
		upper(u + 1)
	default:
		return false
	}
	a.use("%s %s %s", c.column, c.op, strconv.FormatInt(n, 10))
	return true
}
