package report

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"inmem/bench/measure"
)

// shortTicks writes the figures of an axis as the tables do.
type shortTicks struct{ plot.Ticker }

func (t shortTicks) Ticks(low, high float64) []plot.Tick {
	ticks := t.Ticker.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

// logTicks marks the powers of ten.
type logTicks struct{}

func (logTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		if v := math.Pow(10, e); v >= low*0.999 && v <= high*1.001 {
			ticks = append(ticks, plot.Tick{Value: v, Label: short(v)})
		}
	}
	return ticks
}

// nines marks the percentiles of an axis of 1/(1-p).
type nines struct{}

func (nines) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, t := range []plot.Tick{{Value: 2, Label: "50 %"}, {Value: 10, Label: "90 %"}, {Value: 100, Label: "99 %"}, {Value: 1000, Label: "99.9 %"}, {Value: 10_000, Label: "99.99 %"}, {Value: 100_000, Label: "99.999 %"}} {
		if t.Value >= low && t.Value <= high {
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// drawLatency draws latency by percentile.
func (r *Results) drawLatency(c *Cell) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "percentile", "µs"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = nines{}, logTicks{}
	p.Add(plotter.NewGrid())
	for _, of := range r.Stores {
		s := c.of(of.Name)
		if s == nil || !s.ok() {
			continue
		}
		h := s.latency()
		if h == nil {
			continue
		}
		var points plotter.XYs
		for x := 2.0; x <= float64(max(h.Count(), 2)); x *= 1.1 { // from the median on
			y := float64(h.At(100*(1-1/x)).Nanoseconds()) / 1000
			points = append(points, plotter.XY{X: x, Y: max(y, 0.001)})
		}
		if err := r.line(p, s.Store, points); err != nil {
			return nil, err
		}
	}
	widen(p)
	return p, decades(p)
}

// drawCurves draws what operations cost as something grows.
func (r *Results) drawCurves(over string) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = over, "ns"
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = logTicks{}, shortTicks{plot.DefaultTicks{}}
	p.Add(plotter.NewGrid())
	n := 0
	for _, c := range r.Curves {
		var points plotter.XYs
		for _, point := range c.Points {
			if s := measure.Summarize(point.Values); c.Over == over && !math.IsNaN(s.Median) {
				points = append(points, plotter.XY{X: point.X, Y: s.Median})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color = palette[n], palette[n]
		n++
		p.Add(line, dots)
		p.Legend.Add(c.Name, line)
	}
	p.Y.Min = 0
	widen(p)
	return p, nil
}

// line draws one in the colour of a store.
func (r *Results) line(p *plot.Plot, name string, points plotter.XYs) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	line.Color = r.color(name)
	line.Width = vg.Points(1.4)
	p.Add(line)
	p.Legend.Add(name, line)
	return nil
}

// widen makes room for the legend on a logarithmic axis.
func widen(p *plot.Plot) {
	p.X.Max *= math.Pow(p.X.Max/p.X.Min, legendShare)
	legend(p)
}

// decades widens a logarithmic axis to whole powers of ten.
func decades(p *plot.Plot) error {
	if p.Y.Min <= 0 || math.IsInf(p.Y.Min, 0) || math.IsInf(p.Y.Max, 0) {
		return fmt.Errorf("nothing to draw from %v to %v", p.Y.Min, p.Y.Max)
	}
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
	return nil
}
