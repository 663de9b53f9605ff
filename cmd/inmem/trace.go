package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"inmem/trace"
)

// traceCmd holds the commands about the spans of a run.
type traceCmd struct {
	Ls   traceLsCmd   `cmd:"" name:"ls" help:"List spans, in the order they were started. 'inmem run show --tree' shows how they belong together."`
	Show traceShowCmd `cmd:"" help:"Show a span, with what went in and what came out."`
}

// traceLsCmd lists spans.
type traceLsCmd struct {
	ofRun
	Kind    []string   `help:"Only spans of this kind, such as tool_call or model_call; may be repeated." placeholder:"KIND"`
	Name    string     `help:"Only spans of exactly this name." placeholder:"NAME"`
	Status  []spanWord `help:"Only spans with one of these: open, ok, error, cancelled." placeholder:"STATUS"`
	Parent  string     `help:"Only the children of this span." placeholder:"SPAN"`
	Limit   int        `help:"At most so many." placeholder:"N"`
	Reverse bool       `help:"The newest first."`
	JSON    bool       `name:"json" help:"One JSON object a line."`
}

// spanWord is the status of a span on the command line.
type spanWord struct{ trace.Status }

// UnmarshalText reads what the list of spans shows.
func (w *spanWord) UnmarshalText(b []byte) error {
	for s := trace.Open; s.Valid(); s++ {
		if s.String() == string(b) {
			w.Status = s
			return nil
		}
	}
	return fmt.Errorf("%q is no status of a span: open, ok, error or cancelled", b)
}

func (c *traceLsCmd) filter() (f trace.Filter, err error) {
	f = trace.Filter{Name: c.Name, Limit: c.Limit, Reverse: c.Reverse}
	for _, k := range c.Kind {
		f.Kinds = append(f.Kinds, trace.Kind(k))
	}
	for _, s := range c.Status {
		f.Status = append(f.Status, s.Status)
	}
	if c.Parent != "" {
		f.Parent, err = parseSpan(c.Parent)
	}
	return f, err
}

// parseSpan reads the ID of a span, as it is printed.
func parseSpan(text string) (trace.ID, error) {
	id, err := trace.ParseID(text)
	if err != nil {
		return 0, usage("'inmem trace ls' lists the spans", "%q is not the ID of a span", text)
	}
	return id, nil
}

// spanID is a span's ID for people: without the zeros before it.
func spanID(id trace.ID) string { return fmt.Sprintf("%x", uint64(id)) }

func (c *traceLsCmd) Run(a *app) error {
	if err := limited(c.Limit); err != nil {
		return err
	}
	filter, err := c.filter()
	if err != nil {
		return err
	}
	return c.read(a, func(f faces) error {
		t := newTable(">SPAN", "KIND", "NAME", "STATUS", "BEGAN", ">TOOK", "USED", "INPUT")
		for s, err := range f.Trace().List(a.ctx, filter) {
			switch {
			case err != nil:
				return err
			case c.JSON:
				if err := a.json(spanJSON(&s)); err != nil {
					return err
				}
			default:
				t.row(spanID(s.ID), plain(string(s.Kind)), plainOr(s.Name, "-"), spanStatus(a.style, &s),
					timeText(s.Start.UnixMilli(), milliLayout), spanTook(&s), plainOr(usedText(s.Usage), "-"), cell{dataText(s.Input), a.style.dim})
			}
		}
		t.print(a)
		if !c.JSON && len(t.rows) == 0 {
			a.say("no spans")
		}
		return nil
	})
}

