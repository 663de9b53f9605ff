package inmem

import (
	"bytes"
	"cmp"
	"context"
	"iter"

	"inmem/diff"
	"inmem/event"
	"inmem/kv"
	"inmem/op"
	"inmem/trace"
)

// Point is a run at one of its versions; 0 is the newest.
type Point = diff.Point

// Diff compares two runs of the store, or one run at two versions; package diff
// says how, and has the options. It takes O(what the runs hold), and more only
// as the runs' past has to be rebuilt: see Run.At.
//
// Errors: ErrRunNotFound; *VersionGoneError; diff.ErrInvalidPath; those of Run.At
// and of reading the faces.
func (db *DB) Diff(ctx context.Context, a, b Point, opts ...diff.Option) (*diff.Result, error) {
	pastA, err := db.At(ctx, a)
	if err != nil {
		return nil, err
	}
	pastB, err := db.At(ctx, b)
	if err != nil {
		return nil, err
	}
	return DiffPast(ctx, pastA, pastB, opts...)
}

// At returns a run at a version, as Run.At does; of the newest, deadlines are
// judged by now, as for those who read the run. More errors: ErrRunNotFound.
func (db *DB) At(ctx context.Context, p Point) (*Past, error) {
	r, err := db.Run(p.Run)
	if err != nil {
		return nil, err
	}
	if p.Version != 0 {
		return r.At(ctx, p.Version)
	}
	snap, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	return &Past{run: r, snap: snap, now: db.store.Clock.Now()}, nil
}

// DiffPast is DB.Diff of runs that may be in different stores.
func DiffPast(ctx context.Context, a, b *Past, opts ...diff.Option) (*diff.Result, error) {
	parts, err := diff.Check(opts...)
	if err != nil {
		return nil, err
	}
	sideA, err := a.side(ctx, parts)
	if err != nil {
		return nil, err
	}
	sideB, err := b.side(ctx, parts)
	if err != nil {
		return nil, err
	}
	if parts&diff.Keys != 0 {
		sideA.Keys, sideB.Keys, err = differingKeys(a, b)
	}
	if err == nil && parts&diff.Vectors != 0 {
		err = differingVectors(ctx, a, b, sideA, sideB)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return diff.Runs(sideA, sideB, opts...), nil
}

// side reads what is compared of a run, but for its keys and vectors.
func (p *Past) side(ctx context.Context, parts diff.Part) (s *diff.Side, err error) {
	s = &diff.Side{Run: p.ID(), Version: p.Version()}
	if parts&diff.State != 0 {
		if s.Cells, err = collect(p.State().List(ctx, "")); err != nil {
			return nil, err
		}
	}
	if parts&diff.Trace != 0 {
		if s.Spans, err = collect(p.Trace().List(ctx, trace.Filter{})); err != nil {
			return nil, err
		}
	}
	if parts&diff.Events == 0 {
		return s, nil
	}
	s.Streams = map[string][]event.Event{}
	for name, err := range p.Events().Streams(ctx) {
		if err != nil {
			return nil, err
		}
		if s.Streams[name], err = collect(p.Events().Read(ctx, name)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// keyItem is a key as the store has it.
type keyItem struct {
	key string
	op.Item
}

// differingKeys returns the keys of either run that do not have the same value in
// the other. The others, most of them as a rule, are not copied.
func differingKeys(a, b *Past) (onlyA, onlyB []kv.Item, err error) {
	listA, err := a.keys()
	if err != nil {
		return nil, nil, err
	}
	listB, err := b.keys()
	if err != nil {
		return nil, nil, err
	}
	for len(listA) > 0 && len(listB) > 0 {
		x, y := &listA[0], &listB[0]
		order := cmp.Compare(x.key, y.key)
		same := order == 0 && bytes.Equal(x.Value, y.Value)
		if order <= 0 {
			if !same {
				onlyA = append(onlyA, x.copied())
			}
			listA = listA[1:]
		}
		if order >= 0 {
			if !same {
				onlyB = append(onlyB, y.copied())
			}
			listB = listB[1:]
		}
	}
	for i := range listA {
		onlyA = append(onlyA, listA[i].copied())
	}
	for i := range listB {
		onlyB = append(onlyB, listB[i].copied())
	}
	return onlyA, onlyB, nil
}

func (p *Past) keys() ([]keyItem, error) {
	v, err := (*pastFace)(p).View()
	if err != nil {
		return nil, err
	}
	list := make([]keyItem, 0, p.snap.Counts()[op.KV])
	v.Scan(op.KV, op.Range{}, func(key string, it op.Item) bool {
		list = append(list, keyItem{key, it})
		return true
	})
	return list, nil
}

func (k *keyItem) copied() kv.Item {
	c := contentOf(op.KV, k.key, k.Item)
	return kv.Item{Key: c.Key, Value: c.Value, Version: c.Version, Deadline: c.Deadline}
}

// collect gathers what a loop yields, up to its error.
func collect[T any](loop iter.Seq2[T, error]) (list []T, err error) {
	for item, err := range loop {
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}
