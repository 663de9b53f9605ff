package main

import (
	"encoding/json"

	"inmem/diff"
	"inmem/event"
	"inmem/kv"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// jsonPoint is a run at a version, for programs.
type jsonPoint struct {
	Run     run.ID `json:"run"`
	Version uint64 `json:"version"`
}

// jsonDiff is the first line that diff prints for programs.
type jsonDiff struct {
	A     jsonPoint `json:"a"`
	B     jsonPoint `json:"b"`
	Equal bool      `json:"equal"`
	Keys  int       `json:"keys"`  // that differ
	Cells int       `json:"cells"` // that differ

	Collections int             `json:"collections,omitempty"` // that differ
	Vectors     int             `json:"vectors,omitempty"`     // that differ
	Streams     []jsonSequence  `json:"streams,omitempty"`
	Spans       *jsonSequence   `json:"spans,omitempty"`
	Step        *jsonDivergence `json:"step,omitempty"` // the first that is not the same
}

// jsonSequence is how two lists differ.
type jsonSequence struct {
	Stream string         `json:"stream,omitempty"`
	A      int            `json:"a"` // how many A has
	B      int            `json:"b"`
	Same   int            `json:"same"`
	Differ int            `json:"differ"`
	Cut    bool           `json:"cut,omitempty"`
	First  jsonDivergence `json:"first"`
}

// jsonDivergence is where two lists first are not the same.
type jsonDivergence struct {
	Position int `json:"position"`
	jsonItem
}

// jsonItem is something that differs; further lines are such, with Part.
type jsonItem struct {
	Part        string           `json:"part,omitempty"` // "key", "cell", "event", "span", "collection" or "vector"
	Change      *diff.Change     `json:"change,omitempty"`
	A           any              `json:"a,omitempty"`
	B           any              `json:"b,omitempty"`
	Differences []jsonDifference `json:"differences,omitempty"`
	More        int              `json:"more,omitempty"`      // differences that are not listed
	SameJSON    bool             `json:"same_json,omitempty"` // it is only written differently
}

// jsonDifference is a difference at a path. What is no JSON is text, or in base64.
type jsonDifference struct {
	Path    string          `json:"path"`
	Change  diff.Change     `json:"change"`
	A       json.RawMessage `json:"a,omitempty"`
	B       json.RawMessage `json:"b,omitempty"`
	AText   *string         `json:"a_text,omitempty"`
	BText   *string         `json:"b_text,omitempty"`
	ABase64 string          `json:"a_base64,omitempty"`
	BBase64 string          `json:"b_base64,omitempty"`
}

func withinJSON(w *diff.Within) (j jsonItem) {
	j.More, j.SameJSON = w.More, w.Form && len(w.Differences) == 0
	for _, d := range w.Differences {
		one := jsonDifference{Path: d.Path, Change: d.Change}
		if d.Plain {
			a, b := bytesJSON(d.A), bytesJSON(d.B)
			one.AText, one.ABase64, one.BText, one.BBase64 = a.text, a.base64, b.text, b.base64
		} else {
			one.A, one.B = d.A, d.B
		}
		j.Differences = append(j.Differences, one)
	}
	return j
}

// sidesJSON fills in what the sides have; convert makes one of them JSON.
func sidesJSON[T any](j jsonItem, a, b *T, convert func(*T) any) jsonItem {
	if a != nil {
		j.A = convert(a)
	}
	if b != nil {
		j.B = convert(b)
	}
	return j
}

func divergenceJSON[T any](d *diff.Divergence[T], convert func(*T) any) jsonDivergence {
	return jsonDivergence{d.Position, sidesJSON(withinJSON(&d.Within), d.A, d.B, convert)}
}

func sequenceJSON[T any](name string, s *diff.Sequence[T], convert func(*T) any) jsonSequence {
	return jsonSequence{Stream: name, A: s.LenA, B: s.LenB, Same: s.Same, Differ: len(s.Items), Cut: s.Cut, First: divergenceJSON(&s.First, convert)}
}

func itemsJSON[T any](a *app, part string, items []diff.Item[T], convert func(*T) any) error {
	for i := range items {
		it := &items[i]
		j := sidesJSON(withinJSON(&it.Within), it.A, it.B, convert)
		j.Part, j.Change = part, &it.Change
		if err := a.json(j); err != nil {
			return err
		}
	}
	return nil
}

// diffJSON prints how runs differ, for programs.
func diffJSON(a *app, r *diff.Result) error {
	ofEvent := func(e *event.Event) any { return eventJSON(e) }
	ofSpan := func(s *trace.Span) any { return spanJSON(s) }
	head := jsonDiff{A: jsonPoint(r.A), B: jsonPoint(r.B), Equal: r.Equal(), Keys: len(r.Keys), Cells: len(r.Cells), Collections: len(r.Collections), Vectors: len(r.Vectors)}
	for i := range r.Streams {
		s := &r.Streams[i]
		head.Streams = append(head.Streams, sequenceJSON(s.Name, &s.Sequence, ofEvent))
	}
	if r.Spans != nil {
		spans := sequenceJSON("", r.Spans, ofSpan)
		head.Spans = &spans
	}
	if r.Steps != nil {
		step := divergenceJSON(r.Steps, ofSpan)
		head.Step = &step
	}
	if err := a.json(head); err != nil {
		return err
	}
	err := itemsJSON(a, "key", r.Keys, func(it *kv.Item) any { return withValue(*it) })
	if err == nil {
		err = itemsJSON(a, "cell", r.Cells, func(c *state.Cell) any { return cellJSON(c) })
	}
	for i := range r.Streams {
		if err == nil {
			err = itemsJSON(a, "event", r.Streams[i].Items, ofEvent)
		}
	}
	if err == nil && r.Spans != nil {
		err = itemsJSON(a, "span", r.Spans.Items, ofSpan)
	}
	if err == nil {
		err = itemsJSON(a, "collection", r.Collections, func(c *vector.Collection) any { return collectionJSON(c, nil) })
	}
	if err == nil {
		err = itemsJSON(a, "vector", r.Vectors, func(v *diff.Vector) any {
			return struct {
				Collection string `json:"collection"`
				jsonVector
			}{v.Collection, vectorJSON(&v.Item, nil)}
		})
	}
	return err
}
