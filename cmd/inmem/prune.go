package main

import (
	"fmt"
	"time"

	"inmem"
	"inmem/retention"
	"inmem/run"
)

// pruneCmd removes what is not to be kept.
type pruneCmd struct {
	store
	DryRun   bool              `help:"Say what would be removed, and how much of the disk that would give back. Changes nothing."`
	History  string            `help:"How much of each run's history is kept: all, none, or the last N versions. A run's own setting goes before it." default:"all" placeholder:"N"`
	EndedFor age               `help:"Remove runs that ended so long ago, such as 12h or 30d." placeholder:"TIME"`
	KeepLast *int              `help:"Of the runs that have ended, keep the N that ended last." placeholder:"N"`
	Tenant   string            `help:"Only runs of this tenant." placeholder:"NAME"`
	App      string            `help:"Only runs of this app." placeholder:"NAME"`
	Agent    string            `help:"Only runs of this agent." placeholder:"NAME"`
	Tag      map[string]string `help:"Only runs with this tag; may be repeated." placeholder:"KEY=VALUE" mapsep:"none"`
	JSON     bool              `name:"json" help:"A JSON object."`
}

// Help describes what is removed; kong shows it with --help.
func (c *pruneCmd) Help() string {
	return `Without options that is what deleted runs, and runs that were set to keep less history, have left behind.
Active and paused runs, spaces, runs with the tag ` + inmem.TagKeep + `, and children of runs that have not ended are never
removed. What is removed does not come back: try it with --dry-run.`
}

// age is a duration on the command line, with days.
type age struct{ time.Duration }

// UnmarshalText reads a duration such as 90m or 7d.
func (g *age) UnmarshalText(b []byte) (err error) {
	if g.Duration, err = parseAgo(string(b)); err != nil {
		return fmt.Errorf("%q is no time: use such as 90m, 12h or 7d", b)
	}
	return nil
}

// retention is what the options say.
func (c *pruneCmd) retention() (*inmem.Retention, error) {
	keep, err := retention.Parse(c.History)
	if err != nil {
		return nil, usage("give all, none, or a number of versions", "--history: %w", err)
	}
	limits := inmem.RetentionLimits{History: keep, EndedFor: c.EndedFor.Duration}
	if c.KeepLast != nil {
		switch n := *c.KeepLast; {
		case n < 0:
			return nil, usage("", "--keep-last %d is negative", n)
		case n == 0:
			limits.EndedRuns = -1
		default:
			limits.EndedRuns = n
		}
	}
	ns := run.Namespace{Tenant: c.Tenant, App: c.App, Agent: c.Agent}
	if ns == (run.Namespace{}) && len(c.Tag) == 0 {
		return &inmem.Retention{Limits: limits}, nil
	}
	return &inmem.Retention{Rules: []inmem.RetentionRule{{Namespace: ns, Tags: c.Tag, Limits: limits}}}, nil
}

func (c *pruneCmd) Run(a *app) error {
	policy, err := c.retention()
	if err != nil {
		return err
	}
	with := c.write
	if c.DryRun {
		with = c.read
	}
	return with(a, func(db *inmem.DB) error {
		report, err := db.Prune(a.ctx, &inmem.PruneOptions{DryRun: c.DryRun, Retention: policy})
		if err != nil {
			return err
		}
		p := &prunedText{PruneReport: report, dry: c.DryRun}
		if c.JSON {
			return a.json(p.forPrograms())
		}
		p.print(a)
		return nil
	})
}

// compactCmd makes the files of a store as small as they can be.
type compactCmd struct {
	store
	Zstd bool `help:"Compress what is not written to any more."`
	JSON bool `name:"json" help:"A JSON object."`
}

// Help describes it; kong shows it with --help.
func (c *compactCmd) Help() string {
	return `Gives back all that deleted runs, and history that is not kept, have left in the files: also where it is
less than half of one, which 'inmem prune' and the background leave alone. Nothing that can be read is removed.`
}

func (c *compactCmd) Run(a *app) error {
	if err := c.exists(); err != nil {
		return err
	}
	opts := &inmem.Options{PruneInterval: -1}
	if c.Zstd {
		opts.Compression = inmem.Zstd
	}
	return c.with(a, inmem.Open, opts, func(db *inmem.DB) error {
		report, err := db.Prune(a.ctx, &inmem.PruneOptions{Everything: true})
		if err != nil {
			return err
		}
		p := &prunedText{PruneReport: report}
		if c.JSON {
			return a.json(p.forPrograms())
		}
		p.print(a)
		return nil
	})
}

// prunedText is what was removed, for people.
type prunedText struct {
	*inmem.PruneReport
	dry bool
}

// prunedJSON is what was removed, for programs. Sizes are in bytes.
type prunedJSON struct {
	DryRun     bool     `json:"dry_run"`
	Runs       []run.ID `json:"runs"`
	LogBytes   int64    `json:"log_bytes"`
	LogDead    int64    `json:"log_dead_bytes"`
	LogFreed   int64    `json:"log_freed_bytes"`
	Removed    int      `json:"segments_removed"`
	Compacted  int      `json:"segments_compacted"`
	ImageBytes int64    `json:"checkpoint_bytes"`
	ImageDead  int64    `json:"checkpoint_dead_bytes"`
}

func (p *prunedText) forPrograms() *prunedJSON {
	return &prunedJSON{
		DryRun: p.dry, Runs: append([]run.ID{}, p.Runs...), LogBytes: p.LogBytes, LogDead: p.LogDead, LogFreed: p.LogFreed,
		Removed: p.SegmentsRemoved, Compacted: p.SegmentsCompacted, ImageBytes: p.ImageBytes, ImageDead: p.ImageDead,
	}
}

func (p *prunedText) print(a *app) {
	t := newTable("", "")
	field := func(name string, value any) { t.row(cell{name, a.style.dim}, value) }
	removed, freed := "removed", "given back"
	if p.dry {
		removed, freed = "would go", "would be given back"
	}
	field("runs "+removed, count(len(p.Runs)))
	field("log", fmt.Sprintf("%s, of which %s are not kept", bytesText(p.LogBytes), bytesText(p.LogDead)))
	field(freed, fmt.Sprintf("%s of it, about: %s removed, %d compacted", bytesText(max(p.LogFreed, 0)), plural(p.SegmentsRemoved, "segment"), p.SegmentsCompacted))
	field("checkpoints", fmt.Sprintf("%s, of which %s are not needed", bytesText(p.ImageBytes), bytesText(p.ImageDead)))
	t.print(a)
	for i, id := range p.Runs {
		if i == 20 {
			a.printf("  … and %s more\n", count(len(p.Runs)-i))
			break
		}
		a.printf("  %v\n", id)
	}
}
