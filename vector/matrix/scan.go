package matrix

import (
	"math"
	"sync"

	"inmem/vector/distance"
)

// worker scans some of the rows of a search.
type worker struct {
	*scan
	*collector
}

var buffers = sync.Pool{New: func() any { return new([maxRows]float32) }}

// scanParts scans the parts of the matrix from one up to another, but for the rows
// before the number first.
func (w *worker) scanParts(from, to, first int) error {
	buffer := buffers.Get().(*[maxRows]float32)
	defer buffers.Put(buffer)
	for at := from; at < to; at++ {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		p := &w.matrix.parts[at]
		skip := min(max(first-w.matrix.layout.first(at), 0), p.n)
		if err := w.scanPart(p, int32(at), skip, buffer[:p.n]); err != nil {
			return err
		}
	}
	return nil
}

// roundings is how many there are at most, beside those of the sum, between the
// vectors as they are and a figure: the query and a row are made unit vectors.
const roundings = 8

// scanPart computes the figures of a part's rows in float32, and looks closer at
// those that may be among the nearest. What is no number is looked at closer.
func (w *worker) scanPart(p *part, at int32, skip int, figures []float32) error {
	dim := w.matrix.dimension
	switch w.matrix.metric {
	case Cosine:
		distance.Dots(figures, w.unit, p.vectors)
		bound := distance.DotError(dim+roundings, 1, 1)
		cut := below(w.threshold - bound)
		for i, dot := range figures[skip:] {
			i += skip
			if x := dot * p.scale[i]; !(x < cut) {
				if err := w.row(p, at, i, float64(x), bound); err != nil {
					return err
				}
				cut = below(w.threshold - bound)
			}
		}
	case Dot:
		distance.Dots(figures, w.unit, p.vectors)
		bound := distance.DotError(dim+roundings, 1, 1) // of a row of length 1
		margin, cut := float32(bound*(1+0x1p-20)), below(w.threshold)
		for i, dot := range figures[skip:] {
			i += skip
			length := max(p.scale[i], leastNorm) // which also makes up for products that are too small
			if x := dot + margin*length; !(x < cut) {
				if err := w.row(p, at, i, float64(dot), bound*float64(length)); err != nil {
					return err
				}
				cut = below(w.threshold)
			}
		}
	case Euclidean:
		distance.SquaredEuclideans(figures, w.query.Vector, p.vectors)
		cut := w.cutSquared()
		for i, squared := range figures[skip:] {
			if !(squared > cut) {
				if err := w.row(p, at, i+skip, -float64(squared), distance.SquaredEuclideanError(dim, squared)); err != nil {
					return err
				}
				cut = w.cutSquared()
			}
		}
	}
	return nil
}

// below returns a float32 that is no higher than x, and by more than the rounding
// of a sum of two float32s up to it.
func below(x float64) float32 {
	return float32(x - math.Abs(x)*0x1p-20 - 0x1p-100)
}

// cutSquared returns a square of a distance beyond which a row is out, in float32.
func (w *worker) cutSquared() float32 {
	// A computed square s is out if s - error(s) is more than -threshold, and
	// error(s) is about proportional to s.
	limit := -w.threshold
	rate := distance.SquaredEuclideanError(w.matrix.dimension, 1)
	if !(rate < 0.5) {
		return float32(math.Inf(1))
	}
	// Beyond what float32 holds the kernels' results are infinite, which is no
	// more than this.
	return float32((limit/(1-rate) + 4*distance.SquaredEuclideanError(w.matrix.dimension, 0)) * (1 + 0x1p-20))
}

// row looks at one row closer: figure is within bound of the exact one, or says
// nothing.
func (w *worker) row(p *part, at int32, i int, figure, bound float64) error {
	x := candidate{key: p.keys[i], low: figure - bound, high: figure + bound}
	if !(math.Abs(x.low) <= math.MaxFloat64 && math.Abs(x.high) <= math.MaxFloat64) {
		x.low, x.high = math.Inf(-1), math.Inf(1)
	}
	if x.high < w.threshold || p.isDead(i) {
		return nil
	}
	if _, out := w.without[place{at, int32(i)}]; out {
		return nil
	}
	if w.query.Accept != nil {
		it, ok := w.find(x.key)
		if ok {
			var err error
			if ok, err = w.accept(x.key, it); err != nil {
				return err
			}
		}
		if !ok {
			return nil
		}
	}
	dim := w.matrix.dimension
	x.vector = p.vectors[i*dim:][:dim]
	w.add(x)
	return nil
}
