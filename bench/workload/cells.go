package workload

import (
	"context"
	"errors"
	"fmt"

	"inmem/bench/measure"
	"inmem/bench/store"
)

// Cell is something that many callers do to a store for a while.
type Cell struct {
	Name    string      `json:"name"`           // what is done
	Class   store.Class `json:"class"`          // what a write waits for
	Callers int         `json:"callers"`        // at once
	Rate    int         `json:"rate,omitempty"` // operations a second; 0: as fast as they can
	Quick   bool        `json:"-"`              // also in a short run
}

// The names of cells, and so of what they do.
const (
	Put         = "put"
	Get         = "get"
	Miss        = "miss"
	Mostly      = "95/5"
	Half        = "50/50"
	Scan        = "scan of 100"
	Transaction = "transaction 2r+2w"
	Agents      = "agents"
)

// ID names the cell in flags, progress and results.
func (c Cell) ID() string {
	rate := ""
	if c.Rate > 0 {
		rate = fmt.Sprintf(" at %d/s", c.Rate)
	}
	return fmt.Sprintf("%s %s%s, %d", c.Name, c.Class, rate, c.Callers)
}

// On says whether the cell is for stores of a class. What is not durable does
// what Batched stores do.
func (c Cell) On(class store.Class) bool {
	return c.Class == class || class == store.Volatile && c.Class == store.Batched
}

// Unit is what is counted.
func (c Cell) Unit() string {
	if c.Name == Agents {
		return "turns/s"
	}
	return "operations/s"
}

// Cells returns all of them, in the order in which they are done: those that
// only read come first, while nothing that was written keeps the background
// busy.
func Cells() []Cell {
	var list []Cell
	add := func(name string, class store.Class, rate int, quick int, callers ...int) {
		for _, n := range callers {
			list = append(list, Cell{Name: name, Class: class, Callers: n, Rate: rate, Quick: n == quick})
		}
	}
	const none = -1
	add(Get, store.Batched, 0, 16, 1, 2, 16, 256)
	add(Miss, store.Batched, 0, none, 1, 2, 16, 256)
	add(Scan, store.Batched, 0, 16, 1, 16)
	add(Get, store.Batched, 50_000, none, 16)
	add("YCSB C", store.Batched, 0, none, 16)
	add(Put, store.Batched, 0, 16, 1, 16, 256)
	add(Mostly, store.Batched, 0, none, 16)
	add(Half, store.Batched, 0, 16, 16, 256)
	add(Transaction, store.Batched, 0, 16, 16)
	add(Put, store.Batched, 20_000, 16, 16)
	add(Half, store.Batched, 20_000, none, 16)
	for _, letter := range []string{"A", "B", "D", "E", "F"} {
		add("YCSB "+letter, store.Batched, 0, none, 16)
	}
	add(Agents, store.Batched, 0, AgentRuns, AgentRuns)
	add(Put, store.Strict, 0, 16, 1, 16, 256)
	add(Transaction, store.Strict, 0, none, 16)
	add(Put, store.Strict, 2_000, none, 16)
	return list
}

// Run does the cell to a store that holds the data set. It returns
// errors.ErrUnsupported where the store cannot do what is asked.
func (c Cell) Run(ctx context.Context, plan measure.Plan, d *Data, st store.Store, agents *Transcripts, seed uint64) (*measure.Result, error) {
	if c.Name == Agents {
		return d.agents(ctx, plan, st, agents)
	}
	bind := actions[c.Name]
	if bind == nil {
		return nil, fmt.Errorf("no cell is called %q", c.Name)
	}
	do, err := bind(d, st)
	if err != nil {
		return nil, err
	}
	ops := make([]measure.Op, c.Callers)
	for i := range ops {
		rng := newRand(seed, i)
		ops[i] = func() error { return do(rng) }
	}
	plan.Rate = c.Rate
	return measure.Run(ctx, plan, ops)
}

// errUnsupported says what a store lacks.
func errUnsupported(what string) error { return fmt.Errorf("%s: %w", what, errors.ErrUnsupported) }
