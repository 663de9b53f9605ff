package main

import (
	"errors"
	"fmt"
	"strings"

	"inmem"
)

// replayCmd carries the commits of a run out again, on a state of their own.
type replayCmd struct {
	store
	ID     string `arg:"" help:"The run's ID, or the beginning of it."`
	From   uint64 `help:"Print from this version on." placeholder:"N"`
	To     uint64 `help:"Stop at this version." placeholder:"N"`
	Verify bool   `help:"Print nothing of it, but hold the run that comes out against what the store has."`
	Every  uint64 `help:"With --verify: at each K-th version too." placeholder:"K"`
	JSON   bool   `name:"json" help:"Each commit as a JSON object, and the run that comes out as one more; with --verify one object."`
}

// Help tells a replay from what is not one; kong shows it with --help.
func (c *replayCmd) Help() string {
	return `A replay reads the run's commits from the log, in order, and does to an empty run what each of them
did. It calls no agent, model or tool, and changes nothing; the store may be open in another program. The last line
has the digest of the run at the last version.

With --verify the digest is held against that of the store's live run, of the run's image in the checkpoint, and,
with --every K, of the run as 'inmem replay --to' each K-th version has it. Exit code 4: they differ.`
}

// replayed is the run that came out.
type replayed struct {
	Run     string `json:"run"`
	Version uint64 `json:"version"`
	Time    string `json:"time"`
	Status  string `json:"status"`
	Digest  string `json:"digest"`
}

// verified is what a replay was held against.
type verified struct {
	Run      string `json:"run"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Commits  uint64 `json:"commits"`
	Compared int    `json:"compared"`        // versions
	Image    uint64 `json:"image,omitempty"` // version of the image in the checkpoint
	Digest   string `json:"digest"`
}

func (c *replayCmd) Run(a *app) error {
	switch {
	case c.Verify && c.From+c.To > 0:
		return usage("", "--verify replays the whole run: leave out --from and --to")
	case c.Every > 0 && !c.Verify:
		return usage("", "--every goes with --verify")
	case c.To > 0 && c.To < c.From:
		return usage("", "--to %d is before --from %d", c.To, c.From)
	}
	return c.read(a, func(db *inmem.DB) error {
		r, err := findRun(a, db, c.ID)
		if err != nil {
			return err
		}
		if c.Verify {
			return c.verify(a, db, r)
		}
		return c.replay(a, db, r)
	})
}

func (c *replayCmd) replay(a *app, db *inmem.DB, r *inmem.Run) error {
	if !c.JSON {
		a.printf("%s\n", a.style.dim("VERSION  TIME                     CHANGE"))
	}
	var last *inmem.Replayed
	for rp, err := range db.Replay(a.ctx, r.ID(), &inmem.ReplayOptions{From: c.From, To: c.To}) {
		if err != nil {
			return err
		}
		if err := c.print(a, rp.Commit); err != nil {
			return err
		}
		last = rp
	}
	return c.end(a, r, last)
}

func (c *replayCmd) print(a *app, commit *inmem.Commit) error {
	if c.JSON {
		return a.json(jsonCommit{commit.Version, isoTime(commit.Time), jsonOps(commit)})
	}
	printCommit(a, commit)
	return nil
}

// printCommit prints a row for a commit, and one more for each further operation
// in it.
func printCommit(a *app, commit *inmem.Commit) {
	for i := range commit.Ops {
		version, at := count(commit.Version), timeText(commit.Time, milliLayout)
		if i > 0 {
			version, at = "", strings.Repeat(" ", len(milliLayout))
		}
		a.printf("%7s  %s  %s\n", version, at, opText(a.style, commit, &commit.Ops[i]))
	}
}

// end prints the run that came out.
func (c *replayCmd) end(a *app, r *inmem.Run, rp *inmem.Replayed) error {
	last, err := rp.Past(a.ctx)
	if err != nil {
		return err
	}
	info, err := last.Info()
	if err != nil {
		return err
	}
	out := replayed{
		Run: r.ID().String(), Version: last.Version(), Time: isoTime(last.Time().UnixMilli()),
		Status: statusText(info), Digest: last.Digest().String(),
	}
	if c.JSON {
		return a.json(out)
	}
	a.printf("\nversion %s, %s, digest %s\n", count(out.Version), out.Status, out.Digest)
	return nil
}

func (c *replayCmd) verify(a *app, db *inmem.DB, r *inmem.Run) error {
	found, err := db.Verify(a.ctx, r.ID(), c.Every)
	if errors.Is(err, inmem.ErrNotReproduced) {
		return &cliError{code: exitDamaged, err: err, hint: "nothing was changed. 'inmem check' reads the whole store"}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(verified{
			Run: found.ID.String(), First: found.First, Last: found.Last, Commits: found.Commits,
			Compared: found.Compared, Image: found.Image, Digest: found.Digest.String(),
		})
	}
	with := "the live run"
	if found.Image > 0 {
		with += fmt.Sprintf(", the image of version %s", count(found.Image))
	}
	a.printf("%s %s, versions %s to %s, give digest %s\n", a.style.green("reproduced:"), plural(found.Commits, "commit"),
		count(found.First), count(found.Last), found.Digest)
	a.printf("compared at %s, with %s\n", plural(found.Compared, "version"), with)
	return nil
}
