package salvage

import (
	"fmt"

	"inmem/run"
)

// Report says what was got out of a store, and what was not.
type Report struct {
	Shards []Shard // of the source, as far as anything of them is left, in order

	// What the new store has.
	Runs, Keys int
	Commits    uint64 // in its log
	Images     int    // runs whose state comes from an image, because commits before it are gone

	Damage []Damage // in order of the files
	Gaps   []Gap    // in order
	Losses []Loss   // in order of the runs
}

// Shard is what there is of a shard of the source.
type Shard struct {
	Number      int
	Segments    int
	Commits     int // that verify, each once
	Checkpoints int // files
	Images      int // that verify
	Damaged     int64
}

// Damage is a part of a file that cannot be used.
type Damage struct {
	File           string
	Offset, Length int64 // bytes; a length of 0 means the file as a whole
	Reason         string
	// Lost says that something may have been lost with it. Otherwise all that
	// was there is somewhere else too, or nothing needs it.
	Lost bool
}

func (d Damage) String() string {
	if d.Length == 0 {
		return d.File + ": " + d.Reason
	}
	return fmt.Sprintf("%s at offset %d, %d bytes: %s", d.File, d.Offset, d.Length, d.Reason)
}

// Gap is a part of a shard's log of which nothing is left, in sequences.
// Whatever runs had commits there lost them.
type Gap struct {
	Shard       int
	First, Last uint64
}

func (g Gap) String() string {
	if g.First == g.Last {
		return fmt.Sprintf("shard %d: sequence %d of the log", g.Shard, g.First)
	}
	return fmt.Sprintf("shard %d: sequences %d to %d of the log", g.Shard, g.First, g.Last)
}

// Loss is what is missing of a run.
type Loss struct {
	Run     run.ID
	Kept    uint64 // the version it has in the new store; 0 = it is not there
	Known   uint64 // the highest version of it that anything is left to know by
	From    uint64 // the version its history begins with in the new store; 0 = it has none
	Deleted bool   // it was deleted, and stays deleted: only its history is missing
	Reason  string
}

func (l Loss) String() string {
	switch {
	case l.Deleted:
		return fmt.Sprintf("run %v: deleted; %s", l.Run, l.Reason)
	case l.Kept == 0:
		return fmt.Sprintf("run %v: lost, known up to version %d: %s", l.Run, l.Known, l.Reason)
	}
	return fmt.Sprintf("run %v: version %d of %d: %s", l.Run, l.Kept, l.Known, l.Reason)
}

// Complete reports whether everything was got out, as far as anybody can tell:
// nothing of what verified says that there was more.
func (r *Report) Complete() bool {
	for i := range r.Damage {
		if r.Damage[i].Lost {
			return false
		}
	}
	return len(r.Gaps) == 0 && len(r.Losses) == 0
}
