package matrix

import (
	"fmt"
	"math"

	"inmem/vector/distance"
)

// Metric says what makes vectors near. The zero Metric is invalid.
type Metric uint8

// The metrics. Their numbers are stored.
const (
	Cosine    Metric = 1
	Dot       Metric = 2
	Euclidean Metric = 3
)

var metricNames = [...]string{Cosine: "cosine", Dot: "dot", Euclidean: "euclidean"}

// Valid reports whether m is one of the metrics.
func (m Metric) Valid() bool { return m >= Cosine && m <= Euclidean }

// String returns the metric's name, or its number where there is no such metric.
func (m Metric) String() string {
	if m.Valid() {
		return metricNames[m]
	}
	return fmt.Sprintf("metric(%d)", uint8(m))
}

// Score returns how near v is to q, the nearest highest: the cosine of the angle
// between them, their dot product, or the negative of their Euclidean distance.
// It is computed in float64, in one order on every machine. Both have the same
// length and finite elements; under Cosine neither is zero.
func (m Metric) Score(q, v []float32) float64 {
	s := scorer{metric: m, query: q, norm: norm(m, q)}
	return s.score(v)
}

// norm is what a scorer has to know of its query.
func norm(m Metric, q []float32) float64 {
	if m == Cosine {
		return distance.Norm(q)
	}
	return 0
}

// scorer computes the scores of one query.
type scorer struct {
	metric Metric
	query  []float32
	norm   float64 // of the query, under Cosine
}

func (s *scorer) score(v []float32) float64 {
	switch s.metric {
	case Cosine:
		return distance.DotFloat64(s.query, v) / (s.norm * distance.Norm(v))
	case Dot:
		return distance.DotFloat64(s.query, v)
	}
	return 0 - math.Sqrt(distance.SquaredEuclideanFloat64(s.query, v)) // and not -0
}
