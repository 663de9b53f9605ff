package query

import (
	"iter"
	"slices"
	"time"

	"inmem/run"
)

// order finds out whether items are found in the order that is asked for, so that
// none has to be kept, and begins where the cursor says. Single says that only one
// run can have any.
func (p *plan) order(single bool) {
	if len(p.orders) > 0 {
		p.reverse = p.q.orders[0].desc
	}
	if p.natural = p.inSequence(single) && (!p.reverse || p.reversible()); !p.natural {
		p.reverse = false
		return
	}
	p.runs.Reverse = p.reverse
	if p.q.after == nil {
		return
	}
	p.begin = p.q.after.at
	// The index seeks the millisecond; passed leaves out what is left of it.
	if from := time.UnixMilli(p.begin.created); !p.reverse && from.After(p.runs.From) {
		p.runs.From = from
	}
	if to := time.UnixMilli(p.begin.created + 1); p.reverse && (p.runs.To.IsZero() || to.Before(p.runs.To)) {
		p.runs.To = to
	}
}

// inSequence reports whether the keys to order by, all in one direction, are what
// items are found in the order of, up to where they are all different, or to where
// the query says no more.
func (p *plan) inSequence(single bool) bool {
	src := p.q.source
	left, same := src.sequence, ""
	if p.items.stream != "" || p.items.collection != "" {
		left, same = left[1:], left[0] // only one is looked through
	}
	if !single {
		left = slices.Concat(src.runSequence(), left)
	}
	for i, o := range p.orders {
		switch {
		case len(left) == 0:
			return true
		case p.q.orders[i].desc != p.q.orders[0].desc:
			return false
		case o.fixed, single && o.ofRun, same != "" && o.column == same:
			// It is the same everywhere.
		case o.column == left[0]:
			left = left[1:]
		case same == "stream" && o.column == "time" && left[0] == "sequence":
			// Times never decrease within a stream.
		default:
			return false
		}
	}
	return true
}

// runSequence are the columns that runs are found in the order of.
func (s *source) runSequence() []string {
	if s.name == Runs {
		return []string{"created", "id"}
	}
	return []string{"run.created", "run.id"}
}

// reversible reports whether items of a run can be looked through from the last to
// the first.
func (p *plan) reversible() bool {
	switch p.q.source.name {
	case Runs, KV, Spans:
		return true
	case Events:
		return p.items.stream != ""
	}
	return false
}

// passed leaves out the runs that come before the cursor.
func (p *plan) passed(runs iter.Seq[*run.Info]) iter.Seq[*run.Info] {
	if p.begin == nil {
		return runs
	}
	return func(yield func(*run.Info) bool) {
		for info := range runs {
			at := place{created: info.Created, run: info.ID}
			c := at.compare(&place{created: p.begin.created, run: p.begin.run})
			if p.reverse {
				c = -c
			}
			if c < 0 || c == 0 && p.q.source.name == Runs {
				continue
			}
			if !yield(info) {
				return
			}
		}
	}
}

// beginIn returns where to begin in a run; nil = at its beginning.
func (p *plan) beginIn(id run.ID) *place {
	if p.begin != nil && p.begin.run == id {
		return p.begin
	}
	return nil
}
