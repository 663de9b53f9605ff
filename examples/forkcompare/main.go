// Forkcompare asks what would have happened if an agent had decided otherwise.
//
// A booking agent chooses a flight by its model, books it and pays. Its run is
// forked at the version before the choice, with another choice in place of the
// model's: the fork has all steps up to there on record and executes only what
// comes after. Then the two runs are compared:
//
//	go run ./examples/forkcompare
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"inmem"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

func main() {
	dir, err := os.MkdirTemp("", "inmem-forkcompare-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = tour(os.Stdout, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type flight struct {
	Number string `json:"number"`
	Price  int    `json:"price"`
	Stops  int    `json:"stops"`
}

var offers = []flight{{"HAT030", 512, 0}, {"HAT155", 289, 1}}

// agent is the agent function; w tells what it executes.
func agent(w io.Writer) inmem.AgentFunc {
	return func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
		found, err := inmem.Do(ctx, r, "search", "JFK SEA", func(context.Context) ([]flight, error) {
			fmt.Fprintln(w, "  searches flights")
			return offers, nil
		}, inmem.As(trace.ToolCall))
		if err != nil {
			return nil, err
		}
		chosen, err := inmem.Do(ctx, r, "choose", found, func(context.Context) (flight, error) {
			fmt.Fprintln(w, "  asks the model, which likes direct flights")
			return found[0], nil
		}, inmem.As(trace.ModelCall))
		if err != nil {
			return nil, err
		}
		return inmem.Transact(ctx, r, "book", chosen, func(ctx context.Context, tx *inmem.Tx) (string, error) {
			fmt.Fprintln(w, "  books", chosen.Number)
			data, err := json.Marshal(chosen)
			if err != nil {
				return "", err
			}
			_, err = tx.State().Init(ctx, "booking", state.Value{State: "booked", Data: data})
			return fmt.Sprintf("%s for %d", chosen.Number, chosen.Price), err
		}, inmem.As(trace.ToolCall))
	}
}

func tour(w io.Writer, dir string) error {
	ctx := context.Background()
	db, err := inmem.Open(dir, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	agents := db.Agents()
	agents.Register("booking", agent(w))

	fmt.Fprintln(w, "the run:")
	first, err := agents.Start(ctx, "booking", run.Meta{Name: "as it was"}, nil)
	if err != nil {
		return err
	}
	result, err := inmem.Result[string](ctx, first)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "  result:", result)

	before, err := versionBefore(ctx, first, "choose")
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "the fork, with the cheap flight chosen:")
	fork, err := db.Fork(ctx, first.ID(), before, run.Meta{Name: "had it been cheap"}, inmem.WithStep("choose", offers[1]))
	if err != nil {
		return err
	}
	if _, err := agents.Resume(ctx); err != nil {
		return err
	}
	if result, err = inmem.Result[string](ctx, fork); err != nil {
		return err
	}
	fmt.Fprintln(w, "  result:", result)
	return compare(ctx, w, db, first.ID(), fork.ID())
}

// versionBefore returns the version of the run right before a step was recorded.
func versionBefore(ctx context.Context, r *inmem.Run, name string) (uint64, error) {
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

// compare prints where two runs part, and what differs in the end.
func compare(ctx context.Context, w io.Writer, db *inmem.DB, a, b run.ID) error {
	d, err := db.Diff(ctx, inmem.Point{Run: a}, inmem.Point{Run: b})
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "they part at:")
	if first := d.Steps; first != nil && first.A != nil && first.B != nil {
		fmt.Fprintf(w, "  step %s: %s, not %s\n", first.A.Name, first.A.Output, first.B.Output)
	}
	fmt.Fprintln(w, "what differs:")
	for _, c := range d.Cells {
		for _, x := range c.Differences {
			fmt.Fprintf(w, "  cell %s, %s: %s, not %s\n", c.A.Name, x.Path, x.A, x.B)
		}
	}
	return nil
}
