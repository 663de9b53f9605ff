package state_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"inmem"
	"inmem/run"
	"inmem/state"
	"inmem/vfs"
)

// exampleCells returns the state cells of a new run in a store in memory.
func exampleCells() (state.Store, func() error) {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	r, err := db.BeginRun(context.Background(), run.Meta{Name: "example"})
	if err != nil {
		log.Fatal(err)
	}
	return r.State(), db.Close
}

func ExampleDeclare() {
	cells, done := exampleCells()
	defer done()
	ctx := context.Background()
	ticket := state.Machine{Initial: "open", Transitions: map[string][]string{
		"open":    {"waiting", "closed"},
		"waiting": {"open"},
	}}
	if _, err := cells.Init(ctx, "ticket", state.Value{}, state.Declare(ticket)); err != nil {
		log.Fatal(err)
	}
	to := func(next string) func(state.Cell) (state.Value, error) {
		return func(state.Cell) (state.Value, error) { return state.Value{State: next}, nil }
	}
	cell, err := cells.Transition(ctx, "ticket", to("waiting"))
	fmt.Println(cell.State, err)
	_, err = cells.Transition(ctx, "ticket", to("closed"))
	var refused *state.TransitionError
	fmt.Println(errors.As(err, &refused), refused.From, refused.To, refused.Allowed)

	for c, err := range cells.History(ctx, "ticket") {
		fmt.Println(c.Version, c.State, err)
	}
	// Output:
	// waiting <nil>
	// true waiting closed [open]
	// 2 open <nil>
	// 3 waiting <nil>
}

func ExampleStore_CompareAndSet() {
	cells, done := exampleCells()
	defer done()
	ctx := context.Background()
	cell, err := cells.Init(ctx, "budget", state.Value{Data: []byte("100")})
	if err != nil {
		log.Fatal(err)
	}
	_, err = cells.Init(ctx, "budget", state.Value{})
	fmt.Println(errors.Is(err, state.ErrExists))
	next, err := cells.CompareAndSet(ctx, "budget", cell.Version, state.Value{Data: []byte("90")})
	fmt.Println(string(next.Data), err)
	_, err = cells.CompareAndSet(ctx, "budget", cell.Version, state.Value{Data: []byte("80")})
	fmt.Println(errors.Is(err, inmem.ErrWrongVersion))
	// Output:
	// true
	// 90 <nil>
	// true
}
