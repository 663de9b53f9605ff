// Approval is an agent that waits for a human, longer than its process lives.
//
// The agent prepares a refund, waits for the approval, and pays. The store is
// closed while it waits: days may pass. The approval is sent to the run by
// somebody who knows nothing of the agent, and the agent goes on where it was,
// in another life of the store:
//
//	go run ./examples/approval
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"inmem"
	"inmem/run"
	"inmem/trace"
)

func main() {
	dir, err := os.MkdirTemp("", "inmem-approval-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = tour(os.Stdout, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type approval struct {
	By string `json:"by"`
	OK bool   `json:"ok"`
}

func register(w io.Writer, a *inmem.Agents) {
	a.Register("refund", func(ctx context.Context, r *inmem.Run, input json.RawMessage) (any, error) {
		amount, err := inmem.Do(ctx, r, "prepare", input, func(context.Context) (string, error) {
			fmt.Fprintln(w, "agent: prepares the refund")
			return "59.70", nil
		}, inmem.As(trace.ToolCall))
		if err != nil {
			return nil, err
		}
		said, err := inmem.Await[approval](ctx, r, "approval", inmem.Timeout(7*24*time.Hour))
		if errors.Is(err, inmem.ErrTimeout) {
			return "nobody answered", nil
		}
		if err != nil {
			return nil, err
		}
		if !said.OK {
			return "refused by " + said.By, nil
		}
		return inmem.Do(ctx, r, "pay", amount, func(context.Context) (string, error) {
			fmt.Fprintln(w, "agent: pays", amount)
			return amount + " paid, approved by " + said.By, nil
		}, inmem.As(trace.ToolCall))
	})
}

// tour lives through three lives of the store.
func tour(w io.Writer, dir string) error {
	ctx := context.Background()
	db, err := inmem.Open(dir, nil)
	if err != nil {
		return err
	}
	register(w, db.Agents())
	r, err := db.Agents().Start(ctx, "refund", run.Meta{Name: "refund 42"}, map[string]int{"invoice": 42})
	if err != nil {
		return err
	}
	for _, err := range r.Watch(ctx, 3) { // until it has recorded that it waits
		if err != nil {
			return err
		}
		break
	}
	if err := db.Close(); err != nil {
		return err
	}
	fmt.Fprintln(w, "the store is closed, the agent waits")

	if db, err = inmem.Open(dir, nil); err != nil {
		return err
	}
	orphans := db.Recovery().Orphans
	human, err := db.Run(orphans[0])
	if err != nil {
		return err
	}
	if _, err := human.Signal(ctx, "approval", approval{By: "Kim", OK: true}); err != nil {
		return err
	}
	fmt.Fprintln(w, "human: approves; no agent is there")
	if err := db.Close(); err != nil {
		return err
	}

	if db, err = inmem.Open(dir, nil); err != nil {
		return err
	}
	register(w, db.Agents())
	if _, err := db.Agents().Resume(ctx); err != nil {
		return err
	}
	if r, err = db.Run(orphans[0]); err != nil {
		return err
	}
	result, err := inmem.Result[string](ctx, r)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "result:", result)
	return db.Close()
}
