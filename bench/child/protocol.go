// Package child has one store in one process. What a heap costs to collect, and
// what a process has in memory, depends on all that is in it, and only a process
// can be killed. Parent and child talk in lines of JSON, a request and a reply.
package child

import (
	"time"

	"inmem/bench/measure"
	"inmem/bench/store"
	"inmem/bench/workload"
)

// Argument is the first of a process that is a child.
const Argument = "as-child"

// What a child is asked to do.
const (
	doCheck     = "check"
	doOpen      = "open"
	doLoad      = "load"
	doCell      = "cell"
	doRest      = "rest"
	doMemory    = "memory"
	doOverwrite = "overwrite"
	doCommit    = "commit"
	doMissing   = "missing"
	doClose     = "close"
)

// Request is what the parent asks for. Which fields mean something depends on Do.
type Request struct {
	Do          string        `json:"do"`
	Kind        string        `json:"kind,omitempty"`
	Class       store.Class   `json:"class,omitempty"`
	Dir         string        `json:"dir,omitempty"`
	Size        workload.Size `json:"size,omitzero"`
	Seed        uint64        `json:"seed,omitempty"`
	Transcripts string        `json:"transcripts,omitempty"` // a file, or "" for synthetic ones
	Cell        workload.Cell `json:"cell,omitzero"`
	For         time.Duration `json:"for,omitempty"`
	WarmUp      time.Duration `json:"warm_up,omitempty"`
	Interval    time.Duration `json:"interval,omitempty"` // over which a store is at rest
	Profile     string        `json:"profile,omitempty"`  // a file for the CPU profile of the cell
	Ledger      string        `json:"ledger,omitempty"`   // a file
	Commits     int           `json:"commits,omitempty"`
	GoOn        bool          `json:"go_on,omitempty"` // with commits after the reply
	Lean        bool          `json:"lean,omitempty"`  // keep nothing but the newest values
}

// Reply is what the child answers.
type Reply struct {
	Err         string          `json:"err,omitempty"`
	Unsupported bool            `json:"unsupported,omitempty"` // the store cannot do that
	Servers     []int           `json:"servers,omitempty"`     // processes of the store
	Result      *measure.Result `json:"result,omitempty"`
	AtRest      bool            `json:"at_rest,omitempty"`
	Ready       time.Duration   `json:"ready,omitempty"`  // from before Open until the first Get
	Loaded      time.Duration   `json:"loaded,omitempty"` // until a Get in each run
	Took        time.Duration   `json:"took,omitempty"`
	Resident    int64           `json:"resident,omitempty"`  // bytes, as it is
	Collected   int64           `json:"collected,omitempty"` // without garbage; before the store, when it is opened
	Acked       int             `json:"acked,omitempty"`
	Missing     int             `json:"missing,omitempty"`
}
