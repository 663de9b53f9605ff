package query

import (
	"context"
	"errors"

	"inmem/event"
	"inmem/kv"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// Faces are what a run holds, all as of one version.
type Faces struct {
	Version uint64
	Info    *run.Info // not to be changed; LastVersion is not looked at
	KV      kv.Store
	Events  event.Store
	States  state.Store
	Spans   trace.Store
	Vectors vector.Store
}

// scanner looks through runs for one goroutine.
type scanner struct {
	ctx   context.Context
	plan  *plan
	faces *Faces
	scope *scope
	begin *place       // in the run; nil = at its beginning
	found func() error // told of each item that matches, which is in scope
}

// item is told of what was read. It reports whether to go on, and why not.
func (s *scanner) item() error {
	for _, test := range s.plan.tests {
		ok, err := test.holds(s.scope)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
	}
	return s.found()
}

// keys returns the range of keys, or names, that are to be read; none where there
// cannot be any. Last is that of the item that was found last.
func (s *scanner) keys(last string) (from, to string, none bool) {
	from, to = s.plan.items.from, s.plan.items.to
	switch {
	case s.begin == nil:
	case !s.plan.reverse:
		from = max(from, last+"\x00")
	case last == "":
		none = true // nothing comes before it
	case to == "" || last < to:
		to = last
	}
	return from, to, none || to != "" && from >= to
}

func (s *scanner) kv() error {
	sc, last := s.scope, ""
	if s.begin != nil {
		last = s.begin.first
	}
	from, to, none := s.keys(last)
	if none {
		return nil
	}
	opts := []kv.ListOption{kv.Lend()}
	if s.plan.reverse {
		opts = append(opts, kv.Reverse())
	}
	for it, err := range s.faces.KV.Range(s.ctx, from, to, opts...) {
		if err != nil {
			return err
		}
		sc.kv = it
		sc.docs[0] = document{raw: it.Value}
		if it.Value == nil {
			sc.docs[0].raw = []byte{}
		}
		if err := s.item(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) events() error {
	if stream := s.plan.items.stream; stream != "" {
		return s.streamOf(stream)
	}
	first := ""
	if s.begin != nil {
		first = s.begin.first
	}
	for stream, err := range s.faces.Events.StreamsFrom(s.ctx, first) {
		if err == nil {
			err = s.streamOf(stream)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// numbers returns what sequences, or IDs, are to be read: after < n < before,
// where before is not 0.
func (s *scanner) numbers() (after, before uint64) {
	after, before = s.plan.items.after, s.plan.items.before
	switch {
	case s.begin == nil:
	case !s.plan.reverse:
		after = max(after, s.begin.number)
	case before == 0 || s.begin.number < before:
		before = max(s.begin.number, 1)
	}
	return after, before
}

// streamOf reads one stream.
func (s *scanner) streamOf(name string) error {
	a := &s.plan.items
	after, before := a.after, a.before
	if s.begin != nil && s.begin.first == name {
		after, before = s.numbers()
	}
	opts := []event.ReadOption{event.After(after), event.Types(a.types...)}
	if before > 0 {
		opts = append(opts, event.Before(before))
	}
	if s.plan.reverse {
		opts = append(opts, event.Reverse())
	}
	if !a.since.IsZero() {
		opts = append(opts, event.Since(a.since))
	}
	if !a.until.IsZero() {
		opts = append(opts, event.Until(a.until))
	}
	for e, err := range s.faces.Events.Read(s.ctx, name, opts...) {
		if err != nil {
			return err
		}
		s.scope.event = &e
		s.scope.docs[0] = document{raw: e.Payload, state: docJSON} // the face takes nothing else
		if err := s.item(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) states() error {
	last := ""
	if s.begin != nil {
		last = s.begin.first
	}
	from, to, none := s.keys(last)
	if none {
		return nil
	}
	for cell, err := range s.faces.States.Range(s.ctx, from, to) {
		if err != nil {
			return err
		}
		s.scope.cell = &cell
		s.scope.docs[0] = present(cell.Data)
		if err := s.item(); err != nil {
			return err
		}
	}
	return nil
}

// present is a document, which is not there where it is empty.
func present(b []byte) document {
	if len(b) == 0 {
		return document{}
	}
	return document{raw: b}
}

func (s *scanner) spans() error {
	after, before := s.numbers()
	filter := trace.Filter{After: trace.ID(after)}
	if s.plan.reverse {
		filter = trace.Filter{After: trace.ID(before), Reverse: true}
	}
	for span, err := range s.faces.Spans.List(s.ctx, filter) {
		switch {
		case err != nil:
			return err
		case before > 0 && uint64(span.ID) >= before, uint64(span.ID) <= after:
			return nil
		}
		s.scope.span = &span
		s.scope.docs = [2]document{present(span.Input), present(span.Output)}
		if err := s.item(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) vectors() error {
	if name := s.plan.items.collection; name != "" {
		err := s.collection(name)
		if errors.Is(err, vector.ErrNoCollection) {
			return nil
		}
		return err
	}
	for c, err := range s.faces.Vectors.Collections(s.ctx) {
		if err == nil && (s.begin == nil || c.Name >= s.begin.first) {
			err = s.collection(c.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// collection reads the vectors of one, without their elements.
func (s *scanner) collection(name string) error {
	from, to := s.plan.items.from, s.plan.items.to
	if s.begin != nil && s.begin.first == name {
		from, _, _ = s.keys(s.begin.second)
	}
	for it, err := range s.faces.Vectors.List(s.ctx, name, "", vector.WithoutVectors(), vector.From(from)) {
		switch {
		case err != nil:
			return err
		case to != "" && it.Key >= to:
			return nil
		}
		s.scope.of = name
		s.scope.enterVector(&it)
		if err := s.item(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scope) enterVector(it *vector.Item) {
	s.vector = it
	s.docs[0] = document{}
	if len(it.Metadata) > 0 {
		s.docs[0] = document{raw: it.Metadata, state: docJSON} // the face takes nothing else
	}
}
