package recovery

import (
	"time"

	"inmem/run"
)

// Verdict is what recovery found, a row of the decision table.
type Verdict string

// The verdicts. Those over a whole store come first; a store that exists has a
// verdict for each shard.
const (
	Created     Verdict = "created"     // there was no store
	Recreated   Verdict = "recreated"   // a creation that a crash cut short was begun anew
	Clean       Verdict = "clean"       // the log ends with its seal: the store was closed or idle
	Interrupted Verdict = "interrupted" // the log ends without a seal: the process died
	Torn        Verdict = "torn"        // the log ends inside a write that a crash cut short; the rest was cut off
	Refused     Verdict = "refused"     // damage, or a store this program cannot read
)

// Row is a row of the decision table.
type Row struct {
	Finding string
	Verdict Verdict
	Action  string
}

// Rows is the decision table of recovery. It looks at where images are and leaves
// them unread, but for those of runs that the log goes on with: damage in one is
// found by who needs its run, or by Check.
var Rows = []Row{
	{"no manifest, and no shard directory", Created, "create the store"},
	{"no manifest, shard directories with logs that were never written to", Recreated, "remove them, create the store"},
	{"no manifest, a log that was written to, or a checkpoint", Refused, "the manifest is gone: damage"},
	{"a manifest that is damaged", Refused, "name file and offset"},
	{"a manifest, segment or checkpoint of a newer format", Refused, "unsupported, not damaged"},
	{"a manifest with another number of shards than asked for", Refused, "name both numbers"},
	{"a checkpoint that the manifest names is missing, or its index damaged", Refused, "name file and offset"},
	{"a segment is missing, foreign or has a bad header", Refused, "name file and offset"},
	{"a bad frame in a segment that has a successor", Refused, "name file and offset"},
	{"a bad frame in the last segment, which the manifest or a later frame knows to have been synced", Refused, "name file and offset"},
	{"the log ends before what the manifest knows to have been synced", Refused, "name file and offset"},
	{"a commit that does not follow from those before", Refused, "name file and offset"},
	{"a bad frame in the last segment, otherwise", Torn, "cut it off, report the bytes"},
	{"no bad frame, and the last frame is no seal", Interrupted, "go on behind it"},
	{"no bad frame, and the last frame is a seal, or there is none", Clean, "go on behind it"},
}

// Report says what recovery found and did.
type Report struct {
	Verdict  Verdict // Created, Recreated, or the gravest of the shards'
	Duration time.Duration
	Shards   []ShardReport
	// Orphans are the runs that were active when the store was opened: they
	// were begun and not ended by a process that is gone.
	Orphans []run.ID
	// Holder is who had the store open while it was opened for reading only: at
	// work on the active runs, so that there are no orphans; "" = nobody. Then
	// torn bytes may be a write that was under way.
	Holder string
}

// ShardReport is a shard's part of the report.
type ShardReport struct {
	Verdict    Verdict
	Checkpoint uint64 // sequence of the log its checkpoint covers; 0 = none
	Images     int    // runs taken from the checkpoint
	Commits    uint64 // replayed from the log
	Bytes      int64  // of the log read
	Sequence   uint64 // of the last frame
	Runs, Keys int    // live after recovery
	TornFile   string // where a write was cut short …
	TornOffset int64
	TornBytes  int64 // … and how much of it was cut off
	Resealed   int   // older segments whose index was written again
}

// gravity orders the verdicts of shards for the store's.
var gravity = map[Verdict]int{Clean: 0, Interrupted: 1, Torn: 2}

func (r *Report) summarize() {
	for i := range r.Shards {
		if v := r.Shards[i].Verdict; r.Verdict == "" || gravity[v] > gravity[r.Verdict] {
			r.Verdict = v
		}
	}
}