// jsonSpan is a span for programs.
type jsonSpan struct {
	ID           string            `json:"id"`
	Parent       string            `json:"parent,omitempty"`
	Kind         trace.Kind        `json:"kind"`
	Name         string            `json:"name"`
	Status       trace.Status      `json:"status"`
	Start        string            `json:"start"`
	End          string            `json:"end,omitempty"`
	Milliseconds *int64            `json:"ms,omitempty"` // from start to end
	Input        *string           `json:"input,omitempty"`
	InputBase64  string            `json:"input_base64,omitempty"`
	Output       *string           `json:"output,omitempty"`
	OutputBase64 string            `json:"output_base64,omitempty"`
	Error        string            `json:"error,omitempty"`
	InputTokens  int64             `json:"input_tokens,omitempty"`
	OutputTokens int64             `json:"output_tokens,omitempty"`
	Cost         float64           `json:"cost,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	Version      uint64            `json:"version"`
	Children     []*jsonSpan       `json:"children,omitempty"` // of a tree
}

func spanJSON(s *trace.Span) *jsonSpan {
	input, output := bytesJSON(s.Input), bytesJSON(s.Output)
	j := &jsonSpan{
		ID: s.ID.String(), Kind: s.Kind, Name: s.Name, Status: s.Status, Start: isoTime(s.Start.UnixMilli()),
		Input: input.text, InputBase64: input.base64, Output: output.text, OutputBase64: output.base64, Error: s.Error,
		InputTokens: s.Usage.InputTokens, OutputTokens: s.Usage.OutputTokens, Cost: s.Usage.Cost,
		Attributes: s.Attributes, Version: s.Version,
	}
	if s.Parent != 0 {
		j.Parent = s.Parent.String()
	}
	if s.Status != trace.Open {
		ms := s.Duration().Milliseconds()
		j.End, j.Milliseconds = isoTime(s.End.UnixMilli()), &ms
	}
	return j
}

// traceShowCmd shows a span.
type traceShowCmd struct {
	ofRun
	Span string `arg:"" help:"The span's ID."`
	JSON bool   `name:"json" help:"The span as a JSON object."`
}

func (c *traceShowCmd) Run(a *app) error {
	id, err := parseSpan(c.Span)
	if err != nil {
		return err
	}
	return c.read(a, func(f faces) error {
		s, err := f.Trace().Get(a.ctx, id)
		if err != nil {
			return missing(err, "'inmem trace ls' lists the spans", "span not found: %s", spanID(id))
		}
		if c.JSON {
			return a.json(spanJSON(&s))
		}
		printSpan(a, &s)
		return nil
	})
}

func printSpan(a *app, s *trace.Span) {
	t := newTable("", "")
	field := func(name string, value any) { t.row(cell{name, a.style.dim}, value) }
	field("span", cell{spanID(s.ID), a.style.bold})
	if s.Parent != 0 {
		field("parent", spanID(s.Parent))
	}
	field("kind", plain(string(s.Kind)))
	field("name", plainOr(s.Name, "-"))
	field("status", spanStatus(a.style, s))
	field("began", timeText(s.Start.UnixMilli(), milliLayout))
	if s.Status != trace.Open {
		field("ended", timeText(s.End.UnixMilli(), milliLayout)+", after "+spanTook(s))
	}
	if used := usedText(s.Usage); used != "" {
		field("used", used)
	}
	if s.Error != "" {
		field("error", cell{plain(s.Error), a.style.red})
	}
	for _, key := range slices.Sorted(maps.Keys(s.Attributes)) {
		field(plain(key), plainOr(s.Attributes[key], "-"))
	}
	field("version", count(s.Version))
	t.print(a)
	for _, part := range []struct {
		name string
		data []byte
	}{{"input", s.Input}, {"output", s.Output}} {
		if len(part.data) > 0 {
			a.printf("\n%s\n%s\n", a.style.dim(part.name+", "+bytesText(len(part.data))), printable(part.data))
		}
	}
}

// printable is a text as it is where it can be shown on a terminal, in several
// lines if it has them, and in Go's quotes otherwise.
func printable(b []byte) string {
	if !utf8.Valid(b) {
		return whole(b)
	}
	for line := range strings.Lines(string(b)) {
		if strings.ContainsFunc(strings.TrimRight(line, "\r\n"), func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
			return whole(b)
		}
	}
	return strings.TrimRight(string(b), "\r\n")
}

func spanStatus(s style, sp *trace.Span) cell {
	paint := s.dim
	switch sp.Status {
	case trace.Open:
		paint = s.yellow
	case trace.OK:
		paint = s.green
	case trace.Failed:
		paint = s.red
	}
	return cell{sp.Status.String(), paint}
}

// spanTook is how long a span took; times are kept to the millisecond.
func spanTook(s *trace.Span) string {
	switch {
	case s.Status == trace.Open:
		return "-"
	case s.Duration() <= 0:
		return "<1ms"
	}
	return span(s.Duration())
}

// usedText is tokens and cost; "" where there is neither.
func usedText(u trace.Usage) string {
	var parts []string
	if u.InputTokens != 0 || u.OutputTokens != 0 {
		parts = append(parts, fmt.Sprintf("%s+%s tokens", count(u.InputTokens), count(u.OutputTokens)))
	}
	if u.Cost != 0 {
		parts = append(parts, fmt.Sprintf("cost %.6g", u.Cost))
	}
	return strings.Join(parts, ", ")
}
