package main

import (
	"strings"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vector/indexfile"
)

// statCmd shows what is in a store and on disk.
type statCmd struct {
	store
	JSON bool `name:"json" help:"A JSON object."`
}

// storeStat is what stat knows. Sizes are in bytes.
type storeStat struct {
	Dir         string         `json:"dir"`
	Holder      string         `json:"holder"`     // who has the store open; "" = nobody
	Crashed     bool           `json:"crashed"`    // whoever had it open last did not end it well
	Verdict     string         `json:"verdict"`    // recovery's, in its own word, or heldOpen
	Replayed    uint64         `json:"replayed"`   // commits
	TornBytes   int64          `json:"torn_bytes"` // at the ends of logs, not a whole write
	Runs        map[string]int `json:"runs"`       // by status
	Spaces      int            `json:"spaces"`
	Keys        int64          `json:"keys"`         // the metadata of runs included
	Cold        int64          `json:"cold_runs"`    // runs that stay on disk until they are used
	Memory      int64          `json:"memory_bytes"` // that the store takes when it has been opened
	LogBytes    int64          `json:"log_bytes"`
	Segments    int            `json:"segments"`
	ImageBytes  int64          `json:"checkpoint_bytes"`
	Checkpoints int            `json:"checkpoints"`
	IndexBytes  int64          `json:"index_bytes"` // of collections of vectors: derived, and not part of a backup
	Indexes     int            `json:"indexes"`
	Dead        *deadStat      `json:"dead"`    // null: the log could not be looked through
	Orphans     []run.ID       `json:"orphans"` // active, begun by a process that is gone
	Shards      []shardStat    `json:"shards"`

	orphans []*run.Info
}

// deadStat is what nothing needs of the files, in bytes.
type deadStat struct {
	Log        int64 `json:"log_bytes"`        // of deleted runs, and history that is not kept
	Prunable   int64 `json:"prunable_bytes"`   // what 'inmem prune' would give back of that, about
	Checkpoint int64 `json:"checkpoint_bytes"` // images of what changed since
}

// heldOpen is the verdict over a store that somebody has open: the end of its
// log says nothing.
const heldOpen = "open"

// shardStat is a shard's part.
type shardStat struct {
	Runs        int64  `json:"runs"`
	Keys        int64  `json:"keys"`
	Sequence    uint64 `json:"sequence"`
	Replayed    uint64 `json:"replayed"`
	LogBytes    int64  `json:"log_bytes"`
	Segments    int    `json:"segments"`
	ImageBytes  int64  `json:"checkpoint_bytes"`
	Checkpoints int    `json:"checkpoints"`
	Verdict     string `json:"verdict"`
}

func (c *statCmd) Run(a *app) error {
	return c.read(a, func(db *inmem.DB) error {
		s, err := gatherStat(a, db)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.json(s)
		}
		s.print(a)
		return nil
	})
}

func gatherStat(a *app, db *inmem.DB) (*storeStat, error) {
	report := db.Recovery()
	s := &storeStat{
		Dir: db.DataDir(), Holder: report.Holder,
		Crashed: report.Holder == "" && report.Verdict != recovery.Clean, Verdict: verdict(report, report.Verdict),
		Runs: map[string]int{}, Orphans: []run.ID{},
	}
	for info, err := range db.Runs(a.ctx, run.Filter{Spaces: true}) {
		if err != nil {
			return nil, err
		}
		if info.Space {
			s.Spaces++
		} else {
			s.Runs[info.Status.String()]++
		}
	}
	for i, m := range db.Metrics().Shards {
		r := report.Shards[i]
		s.Shards = append(s.Shards, shardStat{Runs: m.Runs, Keys: m.Keys, Sequence: r.Sequence, Replayed: r.Commits, Verdict: verdict(report, r.Verdict)})
		s.Keys += m.Keys
		s.Cold += m.ColdRuns
		s.Memory += m.Bytes
		s.Replayed += r.Commits
		s.TornBytes += r.TornBytes
	}
	s.measure()
	if report, err := db.Prune(a.ctx, &inmem.PruneOptions{DryRun: true}); err == nil {
		s.Dead = &deadStat{Log: report.LogDead, Prunable: report.LogFreed, Checkpoint: report.ImageDead}
	} // else it is for check to say what is wrong
	for _, id := range report.Orphans {
		r, err := db.Run(id)
		if err != nil {
			return nil, err
		}
		info, err := r.Info()
		if err != nil {
			return nil, err
		}
		s.Orphans = append(s.Orphans, id)
		s.orphans = append(s.orphans, info)
	}
	return s, nil
}

