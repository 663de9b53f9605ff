package trace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"inmem/op"
)

// Get returns a span, or ErrNotFound.
func (s Store) Get(ctx context.Context, id ID) (Span, error) {
	if err := ctx.Err(); err != nil {
		return Span{}, err
	}
	view, err := s.run.View()
	if err != nil {
		return Span{}, err
	}
	it, ok := view.Get(op.Trace, spanKey(startPrefix, id))
	if !ok {
		return Span{}, fmt.Errorf("%w: %v", ErrNotFound, id)
	}
	return toSpan(view, id, it)
}

// Result returns what came of a span that has ended, without the rest of it.
// Where there is none, or it is open, it is ErrNotFound.
func (s Store) Result(ctx context.Context, id ID) (status Status, output []byte, failure string, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, "", err
	}
	it, err := s.run.Get(op.Trace, spanKey(finishPrefix, id))
	if errors.Is(err, op.ErrNotFound) {
		return 0, nil, "", ErrNotFound
	}
	if err != nil {
		return 0, nil, "", err
	}
	var span Span
	err = span.decodeFinish(it.Value)
	return span.Status, span.Output, span.Error, err
}

// toSpan puts the two halves of a span together.
func toSpan(view op.View, id ID, started op.Item) (Span, error) {
	span := Span{ID: id, Status: Open, Version: started.Version}
	if err := span.decodeStart(started.Value); err != nil {
		return Span{}, fmt.Errorf("span %v: %w", id, err)
	}
	if it, ok := view.Get(op.Trace, spanKey(finishPrefix, id)); ok {
		span.Version = it.Version
		if err := span.decodeFinish(it.Value); err != nil {
			return Span{}, fmt.Errorf("span %v: %w", id, err)
		}
	}
	return span, nil
}

// Len returns how many spans there are.
func (s Store) Len(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	view, err := s.run.View()
	if err != nil {
		return 0, err
	}
	return int(last(view)), nil
}

// Filter chooses spans. Every field narrows the choice; its zero value does not.
type Filter struct {
	Kinds        []Kind            // any of these
	Name         string            // exactly this one
	Status       []Status          // any of these
	Attributes   map[string]string // all of these, with these values
	Parent       ID                // the children of this span
	Since, Until time.Time         // that began at Since or later, and before Until
	After        ID                // those behind this one, in the order of the list
	Limit        int               // 0 = all
	Reverse      bool              // the newest first
}

func (f *Filter) match(s *Span) bool {
	for k, v := range f.Attributes {
		if have, ok := s.Attributes[k]; !ok || have != v {
			return false
		}
	}
	return (len(f.Kinds) == 0 || slices.Contains(f.Kinds, s.Kind)) &&
		(f.Name == "" || f.Name == s.Name) &&
		(len(f.Status) == 0 || slices.Contains(f.Status, s.Status)) &&
		(f.Parent == 0 || f.Parent == s.Parent) &&
		(f.Since.IsZero() || !s.Start.Before(f.Since)) &&
		(f.Until.IsZero() || s.Start.Before(f.Until))
}

// List returns the spans that the filter chooses, in the order they were
// started, all as of one version. It looks at every span of the run. The loop
// ends after an error.
func (s Store) List(ctx context.Context, filter Filter) iter.Seq2[Span, error] {
	return func(yield func(Span, error) bool) {
		view, err := s.run.View()
		if err != nil {
			yield(Span{}, err)
			return
		}
		r := op.Prefix(startPrefix)
		r.Reverse = filter.Reverse
		switch {
		case filter.After != 0 && filter.Reverse:
			r.To = spanKey(startPrefix, filter.After)
		case filter.After != 0:
			r.From = spanKey(startPrefix, filter.After) + "\x00"
		}
		left := filter.Limit
		view.Scan(op.Trace, r, func(key string, it op.Item) bool {
			if err := ctx.Err(); err != nil {
				yield(Span{}, err)
				return false
			}
			span, err := toSpan(view, idOf(key), it)
			if err == nil && !filter.match(&span) {
				return true
			}
			left--
			return yield(span, err) && err == nil && left != 0
		})
	}
}

// Node is a span with those that are part of it.
type Node struct {
	Span
	Children []*Node // in the order they were started
}

// Total returns what the span and everything in it has cost.
func (n *Node) Total() Usage {
	sum := n.Usage
	for _, c := range n.Children {
		sum = sum.Add(c.Total())
	}
	return sum
}

// Tree returns all spans of the run as trees, in the order they were started.
func (s Store) Tree(ctx context.Context) ([]*Node, error) {
	var roots []*Node
	nodes := map[ID]*Node{}
	for span, err := range s.List(ctx, Filter{}) {
		if err != nil {
			return nil, err
		}
		n := &Node{Span: span}
		nodes[span.ID] = n
		if parent := nodes[span.Parent]; parent != nil { // it was started before
			parent.Children = append(parent.Children, n)
		} else {
			roots = append(roots, n)
		}
	}
	return roots, nil
}
