// Package hnsw is an approximate index for nearest neighbours: a hierarchical
// navigable small world graph (Malkov, Yashunin: Efficient and robust
// approximate nearest neighbor search using hierarchical navigable small world
// graphs, arXiv 1603.09320), over vectors that somebody else keeps.
//
// It does not know what vectors stand for, where they are kept, what was
// committed when, or how its bytes are stored. It keeps numbers of vectors, in
// flat arrays in which the garbage collector finds no pointers.
//
// Invariants: a Graph never changes and may be searched by any number of
// goroutines. The same vectors in the same order with the same Params make the
// same graph, however many workers build it and in how many portions, on
// machines whose float32 results agree (package distance). From a graph's entry
// every vector in it can be reached, so a search that looks at all of them finds
// what an exact one finds.
//
// It carries no compatibility promise; package inmem does.
package hnsw

import (
	"errors"
	"fmt"
)

// Metric says what near means. Its numbers are stored.
type Metric uint8

const (
	// Cosine is one minus the cosine of the angle: vectors need not be normalised,
	// but must not be zero.
	Cosine Metric = 1
	// Dot is the dot product, the greatest being the nearest. It is no metric in
	// the mathematical sense, and what is recalled of it depends more on the data.
	Dot Metric = 2
	// Euclidean is the square of the Euclidean distance.
	Euclidean Metric = 3
)

// Bounds of Params.
const (
	MinM         = 2
	MaxM         = 128
	MaxDimension = 1 << 16
	// MaxLen is how many vectors a graph can have.
	MaxLen = 1 << 30
)

// ErrParams is what New returns for parameters that make no graph.
var ErrParams = errors.New("hnsw: invalid parameters")

// Params say what a graph is like. They are part of it.
type Params struct {
	// Metric says what near means.
	Metric Metric
	// Dimension is the number of elements of each vector, 1 to MaxDimension.
	Dimension int
	// M is how many neighbours a vector chooses, MinM to MaxM. On the lowest level
	// twice as many are kept. More make better recall, a larger graph, and slower
	// insertion. 16 suits most.
	M int
	// EfConstruction is how many candidates are looked at to choose them, from M
	// on. More make a better graph, and insertion slower in proportion.
	EfConstruction int
	// Seed decides, with its number, on how many levels a vector is.
	Seed uint64
	// Int8 keeps a copy of each vector in 8 bits an element, which a search follows
	// instead of the vectors. What it finds is measured by the vectors again.
	Int8 bool
}

// DefaultParams returns parameters that suit most collections: M 16,
// EfConstruction 200.
func DefaultParams(metric Metric, dimension int) Params {
	return Params{Metric: metric, Dimension: dimension, M: 16, EfConstruction: 200}
}

func (p Params) check() error {
	switch {
	case p.Metric < Cosine || p.Metric > Euclidean:
		return fmt.Errorf("%w: metric %d is not known", ErrParams, p.Metric)
	case p.Dimension < 1 || p.Dimension > MaxDimension:
		return fmt.Errorf("%w: dimension %d is not in 1 … %d", ErrParams, p.Dimension, MaxDimension)
	case p.M < MinM || p.M > MaxM:
		return fmt.Errorf("%w: M %d is not in %d … %d", ErrParams, p.M, MinM, MaxM)
	case p.EfConstruction < p.M || p.EfConstruction > 1<<16:
		return fmt.Errorf("%w: EfConstruction %d is not in M = %d … %d", ErrParams, p.EfConstruction, p.M, 1<<16)
	}
	return nil
}

// maxLevel is the highest level there is. One in M vectors of a level is on the
// next, so with M = 2 it is reached by every 32,768th.
const maxLevel = 15

// level returns the highest level of a vector. It depends on nothing but the
// seed and the vector's number, so a graph may be built in portions.
func (p Params) level(id uint32) int {
	state := p.Seed ^ (uint64(id)+1)*0x9e3779b97f4a7c15
	level := 0
	for level < maxLevel {
		state = mix(state + 0x9e3779b97f4a7c15)
		if state%uint64(p.M) != 0 {
			break
		}
		level++
	}
	return level
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Rows gives the vectors of a graph by their numbers. Every call for a number
// returns the same elements, Params.Dimension of them, all finite; nobody
// changes them. It is called by several goroutines at a time.
type Rows interface {
	Row(id uint32) []float32
}

// Contiguous is Rows that lie one behind the other.
type Contiguous struct {
	Elements  []float32
	Dimension int
}

// Row returns the vector numbered id, and panics if there is none.
func (c Contiguous) Row(id uint32) []float32 {
	i := int(id) * c.Dimension
	return c.Elements[i : i+c.Dimension : i+c.Dimension]
}
