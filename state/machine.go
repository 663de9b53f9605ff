package state

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"inmem/op"
)

// The bounds of a machine.
const (
	MaxStates = 256
)

// Machine says which states a cell may have, and which may follow which.
type Machine struct {
	Initial string
	// Transitions holds for each state those that may follow it. A state that is
	// only ever followed to is a final one. A cell may always keep its state and
	// change its data.
	Transitions map[string][]string
}

// Validate reports what is wrong with m, as an ErrInvalidMachine.
func (m *Machine) Validate() error {
	states := map[string]bool{m.Initial: true}
	for from, next := range m.Transitions {
		states[from] = true
		for i, to := range next {
			states[to] = true
			if slices.Contains(next[:i], to) {
				return fmt.Errorf("%w: %q follows %q twice", ErrInvalidMachine, to, from)
			}
		}
	}
	for s := range states {
		if err := checkName(s); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidMachine, err)
		}
	}
	if len(states) > MaxStates {
		return fmt.Errorf("%w: %d states, the limit is %d", ErrInvalidMachine, len(states), MaxStates)
	}
	if _, ok := m.Transitions[m.Initial]; !ok && len(m.Transitions) > 0 {
		return fmt.Errorf("%w: nothing follows the initial state %q", ErrInvalidMachine, m.Initial)
	}
	return nil
}

// States returns the names of all states, in order.
func (m *Machine) States() []string {
	states := map[string]bool{m.Initial: true}
	for from, next := range m.Transitions {
		states[from] = true
		for _, to := range next {
			states[to] = true
		}
	}
	return slices.Sorted(maps.Keys(states))
}

func (m *Machine) allows(from, to string) bool {
	return from == to || slices.Contains(m.Transitions[from], to)
}

// Machine returns the machine that was declared for a cell, or op.ErrNotFound.
func (s Store) Machine(ctx context.Context, name string) (*Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := s.run.Get(op.StateMachine, machinePrefix+name)
	if err != nil {
		return nil, err
	}
	return decodeMachine(it.Value)
}
