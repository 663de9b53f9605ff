package diff

import (
	"fmt"

	"inmem/event"
	"inmem/kv"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// Change says what became of something from side A to side B.
type Change uint8

// The changes. 0 is invalid everywhere.
const (
	Added   Change = 1 // only B has it
	Removed Change = 2 // only A has it
	Changed Change = 3 // both have it, and it is not the same
)

// String returns the change's name, or its number where there is no such change.
func (c Change) String() string {
	switch c {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Changed:
		return "changed"
	}
	return fmt.Sprintf("change %d", uint8(c))
}

// MarshalText returns what String does.
func (c Change) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Side is one of the two that are compared: all that a run holds at one version.
type Side struct {
	Run     run.ID
	Version uint64
	Keys    []kv.Item                // in order
	Cells   []state.Cell             // in order of the names
	Streams map[string][]event.Event // by name, each from its first event
	Spans   []trace.Span             // in the order they were started

	Collections []vector.Collection // in order of the names
	Vectors     []Vector            // in order of collection and key
}

// Vector is a vector and where it is.
type Vector struct {
	Collection string
	vector.Item
}

// Result is how two runs differ. It refers to what was compared.
type Result struct {
	A, B    Point
	Keys    []Item[kv.Item]         // in order
	Cells   []Item[state.Cell]      // in order of the names
	Streams []Stream                // those that differ, in order of the names
	Spans   *Sequence[trace.Span]   // nil = they do not differ
	Steps   *Divergence[trace.Span] // the first among the spans that are steps; nil = there is none

	Collections []Item[vector.Collection] // in order of the names
	Vectors     []Item[Vector]            // in order of collection and key
}

// Point is a run at a version.
type Point struct {
	Run     run.ID
	Version uint64 // 0 = the newest
}

// Stream is how an event stream differs.
type Stream struct {
	Name string
	Sequence[event.Event]
}

// Item is something that is not the same on both sides.
type Item[T any] struct {
	Change Change
	A, B   *T // nil where the side has it not
	Within
}

// Within is where something that both sides have is not the same.
type Within struct {
	Differences []Difference
	More        int  // so many differences beyond the limit
	Form        bool // JSON that means the same is written differently
}

// Same reports that there is no difference.
func (w *Within) Same() bool { return len(w.Differences)+w.More == 0 && !w.Form }

// Sequence is how two lists differ whose items belong together by name, in
// their order.
type Sequence[T any] struct {
	LenA, LenB int
	Same       int       // pairs that are the same
	Items      []Item[T] // all others, in order; what A alone has comes first
	// Cut: the lists differ so much that what belongs together was not searched
	// for to the end. The pairs are in order, but more may be possible.
	Cut   bool
	First Divergence[T]
}

// Divergence is the first place at which two lists are not the same.
type Divergence[T any] struct {
	Position int // from 1, in both lists
	A, B     *T  // nil where the list has ended
	// Within is what differs where both have the same name; with other names it is
	// empty.
	Within
}

// Equal reports that nothing differs.
func (r *Result) Equal() bool {
	return len(r.Keys)+len(r.Cells)+len(r.Streams)+len(r.Collections)+len(r.Vectors) == 0 && r.Spans == nil
}
