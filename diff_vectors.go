package inmem

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"

	"inmem/diff"
	"inmem/vector"
)

// differingVectors fills in the collections, and the vectors that are not the same
// on both sides. The others are not kept.
func differingVectors(ctx context.Context, a, b *Past, sideA, sideB *diff.Side) (err error) {
	if sideA.Collections, err = collect(a.Vectors().Collections(ctx)); err != nil {
		return err
	}
	if sideB.Collections, err = collect(b.Vectors().Collections(ctx)); err != nil {
		return err
	}
	names := func(list []vector.Collection) (names []string) {
		for i := range list {
			names = append(names, list[i].Name)
		}
		return names
	}
	inA, inB := names(sideA.Collections), names(sideB.Collections)
	all := slices.Concat(inA, inB)
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		nextA, stopA := vectorsOf(ctx, a, name, slices.Contains(inA, name))
		nextB, stopB := vectorsOf(ctx, b, name, slices.Contains(inB, name))
		err := unlikeVectors(nextA, nextB, func(onA bool, it vector.Item) {
			if v := (diff.Vector{Collection: name, Item: it}); onA {
				sideA.Vectors = append(sideA.Vectors, v)
			} else {
				sideB.Vectors = append(sideB.Vectors, v)
			}
		})
		stopA()
		stopB()
		if err != nil {
			return err
		}
	}
	return nil
}

type pullVector = func() (vector.Item, error, bool)

// vectorsOf returns the vectors of a collection, one by one; none where there is no
// such collection.
func vectorsOf(ctx context.Context, p *Past, name string, exists bool) (next pullVector, stop func()) {
	list := p.Vectors().List(ctx, name, "")
	if !exists {
		list = func(func(vector.Item, error) bool) {}
	}
	return iter.Pull2(list)
}

// unlikeVectors calls fn for the items of two lists, in order of their keys, that
// the other one does not have as they are.
func unlikeVectors(nextA, nextB pullVector, fn func(onA bool, it vector.Item)) error {
	a, errA, moreA := nextA()
	b, errB, moreB := nextB()
	for moreA || moreB {
		if err := cmp.Or(errA, errB); err != nil {
			return err
		}
		order := 0
		switch {
		case !moreB:
			order = -1
		case !moreA:
			order = 1
		default:
			order = cmp.Compare(a.Key, b.Key)
		}
		same := order == 0 && slices.Equal(a.Vector, b.Vector) && bytes.Equal(a.Metadata, b.Metadata)
		if order <= 0 {
			if !same {
				fn(true, a)
			}
			a, errA, moreA = nextA()
		}
		if order >= 0 {
			if !same {
				fn(false, b)
			}
			b, errB, moreB = nextB()
		}
	}
	return nil
}
