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

func (s *scanner) kv() error {
	a, sc := &s.plan.items, s.scope
	for it, err := range s.faces.KV.Range(s.ctx, a.from, a.to, kv.Lend()) {
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
	for stream, err := range s.faces.Events.Streams(s.ctx) {
		if err == nil {
			err = s.streamOf(stream)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// streamOf reads one stream.
func (s *scanner) streamOf(name string) error {
	a := &s.plan.items
	opts := []event.ReadOption{event.After(a.after), event.Types(a.types...)}
	if a.before > 0 {
		opts = append(opts, event.Before(a.before))
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
	a := &s.plan.items
	for cell, err := range s.faces.States.List(s.ctx, commonPrefix(a.from, a.to)) {
		switch {
		case err != nil:
			return err
		case a.to != "" && cell.Name >= a.to:
			return nil
		case cell.Name < a.from:
			continue
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

// commonPrefix is what all texts between two begin with.
func commonPrefix(from, to string) string {
	n := 0
	for n < len(from) && n < len(to) && from[n] == to[n] {
		n++
	}
	return from[:n]
}

func (s *scanner) spans() error {
	a := &s.plan.items
	for span, err := range s.faces.Spans.List(s.ctx, trace.Filter{After: trace.ID(a.after)}) {
		switch {
		case err != nil:
			return err
		case a.before > 0 && uint64(span.ID) >= a.before:
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
		if err == nil {
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
	a := &s.plan.items
	for it, err := range s.faces.Vectors.List(s.ctx, name, commonPrefix(a.from, a.to), vector.WithoutVectors()) {
		switch {
		case err != nil:
			return err
		case a.to != "" && it.Key >= a.to:
			return nil
		case it.Key < a.from:
			continue
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
