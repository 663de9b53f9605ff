// Package report keeps what was measured, and shows it: as JSON, as Markdown and
// as pictures. It measures nothing.
package report

import (
	"cmp"
	"encoding/json"
	"math"
	"os"
	"slices"

	"inmem/bench/measure"
	"inmem/bench/store"
	"inmem/bench/workload"
)

// Ours is the name of the store that the others are compared with.
const Ours = "inmem"

// Results are those of one run of the harness.
type Results struct {
	Environment measure.Environment `json:"environment"`
	Config      Config              `json:"config"`
	Partial     bool                `json:"partial,omitempty"` // it was interrupted
	Seconds     float64             `json:"seconds"`
	Transcripts string              `json:"transcripts,omitempty"`
	Stores      []Store             `json:"stores"`
	Cells       []*Cell             `json:"cells"`
	Figures     []*Figure           `json:"figures"`
	Curves      []*Curve            `json:"curves"`
	Problems    []string            `json:"problems,omitempty"` // of no single figure
}

// Config is what the run was asked for.
type Config struct {
	workload.Size
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"cell_seconds"`
	Quick   bool    `json:"quick,omitempty"`
}

// Store is a store that took part, or why it did not.
type Store struct {
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"`
	Missing string   `json:"missing,omitempty"`
	Classes []string `json:"classes"`
	Notes   []string `json:"notes"` // one for each class
}

// Cell is a cell with what each store made of it.
type Cell struct {
	workload.Cell
	ID     string   `json:"id"`
	Scores []*Score `json:"scores"`
}

// Score is what a store made of a cell.
type Score struct {
	Store       string            `json:"store"`
	Class       store.Class       `json:"class"`
	Rounds      []*measure.Result `json:"rounds"`
	Err         string            `json:"err,omitempty"`
	Unsupported bool              `json:"unsupported,omitempty"`
}

// Figure is a figure that is not of a cell.
type Figure struct {
	Section string      `json:"section"`
	Name    string      `json:"name"`
	Store   string      `json:"store,omitempty"`
	Class   store.Class `json:"class,omitempty"`
	Unit    string      `json:"unit"`
	Values  []float64   `json:"values"`
	Err     string      `json:"err,omitempty"`
}

// Curve is what an operation of ours costs as something grows.
type Curve struct {
	Name   string   `json:"name"` // the operation
	Over   string   `json:"over"` // what grows
	Points []*Point `json:"points"`
}

// Point is one of a curve: nanoseconds, in each round.
type Point struct {
	X      float64   `json:"x"`
	Values []float64 `json:"ns"`
}

// Sections of figures.
const (
	Floors = "floors"
	Memory = "memory and disk"
	Reopen = "reopening"
	Lost   = "lost"
	Cold   = "cold runs"
	Many   = "many runs"
	Large  = "larger than memory"
	Rest   = "history at rest"
	Disk   = "disk growth"
	Behind = "background work"
)

// ReadFile reads results that WriteFile wrote.
func ReadFile(file string) (*Results, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	return r, json.Unmarshal(b, r)
}

// WriteFile writes them as JSON.
func (r *Results) WriteFile(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// Score returns where to write down what a store makes of a cell.
func (r *Results) Score(c workload.Cell, name string, class store.Class) *Score {
	i := slices.IndexFunc(r.Cells, func(have *Cell) bool { return have.ID == c.ID() })
	if i < 0 {
		i = len(r.Cells)
		r.Cells = append(r.Cells, &Cell{Cell: c, ID: c.ID()})
	}
	cell := r.Cells[i]
	for _, s := range cell.Scores {
		if s.Store == name && s.Class == class {
			return s
		}
	}
	s := &Score{Store: name, Class: class}
	cell.Scores = append(cell.Scores, s)
	return s
}

// Figure returns where to write down a figure.
func (r *Results) Figure(section, name, unit, of string, class store.Class) *Figure {
	for _, f := range r.Figures {
		if f.Section == section && f.Name == name && f.Store == of && f.Class == class {
			return f
		}
	}
	f := &Figure{Section: section, Name: name, Unit: unit, Store: of, Class: class}
	r.Figures = append(r.Figures, f)
	return f
}

// Point returns where to write down a point of a curve.
func (r *Results) Point(name, over string, x float64) *Point {
	i := slices.IndexFunc(r.Curves, func(c *Curve) bool { return c.Name == name && c.Over == over })
	if i < 0 {
		i = len(r.Curves)
		r.Curves = append(r.Curves, &Curve{Name: name, Over: over})
	}
	c := r.Curves[i]
	for _, p := range c.Points {
		if p.X == x {
			return p
		}
	}
	p := &Point{X: x}
	c.Points = append(c.Points, p)
	slices.SortFunc(c.Points, func(a, b *Point) int { return cmp.Compare(a.X, b.X) })
	return p
}

// summary returns the figures of a score's rounds.
func (s *Score) summary(of func(*measure.Result) float64) measure.Summary {
	var values []float64
	for _, r := range s.Rounds {
		values = append(values, of(r))
	}
	return measure.Summarize(values)
}

// histogram returns that of all rounds together, or nil.
func (s *Score) histogram(of func(*measure.Result) *measure.Histogram) *measure.Histogram {
	all := measure.NewHistogram()
	for _, r := range s.Rounds {
		if h := of(r); h != nil {
			all.Merge(h)
		}
	}
	if all.Count() == 0 {
		return nil
	}
	return all
}

// latency returns that of a cell with a fixed rate, or nil.
func (s *Score) latency() *measure.Histogram {
	return s.histogram(func(r *measure.Result) *measure.Histogram { return r.Latency })
}

// of returns the score of a store, or nil.
func (c *Cell) of(name string) *Score {
	for _, s := range c.Scores {
		if s.Store == name {
			return s
		}
	}
	return nil
}

// ratio returns ours through the best of the durable peers, by the medians of the
// rate; it is not a number where either is missing.
func (c *Cell) ratio() (ratio float64, best string) {
	ours, peer := math.NaN(), math.NaN()
	for _, s := range c.Scores {
		if len(s.Rounds) == 0 || s.Err != "" || s.Class == store.Volatile {
			continue
		}
		rate := s.summary((*measure.Result).Rate).Median
		if s.Store == Ours {
			ours = rate
		} else if !(rate <= peer) {
			peer, best = rate, s.Store
		}
	}
	return ours / peer, best
}
