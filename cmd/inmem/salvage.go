package main

import (
	"errors"
	"fmt"

	"inmem"
	"inmem/run"
)

// salvageCmd gets out of a damaged store what still verifies.
type salvageCmd struct {
	store
	To     string `required:"" help:"The directory for the new store: a new one, or an empty one." placeholder:"DIR"`
	Shards int    `help:"Shards of the new store; without it as many as the old one has." placeholder:"N"`
	JSON   bool   `name:"json" help:"A JSON object."`
}

// Help describes what is got out; kong shows it with --help.
func (c *salvageCmd) Help() string {
	return `Every file of the store is read by itself, also behind damage, and whatever has its checksum right goes into
a new store, which is then checked like 'inmem check' does. Each run comes out at the highest version that can
be proved. What was lost is listed; the exit code is 4 then, and the new store is there all the same. The old
store is not changed; no program may have it open.`
}

// salvaged is what came of it, for programs.
type salvaged struct {
	From     string         `json:"from"`
	To       string         `json:"to"`
	Complete bool           `json:"complete"` // nothing says that there was more
	Runs     int            `json:"runs"`     // spaces included
	Keys     int            `json:"keys"`     // the metadata of runs included
	Commits  uint64         `json:"commits"`  // in the new log
	Images   int            `json:"images"`   // runs whose state is from an image, because older commits are gone
	Shards   []shardSource  `json:"shards"`   // of the old store
	Damage   []damagedRange `json:"damage"`
	Gaps     []sequenceGap  `json:"gaps"`
	Losses   []runLoss      `json:"losses"`
}

type shardSource struct {
	Shard       int   `json:"shard"`
	Segments    int   `json:"segments"`
	Commits     int   `json:"commits"`
	Checkpoints int   `json:"checkpoints"`
	Images      int   `json:"images"`
	Damaged     int64 `json:"damaged_bytes"`
}

type damagedRange struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"` // 0 = the file as a whole
	Reason string `json:"reason"`
	Lost   bool   `json:"lost"` // something may be gone that is nowhere else
}

type sequenceGap struct {
	Shard int    `json:"shard"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

type runLoss struct {
	Run     run.ID `json:"run"`
	Kept    uint64 `json:"kept"`  // version; 0 = the run is gone
	Known   uint64 `json:"known"` // the highest version that anything is left to know by
	From    uint64 `json:"from"`  // the version its history begins with; 0 = it has none
	Deleted bool   `json:"deleted"`
	Reason  string `json:"reason"`
}

func (c *salvageCmd) Run(a *app) error {
	if err := c.named(); err != nil {
		return err
	}
	reading := a.begin("salvaging "+c.Dir, -1, false)
	got, err := inmem.Salvage(a.ctx, c.Dir, c.To, &inmem.Options{Shards: c.Shards})
	reading.end()
	switch {
	case got == nil && errors.Is(err, inmem.ErrInvalidOption):
		return &cliError{code: exitUsage, err: err}
	case got == nil && errors.Is(err, inmem.ErrNotDirectory):
		return &cliError{code: exitFailed, err: err, hint: "give directories with --dir and --to"}
	case got == nil:
		return err
	}
	if c.JSON {
		if jsonErr := a.json(c.salvaged(got, err)); jsonErr != nil {
			return errors.Join(err, jsonErr)
		}
	} else {
		c.print(a, got, err)
	}
	if err == nil && !got.Complete() {
		return &cliError{code: exitDamaged} // everything was said already
	}
	return err
}

func (c *salvageCmd) salvaged(got *inmem.Salvaged, err error) *salvaged {
	s := &salvaged{
		From: c.Dir, To: c.To, Complete: got.Complete() && err == nil,
		Runs: got.Runs, Keys: got.Keys, Commits: got.Commits, Images: got.Images,
		Shards: []shardSource{}, Damage: []damagedRange{}, Gaps: []sequenceGap{}, Losses: []runLoss{},
	}
	for _, sh := range got.Shards {
		s.Shards = append(s.Shards, shardSource{sh.Number, sh.Segments, sh.Commits, sh.Checkpoints, sh.Images, sh.Damaged})
	}
	for _, d := range got.Damage {
		s.Damage = append(s.Damage, damagedRange(d))
	}
	for _, g := range got.Gaps {
		s.Gaps = append(s.Gaps, sequenceGap(g))
	}
	for _, l := range got.Losses {
		s.Losses = append(s.Losses, runLoss(l))
	}
	return s
}

// print shows what was found, and what came of it unless there was nothing.
func (c *salvageCmd) print(a *app, got *inmem.Salvaged, err error) {
	t := newTable("SHARD", ">SEGMENTS", ">COMMITS", ">CHECKPOINTS", ">IMAGES", ">DAMAGED")
	for _, sh := range got.Shards {
		damaged := cell{text: bytesText(sh.Damaged)}
		if sh.Damaged > 0 {
			damaged.paint = a.style.yellow
		}
		t.row(sh.Number, count(sh.Segments), count(sh.Commits), count(sh.Checkpoints), count(sh.Images), damaged)
	}
	t.print(a)
	a.printf("\n")
	printSome(a, got.Damage, func(d inmem.SalvageDamage) string {
		if d.Lost {
			return a.style.red("damaged:") + " " + d.String()
		}
		return a.style.yellow("damaged:") + " " + d.String() + " (nothing is lost by that)"
	})
	printSome(a, got.Gaps, func(g inmem.SalvageGap) string { return a.style.red("lost:") + " " + g.String() })
	printSome(a, got.Losses, func(l inmem.SalvageLoss) string { return a.style.red("lost:") + " " + l.String() })
	if len(got.Damage)+len(got.Gaps)+len(got.Losses) > 0 {
		a.printf("\n")
	}
	if err != nil {
		return // which says that there is no new store
	}
	a.printf("%s has %s with %s and %s, spaces and metadata included, and is sound\n", a.style.bold(c.To),
		plural(got.Runs, "run"), plural(got.Keys, "key"), plural(got.Commits, "commit"))
	if got.Images > 0 {
		a.printf("The state of %s is from an image: older commits are gone.\n", plural(got.Images, "run"))
	}
	if got.Complete() {
		a.printf("%s nothing says that there was more\n", a.style.green("complete:"))
	} else {
		a.printf("%s what is listed above is gone\n", a.style.yellow("incomplete:"))
	}
}

// printSome prints as many lines as anybody reads.
func printSome[T any](a *app, list []T, line func(T) string) {
	const most = 50
	for i, v := range list {
		if i == most {
			a.printf("%s\n", a.style.dim(fmt.Sprintf("… and %s more; --json has all", count(len(list)-most))))
			return
		}
		a.printf("%s\n", line(v))
	}
}
