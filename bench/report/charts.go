package report

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"inmem/bench/measure"
)

// Picture is a file with a picture.
type Picture struct {
	File, Title string
	kind        string
	draw        func() (*plot.Plot, error)
}

// The kinds of pictures.
const (
	bars        = "bars"
	percentiles = "percentiles"
	curves      = "curves"
)

// Pictures returns those that there are figures for.
func (r *Results) Pictures() []Picture {
	var list []Picture
	add := func(kind, title string, draw func() (*plot.Plot, error)) {
		list = append(list, Picture{File: fileName(kind + "-" + title), Title: title, kind: kind, draw: draw})
	}
	for _, group := range r.groups() {
		add(bars, group.title, group.draw)
	}
	for _, c := range r.Cells {
		if c.Rate > 0 && slices.ContainsFunc(c.Scores, func(s *Score) bool { return s.latency() != nil }) {
			add(percentiles, "latency of "+c.ID+" callers", func() (*plot.Plot, error) { return r.drawLatency(c) })
		}
	}
	for _, over := range axes(r.Curves) {
		add(curves, "cost by "+over, func() (*plot.Plot, error) { return r.drawCurves(over) })
	}
	return list
}

func fileName(title string) string {
	return strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(title)), "-") + ".svg"
}

// Draw writes the pictures into a directory.
func Draw(dir string, list []Picture) error {
	for _, p := range list {
		picture, err := p.draw()
		if err != nil {
			return fmt.Errorf("%s: %w", p.Title, err)
		}
		picture.Title.Text = p.Title
		picture.Title.Padding = 3 * vg.Millimeter
		picture.BackgroundColor = color.White
		w, err := picture.WriterTo(24*vg.Centimeter, 11*vg.Centimeter, "svg")
		if err != nil {
			return fmt.Errorf("%s: %w", p.Title, err)
		}
		f, err := os.Create(filepath.Join(dir, p.File))
		if err != nil {
			return err
		}
		if _, err := w.WriteTo(f); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// group is the cells that are drawn beside each other.
type group struct {
	title  string
	r      *Results
	cells  []*Cell
	labels []string
}

// groups puts the cells of one operation together.
func (r *Results) groups() []*group {
	var list []*group
	for _, c := range r.Cells {
		title, label := c.Name+", "+c.Class.String(), fmt.Sprintf("%d callers", c.Callers)
		if letter, ok := strings.CutPrefix(c.Name, "YCSB "); ok {
			title, label = "YCSB", letter
		}
		if c.Rate > 0 || !slices.ContainsFunc(c.Scores, (*Score).ok) {
			continue
		}
		i := slices.IndexFunc(list, func(g *group) bool { return g.title == title })
		if i < 0 {
			i = len(list)
			list = append(list, &group{title: title, r: r})
		}
		list[i].cells, list[i].labels = append(list[i].cells, c), append(list[i].labels, label)
	}
	return list
}

func (s *Score) ok() bool { return s.Err == "" && len(s.Rounds) > 0 }

// names returns the stores that have a figure in the group, in their order.
func (g *group) names() []string {
	var names []string
	for _, s := range g.r.Stores {
		if slices.ContainsFunc(g.cells, func(c *Cell) bool { s := c.of(s.Name); return s != nil && s.ok() }) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (g *group) draw() (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = g.cells[0].Unit()
	p.Y.Min = 0
	p.Y.Tick.Marker = shortTicks{plot.DefaultTicks{}}
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	p.Add(grid)
	names := g.names()
	width := vg.Points(500 / float64(len(g.cells)*(len(names)+1)))
	for i, name := range names {
		offset := width * vg.Length(float64(i)-float64(len(names)-1)/2)
		values := make(plotter.Values, len(g.cells))
		spread := &spreads{offset: offset}
		for x, c := range g.cells {
			if s := c.of(name); s != nil && s.ok() {
				rate := s.summary((*measure.Result).Rate)
				values[x] = rate.Median
				spread.add(float64(x), rate)
			}
		}
		chart, err := plotter.NewBarChart(values, width)
		if err != nil {
			return nil, err
		}
		chart.LineStyle.Width = 0
		chart.Color, chart.Offset = g.r.color(name), offset
		p.Add(chart, spread)
		p.Legend.Add(name, chart)
	}
	p.NominalX(g.labels...)
	// As wide as the bars, and not from the middle of the first to that of the last.
	p.X.Min, p.X.Max = -0.6, float64(len(g.cells))-0.4
	p.X.Max += legendShare * (p.X.Max - p.X.Min)
	p.Y.Max *= 1.05
	legend(p)
	return p, nil
}

// legendShare is how much wider a picture is for its legend, on the right.
const legendShare = 0.16

func legend(p *plot.Plot) {
	p.Legend.Top = true
	p.Legend.ThumbnailWidth = 4 * vg.Millimeter
	p.Legend.Padding = vg.Millimeter
	p.Legend.TextStyle.Font.Size = 10
}

// spreads draws a line from the lowest to the highest round on top of a bar.
type spreads struct {
	offset vg.Length
	lines  []struct{ x, low, high float64 }
}

func (s *spreads) add(x float64, of measure.Summary) {
	s.lines = append(s.lines, struct{ x, low, high float64 }{x, of.Low, of.High})
}

// Plot implements plot.Plotter.
func (s *spreads) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := draw.LineStyle{Color: color.Gray{60}, Width: vg.Points(0.8)}
	for _, l := range s.lines {
		at := x(l.x) + s.offset
		c.StrokeLine2(style, at, y(l.low), at, y(l.high))
	}
}

// DataRange implements plot.DataRanger: the highest round must fit in.
func (s *spreads) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = math.Inf(1), math.Inf(-1), 0, 0
	for _, l := range s.lines {
		xmin, xmax, ymax = min(xmin, l.x), max(xmax, l.x), max(ymax, l.high)
	}
	return xmin, xmax, ymin, ymax
}

// palette has colours that also the colour-blind tell apart (Okabe and Ito), and
// greys for what is not durable.
var palette = []color.Color{
	color.RGBA{213, 94, 0, 255}, color.RGBA{0, 114, 178, 255}, color.RGBA{0, 158, 115, 255},
	color.RGBA{230, 159, 0, 255}, color.RGBA{86, 180, 233, 255}, color.RGBA{204, 121, 167, 255},
	color.RGBA{120, 94, 240, 255}, color.RGBA{150, 75, 0, 255},
	color.Gray{90}, color.Gray{140}, color.Gray{190}, color.Gray{215},
}

// color returns that of a store, the same in all pictures.
func (r *Results) color(name string) color.Color {
	durable, other := 0, 8
	for _, s := range r.Stores {
		at := &durable
		if slices.Contains(s.Classes, "volatile") {
			at = &other
		}
		if s.Name == name {
			return palette[*at%len(palette)]
		}
		*at++
	}
	return color.Black
}
