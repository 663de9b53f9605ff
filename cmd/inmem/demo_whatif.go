package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"inmem"
	"inmem/diff"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

// replayed rebuilds the agent's run from its history.
func (d *demo) replayed(db *inmem.DB) error {
	v, err := db.Verify(d.app.ctx, d.run, 1)
	if err != nil {
		return err
	}
	return errors.Join(
		d.title("Replay: the run again, from its history alone"),
		d.print("  %s, %s compared, and nothing was executed: the digest is %s",
			plural(v.Commits, "commit"), plural(v.Compared, "version"), d.app.style.green(v.Digest.String())),
		d.pause(reading),
	)
}

// course is what a guest may be served.
type course struct {
	Dish  string `json:"dish"`
	Price int    `json:"price"`
}

// caterer is an agent in durable steps: its model chooses a menu, and it orders.
func (d *demo) caterer(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
	menu, err := inmem.Do(ctx, r, "ask for the menu", "six guests", func(context.Context) ([]course, error) {
		return []course{{"risotto", 84}, {"lasagne", 57}}, d.print("  executes  ask for the menu")
	}, inmem.As(trace.ToolCall))
	if err != nil {
		return nil, err
	}
	chosen, err := inmem.Do(ctx, r, "choose", menu, func(context.Context) (course, error) {
		return menu[0], d.print("  executes  choose: the model takes the %s", menu[0].Dish)
	}, inmem.As(trace.ModelCall))
	if err != nil {
		return nil, err
	}
	return inmem.Transact(ctx, r, "order", chosen, func(ctx context.Context, tx *inmem.Tx) (string, error) {
		data, err := json.Marshal(chosen)
		if err != nil {
			return "", err
		}
		_, err = tx.State().Init(ctx, "order", state.Value{State: "placed", Data: data})
		return chosen.Dish, errors.Join(err, d.print("  executes  order: %s", chosen.Dish))
	}, inmem.As(trace.ToolCall))
}

// whatIf lets an agent work in durable steps, forks its run before a decision,
// with another one in its place, and compares the two.
func (d *demo) whatIf(db *inmem.DB) error {
	ctx, s := d.app.ctx, d.app.style
	agents := db.Agents()
	agents.Register("caterer", d.caterer)
	if err := d.title("Fork: the same agent, had it decided otherwise"); err != nil {
		return err
	}
	first, err := agents.Start(ctx, "caterer", run.Meta{Name: "caterer"}, nil)
	if err != nil {
		return err
	}
	if _, err := inmem.Result[string](ctx, first); err != nil {
		return err
	}
	before, err := beforeStep(ctx, first, "choose")
	if err != nil {
		return err
	}
	fork, err := db.Fork(ctx, first.ID(), before, run.Meta{Name: "caterer, cheaper"}, inmem.WithStep("choose", course{"lasagne", 57}))
	if err != nil {
		return err
	}
	if err := d.print("  forked    at v%d, before %s, with %s as its result", before, s.cyan("choose"), s.cyan("lasagne")); err != nil {
		return err
	}
	if _, err := agents.Resume(ctx); err != nil {
		return err
	}
	if _, err := inmem.Result[string](ctx, fork); err != nil {
		return err
	}
	difference, err := db.Diff(ctx, inmem.Point{Run: first.ID()}, inmem.Point{Run: fork.ID()})
	if err != nil {
		return err
	}
	return errors.Join(d.showDifference(difference), d.pause(reading))
}

func (d *demo) showDifference(found *diff.Result) error {
	s := d.app.style
	err := d.title("Diff: where they part, and what became of it")
	if at := found.Steps; at != nil && at.A != nil && at.B != nil {
		err = errors.Join(err, d.print("  step      %s: %s %s %s", s.cyan(at.A.Name), s.red(string(at.A.Output)), s.dim("or"), s.green(string(at.B.Output))))
	}
	for _, c := range found.Cells {
		for _, x := range c.Differences {
			err = errors.Join(err, d.print("  cell      %s %s: %s %s %s", c.A.Name, x.Path, s.red(string(x.A)), s.dim("or"), s.green(string(x.B))))
		}
	}
	return err
}

// beforeStep returns the version before a step was recorded.
func beforeStep(ctx context.Context, r *inmem.Run, name string) (uint64, error) {
	for s, err := range r.Steps(ctx) {
		if err != nil {
			return 0, err
		}
		if s.Name == name {
			return s.Version - 1, nil
		}
	}
	return 0, fmt.Errorf("the run has no step %q", name)
}
