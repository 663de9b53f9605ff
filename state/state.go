// Package state is the face of a run for state cells: named values that change
// by deciding on what they were, and, where a machine was declared for a cell,
// only in the ways that the machine allows.
//
// It is stateless: a Store is a way of looking at a run or at a transaction,
// owns nothing and is cheap to copy. It knows no other face, no shard and no
// disk.
//
// A cell has a state, a word such as "waiting", and data, any bytes. Names of
// cells and states are 1 to MaxName bytes of UTF-8 without NUL; the state of a
// cell without a machine may be empty. Bytes that go in are copied before the
// call returns; bytes that come out belong to the caller.
package state

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"inmem/op"
	"inmem/retry"
)

// MaxName bounds the names of cells and of states, in bytes.
const MaxName = 255

// Store is the state cells of one run. Get it from Run.State.
type Store struct{ run op.Run }

// NewStore returns the state face of r.
func NewStore(r op.Run) Store { return Store{run: r} }

// Value is what a cell holds.
type Value struct {
	State string
	Data  []byte // up to the store's limit of a value, less a few bytes
}

// Cell is a cell as it was at one version.
type Cell struct {
	Name string
	Value
	// Version is that of the commit that wrote it, in its run; op.Uncommitted in
	// the transaction that did.
	Version uint64
}

// The keys of a cell: its value, and its machine if it has one.
const (
	cellPrefix    = "c"
	machinePrefix = "m"
)

// Get returns a cell, or op.ErrNotFound (inmem.ErrNotFound).
func (s Store) Get(ctx context.Context, name string) (Cell, error) {
	if err := ctx.Err(); err != nil {
		return Cell{}, err
	}
	it, err := s.run.Get(op.StateMachine, cellPrefix+name)
	if err != nil {
		return Cell{}, err
	}
	return toCell(name, it)
}

func toCell(name string, it op.Item) (Cell, error) {
	v, err := decodeValue(it.Value)
	if err != nil {
		return Cell{}, err
	}
	v.Data = bytes.Clone(v.Data)
	return Cell{Name: strings.Clone(name), Value: v, Version: it.Version}, nil
}

// Init makes a cell. With the option Declare the cell has a machine from then
// on; an empty v.State is its initial one, and any other is refused.
//
// Errors: *ExistsError where there is the cell already, ErrInvalidName,
// ErrInvalidMachine, *TransitionError, *op.SizeError, and those of kv.Store.Put.
func (s Store) Init(ctx context.Context, name string, v Value, opts ...WriteOption) (Cell, error) {
	o, err := gather(opts)
	if err != nil {
		return Cell{}, err
	}
	writes := []op.Write{{Expect: op.AtVersion(0)}}
	if m := o.machine; m != nil {
		if err := m.Validate(); err != nil {
			return Cell{}, err
		}
		if v.State == "" {
			v.State = m.Initial
		}
		if v.State != m.Initial {
			return Cell{}, &TransitionError{Cell: name, To: v.State, Allowed: []string{m.Initial}}
		}
		writes = append(writes, op.Write{Kind: op.Put, Tag: op.StateMachine, Key: machinePrefix + name, Value: m.encode()})
	}
	cell, err := s.write(ctx, name, v, writes, o)
	var wrong *op.VersionError
	if errors.As(err, &wrong) {
		return Cell{}, &ExistsError{Cell: name, Version: wrong.Actual}
	}
	return cell, err
}

// write puts a cell by the first write, after checking the value.
func (s Store) write(ctx context.Context, name string, v Value, writes []op.Write, o WriteOption) (Cell, error) {
	if err := checkName(name); err != nil {
		return Cell{}, err
	}
	if v.State != "" {
		if err := checkName(v.State); err != nil {
			return Cell{}, err
		}
	}
	b := encodeValue(v)
	if limit := s.run.Limits().MaxValue; len(b) > limit {
		return Cell{}, &op.SizeError{Err: op.ErrValueTooLarge, Size: len(b), Max: limit}
	}
	w := &writes[0]
	w.Kind, w.Tag, w.Key, w.Value = op.Put, op.StateMachine, cellPrefix+name, b
	res, err := s.run.Commit(ctx, &op.Request{Writes: writes, Durability: o.durability})
	if err != nil {
		return Cell{}, err
	}
	version := res.Version
	if version == 0 { // a transaction's
		version = op.Uncommitted
	}
	return Cell{Name: name, Value: Value{v.State, bytes.Clone(v.Data)}, Version: version}, nil
}

// CompareAndSet gives a cell another value where it is at the version. Where
// it is not: *op.VersionError; where its machine does not allow the change:
// *TransitionError; where there is no such cell: op.ErrNotFound. The other
// errors are those of Init.
func (s Store) CompareAndSet(ctx context.Context, name string, version uint64, v Value, opts ...WriteOption) (Cell, error) {
	o, err := gather(opts)
	if err != nil {
		return Cell{}, err
	}
	if o.machine != nil {
		return Cell{}, op.ErrInvalidOption // it belongs to Init
	}
	now, err := s.Get(ctx, name)
	if err != nil {
		return Cell{}, err
	}
	if now.Version != version {
		return Cell{}, &op.VersionError{Key: name, Expected: version, Actual: now.Version}
	}
	return s.change(ctx, now, v, o)
}

