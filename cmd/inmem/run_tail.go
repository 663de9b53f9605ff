package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"inmem"
	"inmem/run"
)

// runTailCmd prints the end of a run's history.
type runTailCmd struct {
	store
	ID     string `arg:"" optional:"" help:"The run's ID, or the beginning of it."`
	Follow bool   `short:"f" help:"Go on with the commits to come, until the run is deleted or the command interrupted."`
	Last   uint64 `short:"n" help:"Begin with the last so many commits; ${default} by default." default:"10" placeholder:"N"`
	All    bool   `help:"With --follow: the commits to come of all runs and spaces, those that begin in the meantime too."`
	JSON   bool   `name:"json" help:"A JSON object for each commit."`
}

// Help says what follows; kong shows it with --help.
func (c *runTailCmd) Help() string {
	return `The store may be open in another process: like everything that only reads, the command takes no lock. With
--follow it looks for new commits several times a second. An interrupt (Ctrl-C) ends it with exit code 0.`
}

// refreshEvery is how often a store that is followed is looked at.
const refreshEvery = 150 * time.Millisecond

func (c *runTailCmd) Run(a *app) error {
	switch {
	case c.All && (c.ID != "" || !c.Follow):
		return usage("", "--all goes with --follow, and without a run")
	case !c.All && c.ID == "":
		return usage("'inmem run ls' lists the runs; --all --follow follows all of them", "which run?")
	}
	return c.read(a, func(db *inmem.DB) error {
		if c.All {
			return c.followAll(a, db)
		}
		r, err := findRun(a, db, c.ID)
		if err != nil {
			return err
		}
		info, err := r.Info()
		if err != nil {
			return err
		}
		from := uint64(1)
		if info.LastVersion > c.Last {
			from = info.LastVersion - c.Last + 1
		}
		if c.Follow {
			return c.follow(a, db, r, from)
		}
		for commit, err := range r.History(a.ctx, from) {
			if err == nil {
				err = c.print(a, commit)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// follow prints commits as they come.
func (c *runTailCmd) follow(a *app, db *inmem.DB, r *inmem.Run, from uint64) error {
	return following(a, db, func(ctx context.Context) error {
		for commit, err := range r.Watch(ctx, from) {
			if errors.Is(err, inmem.ErrRunDeleted) {
				return nil // its last commit has said so
			}
			if err == nil {
				err = c.printNow(a, commit)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// followAll prints the commits of all runs as they come.
func (c *runTailCmd) followAll(a *app, db *inmem.DB) error {
	from := db.Latest()
	a.say("following all runs of %s", db.DataDir())
	return following(a, db, func(ctx context.Context) error {
		for change, err := range db.Watch(ctx, run.Filter{Spaces: true}, from) {
			if err == nil {
				err = c.printNow(a, change.Commit)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// following calls watch while the store is kept up to date. An interrupt is how
// it ends, and no error.
func following(a *app, db *inmem.DB, watch func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(a.ctx)
	var refresher sync.WaitGroup
	refresher.Go(func() { stop(keepFresh(ctx, db)) })
	err := watch(ctx)
	cause := context.Cause(ctx) // of the end, where it came from without
	stop(nil)
	refresher.Wait()
	switch {
	case err != nil && a.ctx.Err() != nil:
		return nil
	case err != nil && cause != nil:
		return cause
	}
	return err
}

// keepFresh keeps a store that is open for reading up to date, until it cannot
// or ctx ends.
func keepFresh(ctx context.Context, db *inmem.DB) error {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := db.Refresh(ctx); err != nil {
				return err
			}
		}
	}
}

// printNow prints a commit that is to be seen at once.
func (c *runTailCmd) printNow(a *app, commit *inmem.Commit) error {
	if err := c.print(a, commit); err != nil {
		return err
	}
	return a.out.Flush()
}

// jsonRunCommit is a commit of one of several runs, for programs.
type jsonRunCommit struct {
	Run run.ID `json:"run"`
	jsonCommit
}

// print prints a commit: a line for each operation that says something.
func (c *runTailCmd) print(a *app, commit *inmem.Commit) error {
	if c.JSON {
		j := jsonCommit{commit.Version, isoTime(commit.Time), jsonOps(commit)}
		if c.All {
			return a.json(jsonRunCommit{commit.Run, j})
		}
		return a.json(j)
	}
	at, version, id := timeText(commit.Time, milliLayout), "v"+count(commit.Version), ""
	if c.All {
		id = commit.Run.String() + "  "
	}
	lead := a.style.dim(at) + "  " + id + a.style.green(version)
	for i := range commit.Ops {
		o := &commit.Ops[i]
		if m := meaningOf(commit, o); m.hidden {
			continue
		}
		a.printf("%s  %s\n", lead, opText(a.style, commit, o))
		lead = strings.Repeat(" ", len(at)+2+len(id)+len(version))
	}
	return nil
}
