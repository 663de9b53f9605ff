package query

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"inmem/run"
)

// Plan says how a query is executed.
type Plan struct {
	Source Source `json:"source"`
	// Runs says by what the index of runs is narrowed; nothing = all runs are
	// looked at. Of each only what is known without loading it.
	Runs []string `json:"runs,omitempty"`
	// RunFilter are the conditions that each of these runs must fulfil, before it
	// is loaded.
	RunFilter []string `json:"run_filter,omitempty"`
	// Items says what of a run is read; nothing = all that the source has.
	Items []string `json:"items,omitempty"`
	// Filter are the conditions that are left to be held against each item.
	Filter []string `json:"filter,omitempty"`
	// Order says how rows come into their order.
	Order string `json:"order"`
	// After says what is done about the rows up to the cursor.
	After string `json:"after,omitempty"`
	// Nothing is true where the conditions exclude each other.
	Nothing bool `json:"nothing,omitempty"`
	Limit   int  `json:"limit"`            // -1 = none
	Offset  int  `json:"offset,omitempty"` // 0 behind a cursor
	// Memory bounds what is kept, in bytes; 0 = nothing is.
	Memory int64 `json:"memory,omitempty"`
}

// Explain says how the query is executed over all runs of a store, at a time, which
// is what now() says.
func (q *Query) Explain(now time.Time) (Plan, error) {
	p, err := newPlan(q, now, false)
	if err != nil {
		return Plan{}, err
	}
	return p.explain(), nil
}

// Explain says how Execute would do it, without doing so.
func Explain(store Store, q *Query) (Plan, error) {
	p, err := planOver(store, q)
	if err != nil {
		return Plan{}, err
	}
	return p.explain(), nil
}

func (p *plan) explain() Plan {
	q := p.q
	out := Plan{Source: q.source.name, Items: p.items.used, Nothing: p.none || q.limit == 0, Limit: q.limit, Offset: q.skipped()}
	if p.id != nil {
		out.Runs = append(out.Runs, "id = "+p.id.String())
	}
	out.Runs = append(out.Runs, filterTexts(&p.runs)...)
	for _, test := range p.runTests {
		out.RunFilter = append(out.RunFilter, test.text)
	}
	for _, test := range p.tests {
		out.Filter = append(out.Filter, test.text)
	}
	out.Order, out.After, out.Memory = p.howOrdered(), p.howAfter(), q.memory
	if p.natural {
		out.Memory = 0
	}
	return out
}

// howAfter says what a cursor does.
func (p *plan) howAfter() string {
	c := p.q.after
	switch {
	case c == nil:
		return ""
	case p.begin != nil:
		return "reading begins behind " + p.begin.String()
	case p.q.grouped():
		return "groups up to the cursor's are left out, once they are sorted"
	}
	return "rows up to the cursor's are found, and left out"
}

// String is the place for people.
func (p *place) String() string {
	text := "run " + p.run.String()
	for _, name := range []string{p.first, p.second} {
		if name != "" {
			text += ", " + strconv.Quote(name)
		}
	}
	if p.number > 0 {
		text += ", " + strconv.FormatUint(p.number, 10)
	}
	return text
}

func (p *plan) howOrdered() string {
	q := p.q
	var keys []string
	for i, o := range q.orders {
		key := ""
		if o.column >= 0 {
			key = q.Columns()[o.column]
		} else {
			key = p.orders[i].text
		}
		if o.desc {
			key += " desc"
		}
		keys = append(keys, key)
	}
	by := strings.Join(keys, ", ")
	switch {
	case q.grouped() && by != "":
		return "groups, kept, then sorted by " + by
	case q.grouped() && len(q.groups) == 0:
		return "one group"
	case q.grouped():
		return "groups, kept, then sorted by " + strings.Join(names(q.groups), ", ")
	case by == "":
		return "as found: by run, then as in the run; nothing is kept"
	case p.natural && q.source.name == Runs:
		return by + ", as the index has it; nothing is kept"
	case p.natural:
		return by + ", as found; nothing is kept"
	case q.limit >= 0:
		return fmt.Sprintf("the first %d by %s, in a heap", q.skipped()+q.limit, by)
	}
	return "all rows kept, then sorted by " + by
}

// filterTexts is what a filter of runs asks of the index.
func filterTexts(f *run.Filter) (list []string) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, name+" = "+value)
		}
	}
	var words []string
	for _, s := range f.Status {
		words = append(words, s.String())
	}
	add("status", strings.Join(words, " or "))
	add("namespace.tenant", f.Namespace.Tenant)
	add("namespace.app", f.Namespace.App)
	add("namespace.agent", f.Namespace.Agent)
	add("name", f.Name)
	if !f.Parent.IsZero() {
		add("parent", f.Parent.String())
	}
	for _, k := range slices.Sorted(maps.Keys(f.Tags)) {
		add("tags."+k, strconv.Quote(f.Tags[k]))
	}
	if !f.From.IsZero() {
		list = append(list, "created from "+writtenConstant(f.From))
	}
	if !f.To.IsZero() {
		list = append(list, "created before "+writtenConstant(f.To))
	}
	if !f.Spaces {
		list = append(list, "no spaces")
	}
	return list
}

// String is the plan for people, a line for each part of it.
func (p Plan) String() string {
	var s strings.Builder
	line := func(name string, parts []string, none string) {
		if len(parts) == 0 {
			parts = []string{none}
		}
		for _, part := range parts {
			if part != "" {
				fmt.Fprintf(&s, "%-8s%s\n", name, part)
			}
			name = ""
		}
	}
	line("source", []string{string(p.Source)}, "")
	if p.Nothing {
		line("", []string{"nothing can match: nothing is read"}, "")
	}
	line("runs", p.Runs, "all, from the index")
	line("", p.RunFilter, "")
	if p.Source != Runs {
		line("items", p.Items, "all "+string(p.Source)+" of these runs; runs without any are not loaded")
		line("filter", p.Filter, "none")
	}
	line("order", []string{p.Order}, "")
	line("after", []string{p.After}, "")
	if p.Limit >= 0 || p.Offset > 0 {
		limit := "none"
		if p.Limit >= 0 {
			limit = strconv.Itoa(p.Limit)
		}
		line("limit", []string{fmt.Sprintf("%s, from row %d on", limit, p.Offset+1)}, "")
	}
	if p.Memory > 0 {
		line("keeps", []string{fmt.Sprintf("at most %d bytes", p.Memory)}, "")
	}
	return s.String()
}
