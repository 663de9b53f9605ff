package state

import "inmem/op"

// WriteOption changes how a cell is written.
type WriteOption struct {
	durability op.Durability
	machine    *Machine
}

// Durability lets this commit be acknowledged by another mode than the
// store's: op.ErrInvalidOption where there is no such mode. A commit never gets
// less than those that go to the log with it.
func Durability(d op.Durability) WriteOption { return WriteOption{durability: d} }

// Declare gives the cell that Init makes a machine, for as long as it lives.
func Declare(m Machine) WriteOption { return WriteOption{machine: &m} }

func gather(opts []WriteOption) (o WriteOption, err error) {
	for _, next := range opts {
		if o.durability, err = o.durability.Choose(next.durability); err != nil {
			return o, err
		}
		if next.machine != nil {
			o.machine = next.machine
		}
	}
	return o, nil
}