// change gives a cell another value, unless somebody else has done so.
func (s Store) change(ctx context.Context, now Cell, v Value, o WriteOption) (Cell, error) {
	m, err := s.Machine(ctx, now.Name)
	if err != nil && !errors.Is(err, op.ErrNotFound) {
		return Cell{}, err
	}
	if m != nil && !m.allows(now.State, v.State) {
		return Cell{}, &TransitionError{Cell: now.Name, From: now.State, To: v.State, Allowed: m.Transitions[now.State]}
	}
	return s.write(ctx, now.Name, v, []op.Write{{Expect: op.AtVersion(now.Version)}}, o)
}

// Transition gives a cell the value that fn makes of the one it has, and
// returns the cell after it. Where somebody else changes the cell meanwhile fn
// is called again, so it should have no effects. An error of fn ends it, and is
// returned. A cell with a machine keeps its state or takes one that the machine
// allows: *TransitionError otherwise. Where there is no such cell:
// op.ErrNotFound. The other errors are those of Init.
func (s Store) Transition(ctx context.Context, name string, fn func(Cell) (Value, error), opts ...WriteOption) (after Cell, err error) {
	o, err := gather(opts)
	if err != nil {
		return Cell{}, err
	}
	if o.machine != nil {
		return Cell{}, op.ErrInvalidOption // it belongs to Init
	}
	err = retry.Conflicts(ctx, func() error {
		now, err := s.Get(ctx, name)
		if err != nil {
			return err
		}
		v, err := fn(now)
		if err != nil {
			return err
		}
		after, err = s.change(ctx, now, v, o)
		return err
	}, op.ErrWrongVersion)
	return after, err
}

// Delete removes a cell and its machine, or returns op.ErrNotFound. The other
// errors are those of kv.Store.Put.
func (s Store) Delete(ctx context.Context, name string, opts ...WriteOption) error {
	o, err := gather(opts)
	if err != nil {
		return err
	}
	if o.machine != nil {
		return op.ErrInvalidOption
	}
	if err := checkName(name); err != nil {
		return err
	}
	res, err := s.run.Commit(ctx, &op.Request{Durability: o.durability, Writes: []op.Write{
		{Kind: op.Delete, Tag: op.StateMachine, Key: cellPrefix + name},
		{Kind: op.Delete, Tag: op.StateMachine, Key: machinePrefix + name},
	}})
	if err == nil && !res.Existed {
		err = op.ErrNotFound
	}
	return err
}

// List returns the cells whose names begin with prefix, in order of the names,
// all as of one version. The loop ends after an error.
func (s Store) List(ctx context.Context, prefix string) iter.Seq2[Cell, error] {
	return s.scan(ctx, op.Prefix(cellPrefix+prefix))
}

// Range returns the cells with from <= name < to, as List does. An empty to has no
// upper bound.
func (s Store) Range(ctx context.Context, from, to string) iter.Seq2[Cell, error] {
	r := op.Prefix(cellPrefix)
	r.From += from
	if to != "" {
		r.To = cellPrefix + to
	}
	return s.scan(ctx, r)
}

func (s Store) scan(ctx context.Context, r op.Range) iter.Seq2[Cell, error] {
	return func(yield func(Cell, error) bool) {
		view, err := s.run.View()
		if err != nil {
			yield(Cell{}, err)
			return
		}
		view.Scan(op.StateMachine, r, func(key string, it op.Item) bool {
			err := ctx.Err()
			var c Cell
			if err == nil {
				c, err = toCell(key[len(cellPrefix):], it)
			}
			return yield(c, err) && err == nil
		})
	}
}

// Change is what one commit made of a cell.
type Change struct {
	Cell              // of a cell that was removed only name and version
	Time    time.Time // of the commit, to the millisecond, in UTC
	Removed bool
}

// History returns what became of a cell, from its first kept change to its
// last, read from the run's history in O(run). The loop ends after an error.
func (s Store) History(ctx context.Context, name string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for c, err := range s.run.History(ctx, 0) {
			var out Change
			changed := err != nil
			if err == nil {
				out, changed, err = changeOf(c, name)
			}
			if changed && !yield(out, err) || err != nil {
				return
			}
		}
	}
}

func changeOf(c *op.Commit, name string) (out Change, changed bool, err error) {
	for i := range c.Ops {
		o := &c.Ops[i]
		if o.Tag != op.StateMachine || o.Key != cellPrefix+name {
			continue
		}
		version := cmp.Or(o.Version, c.Version) // in a fork what it was where it was made
		out = Change{Cell: Cell{Name: name, Version: version}, Time: time.UnixMilli(c.Time).UTC(), Removed: o.Kind != op.Put}
		if o.Kind == op.Put {
			out.Cell, err = toCell(name, op.Item{Value: o.Value, Version: version})
		}
		changed = true
	}
	return out, changed, err
}