func verdict(report *inmem.RecoveryReport, found recovery.Verdict) string {
	if report.Holder != "" {
		return heldOpen
	}
	return string(found)
}

// measure adds up the files.
func (s *storeStat) measure() {
	for _, f := range filesOf(indexfile.Dir(s.Dir)) {
		if f.kind == "index" {
			s.IndexBytes += f.size
			s.Indexes++
		}
	}
	for i := range s.Shards {
		sh := &s.Shards[i]
		for _, f := range filesOf(recovery.Dir(s.Dir, i)) {
			switch f.kind {
			case "segment":
				sh.LogBytes += f.size
				sh.Segments++
			case "checkpoint":
				sh.ImageBytes += f.size
				sh.Checkpoints++
			}
		}
		s.LogBytes += sh.LogBytes
		s.Segments += sh.Segments
		s.ImageBytes += sh.ImageBytes
		s.Checkpoints += sh.Checkpoints
	}
}

func (s *storeStat) print(a *app) {
	t := newTable("", "")
	field := func(name string, value any) { t.row(cell{name, a.style.dim}, value) }
	field("store", cell{s.Dir, a.style.bold})
	if s.Holder != "" {
		field("open", cell{s.Holder + " has it open; this is what it had written", a.style.yellow})
	} else {
		field("was left", s.leftText(a.style))
	}
	field("runs", s.runsText())
	field("spaces", count(s.Spaces))
	field("keys", count(s.Keys)+", the metadata of runs included")
	field("memory", bytesText(s.Memory)+" once opened; "+plural(int(s.Cold), "run")+" on disk until used")
	field("log", bytesText(s.LogBytes)+" in "+plural(s.Segments, "segment"))
	field("checkpoints", bytesText(s.ImageBytes)+" in "+plural(s.Checkpoints, "file"))
	if s.Indexes > 0 {
		field("indexes", bytesText(s.IndexBytes)+" in "+plural(s.Indexes, "file")+", derived from vectors")
	}
	if s.Dead != nil {
		field("dead", s.deadText())
	}
	if s.Holder == "" {
		field("orphans", s.orphansText(a.style))
	}
	t.print(a)
	for _, info := range s.orphans {
		a.printf("  %v  %s  begun %s\n", info.ID, plainOr(info.Name, "-"), timeText(info.Created, timeLayout))
	}
	a.printf("\n")
	shards := newTable("SHARD", ">RUNS", ">KEYS", ">SEQUENCE", ">REPLAYED", ">LOG", ">SEGMENTS", ">CHECKPOINTS", "FOUND")
	for i, sh := range s.Shards {
		shards.row(i, count(sh.Runs), count(sh.Keys), count(sh.Sequence), count(sh.Replayed),
			bytesText(sh.LogBytes), count(sh.Segments), bytesText(sh.ImageBytes), sh.Verdict)
	}
	shards.print(a)
}

// leftText says how the store was left by whoever had it open before.
func (s *storeStat) leftText(paint style) cell {
	switch recovery.Verdict(s.Verdict) {
	case recovery.Clean:
		return cell{"clean: closed, or idle when its process ended", paint.green}
	case recovery.Torn:
		return cell{"crashed: its process died in the middle of a write; the next opening for writing cuts off " + plural(s.TornBytes, "torn byte"), paint.yellow}
	}
	return cell{"crashed: its process died; the log ends with a whole write", paint.yellow}
}

func (s *storeStat) runsText() string {
	var parts []string
	total := 0
	for status := run.Active; status.Valid(); status++ {
		if n := s.Runs[status.String()]; n > 0 {
			total += n
			parts = append(parts, count(n)+" "+status.String())
		}
	}
	if total == 0 {
		return "0"
	}
	return count(total) + ": " + strings.Join(parts, ", ")
}

func (s *storeStat) deadText() string {
	return bytesText(s.Dead.Log) + " of the log, of which a prune gives back " + bytesText(s.Dead.Prunable) + "; " +
		bytesText(s.Dead.Checkpoint) + " of the checkpoints"
}

func (s *storeStat) orphansText(paint style) cell {
	if len(s.Orphans) == 0 {
		return cell{"none", nil}
	}
	return cell{plural(len(s.Orphans), "run") + " still active, begun by a process that is gone", paint.yellow}
}
