package query

import (
	"time"

	"github.com/expr-lang/expr/vm"

	"inmem/event"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// scope is what an expression is evaluated over: a run, and an item of it. Each
// goroutine that evaluates has its own.
type scope struct {
	store   Store
	info    *run.Info
	version uint64 // of the run; 0 = it was not asked for yet
	id      string // of the run, the same
	kv      kv.Item
	event   *event.Event
	cell    *state.Cell
	span    *trace.Span
	vector  *vector.Item
	of      string // the collection of the vector
	docs    [2]document
	vm      vm.VM
}

// enter begins with another run.
func (s *scope) enter(info *run.Info, version uint64) {
	s.info, s.version, s.id = info, version, ""
}

// runVersion returns the version of the run.
func (s *scope) runVersion() uint64 {
	if s.version == 0 {
		s.version, _ = s.store.Version(s.info.ID)
	}
	return s.version
}

func (s *scope) runID() string {
	if s.id == "" {
		s.id = s.info.ID.String()
	}
	return s.id
}

// column is something that has a name in a source.
type column struct {
	name  string
	kind  kind
	doc   int // 1 + the index of the document; 0 = it is none
	ofRun bool
	words []string // all that the column can be
	get   func(*scope) any
	str   func(*scope) string // get, of a text that is always there
}

func text(name string, str func(*scope) string) *column {
	return &column{name: name, kind: kindText, str: str, get: func(s *scope) any { return str(s) }}
}

// optional is a text that is not there where it is empty.
func optional(name string, str func(*scope) string) *column {
	return &column{name: name, kind: kindText, get: func(s *scope) any {
		if text := str(s); text != "" {
			return text
		}
		return nil
	}}
}

func number(name string, get func(*scope) uint64) *column {
	return &column{name: name, kind: kindNumber, get: func(s *scope) any { return int64(get(s)) }}
}

func moment(name string, get func(*scope) time.Time) *column {
	return &column{name: name, kind: kindTime, get: func(s *scope) any {
		if t := get(s); !t.IsZero() {
			return t.UTC()
		}
		return nil
	}}
}

func doc(name string, i int) *column {
	return &column{name: name, kind: kindAny, doc: i + 1, get: func(s *scope) any {
		if s.docs[i].raw == nil {
			return nil
		}
		return s.docs[i].value()
	}}
}

func (c *column) oneOf(words ...string) *column {
	c.words = words
	return c
}

// runColumns are what is known of a run without what is in it.
var runColumns = []*column{
	text("id", (*scope).runID),
	text("name", func(s *scope) string { return s.info.Name }),
	text("status", func(s *scope) string { return s.info.Status.String() }).
		oneOf("active", "paused", "completed", "failed", "cancelled", "archived"),
	text("namespace", func(s *scope) string { return s.info.Namespace.String() }),
	text("namespace.tenant", func(s *scope) string { return s.info.Namespace.Tenant }),
	text("namespace.app", func(s *scope) string { return s.info.Namespace.App }),
	text("namespace.agent", func(s *scope) string { return s.info.Namespace.Agent }),
	moment("created", func(s *scope) time.Time { return s.info.CreatedAt() }),
	moment("ended", func(s *scope) time.Time { return s.info.EndedAt() }),
	{name: "took", kind: kindDuration, get: func(s *scope) any {
		if s.info.Ended == 0 {
			return nil
		}
		return time.Duration(s.info.Ended-s.info.Created) * time.Millisecond
	}},
	number("version", (*scope).runVersion),
	{name: "parent", kind: kindText, get: func(s *scope) any {
		if s.info.Parent.IsZero() {
			return nil
		}
		return s.info.Parent.String()
	}},
	{name: "space", kind: kindBool, get: func(s *scope) any { return s.info.Space }},
	{name: "tags", kind: kindLabels, get: func(s *scope) any { return s.info.Tags }},
}

// Source is what a query looks through.
type Source string

// The sources.
const (
	Runs   Source = "runs"   // runs and spaces, without what is in them
	KV     Source = "kv"     // keys and values
	Events Source = "events" // events of all streams
	States Source = "states" // state cells
	Spans  Source = "spans"  // spans
	// Vectors are the vectors of all collections, by their metadata; for those that
	// are near to another one see vector.Store.Search and Where.
	Vectors Source = "vectors"
)

// source is a Source with all that is known of it.
type source struct {
	name    Source
	tag     op.Tag // of the items; 0 = the runs are the items
	columns map[string]*column
	shown   []string // what a row has where nothing is selected
	scan    func(*scanner) error
	// at returns where the item in scope is within its run, as place has it.
	at func(*scope) (first, second string, number uint64)
	// sequence are the columns that items of a run are found in the order of; no two
	// are equal in all of them.
	sequence []string
}

var sources = map[Source]*source{}

func init() {
	for _, s := range []struct {
		source
		own []*column
	}{
		{source{name: Runs, shown: []string{"id", "status", "name", "namespace", "created", "took", "version", "tags"},
			at: func(*scope) (string, string, uint64) { return "", "", 0 }}, nil},
		{source{name: KV, tag: op.KV, scan: (*scanner).kv, shown: []string{"run.id", "key", "value", "version"}, sequence: []string{"key"},
			at: func(s *scope) (string, string, uint64) { return s.kv.Key, "", 0 }}, kvColumns},
		{source{name: Events, tag: op.Event, scan: (*scanner).events, shown: []string{"run.id", "stream", "sequence", "time", "type", "payload"}, sequence: []string{"stream", "sequence"},
			at: func(s *scope) (string, string, uint64) { return s.event.Stream, "", s.event.Sequence }}, eventColumns},
		{source{name: States, tag: op.StateMachine, scan: (*scanner).states, shown: []string{"run.id", "name", "state", "data", "version"}, sequence: []string{"name"},
			at: func(s *scope) (string, string, uint64) { return s.cell.Name, "", 0 }}, stateColumns},
		{source{name: Spans, tag: op.Trace, scan: (*scanner).spans, shown: []string{"run.id", "id", "kind", "name", "status", "start", "took", "error"}, sequence: []string{"id"},
			at: func(s *scope) (string, string, uint64) { return "", "", uint64(s.span.ID) }}, spanColumns},
		{source{name: Vectors, tag: op.Vector, scan: (*scanner).vectors, shown: []string{"run.id", "collection", "key", "metadata", "version"}, sequence: []string{"collection", "key"},
			at: func(s *scope) (string, string, uint64) { return s.of, s.vector.Key, 0 }}, append(vectorColumns, text("collection", func(s *scope) string { return s.of }))},
	} {
		s.columns = map[string]*column{}
		for _, c := range runColumns {
			of := *c
			of.ofRun = true
			s.columns["run."+c.name] = &of
			if s.name == Runs {
				s.columns[c.name] = &of
			}
		}
		for _, c := range s.own {
			s.columns[c.name] = c
		}
		sources[s.name] = &s.source
	}
}

var kvColumns = []*column{
	text("key", func(s *scope) string { return s.kv.Key }),
	doc("value", 0),
	number("size", func(s *scope) uint64 { return uint64(len(s.kv.Value)) }),
	number("version", func(s *scope) uint64 { return s.kv.Version }),
	moment("deadline", func(s *scope) time.Time { return s.kv.Deadline }),
}

var eventColumns = []*column{
	text("stream", func(s *scope) string { return s.event.Stream }),
	number("sequence", func(s *scope) uint64 { return s.event.Sequence }),
	text("type", func(s *scope) string { return s.event.Type }),
	optional("id", func(s *scope) string { return s.event.ID }),
	moment("time", func(s *scope) time.Time { return s.event.Time }),
	doc("payload", 0),
	number("size", func(s *scope) uint64 { return uint64(len(s.event.Payload)) }),
	number("version", func(s *scope) uint64 { return s.event.Version }),
}

var stateColumns = []*column{
	text("name", func(s *scope) string { return s.cell.Name }),
	text("state", func(s *scope) string { return s.cell.State }),
	doc("data", 0),
	number("size", func(s *scope) uint64 { return uint64(len(s.cell.Data)) }),
	number("version", func(s *scope) uint64 { return s.cell.Version }),
}

var spanColumns = []*column{
	number("id", func(s *scope) uint64 { return uint64(s.span.ID) }),
	{name: "parent", kind: kindNumber, get: func(s *scope) any {
		if s.span.Parent == 0 {
			return nil
		}
		return int64(s.span.Parent)
	}},
	text("kind", func(s *scope) string { return string(s.span.Kind) }),
	text("name", func(s *scope) string { return s.span.Name }),
	text("status", func(s *scope) string { return s.span.Status.String() }).oneOf("open", "ok", "error", "cancelled"),
	moment("start", func(s *scope) time.Time { return s.span.Start }),
	moment("end", func(s *scope) time.Time { return s.span.End }),
	{name: "took", kind: kindDuration, get: func(s *scope) any {
		if s.span.End.IsZero() {
			return nil
		}
		return s.span.Duration()
	}},
	doc("input", 0),
	doc("output", 1),
	optional("error", func(s *scope) string { return s.span.Error }),
	number("input_tokens", func(s *scope) uint64 { return uint64(s.span.Usage.InputTokens) }),
	number("output_tokens", func(s *scope) uint64 { return uint64(s.span.Usage.OutputTokens) }),
	{name: "cost", kind: kindNumber, get: func(s *scope) any { return finite(s.span.Usage.Cost) }},
	{name: "attributes", kind: kindLabels, get: func(s *scope) any { return s.span.Attributes }},
	number("version", func(s *scope) uint64 { return s.span.Version }),
}

// vectorColumns are what is known of a vector by itself.
var vectorColumns = []*column{
	text("key", func(s *scope) string { return s.vector.Key }),
	doc("metadata", 0),
	number("version", func(s *scope) uint64 { return s.vector.Version }),
}
