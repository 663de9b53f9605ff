package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"inmem/bench/measure"
	"inmem/bench/store"
)

// page is a report being written.
type page struct {
	strings.Builder
	*Results
	notes  notes
	peers  []string // durable stores, ours first
	others []string // those that are not durable
}

// Markdown returns the report as a page that refers to the pictures by name.
func (r *Results) Markdown(pictures []Picture) string {
	p := &page{Results: r}
	for _, s := range r.Stores {
		switch {
		case s.Missing != "":
		case slices.Contains(s.Classes, store.Volatile.String()):
			p.others = append(p.others, s.Name)
		default:
			p.peers = append(p.peers, s.Name)
		}
	}
	p.introduction()
	p.throughput()
	p.pictures(pictures, bars)
	p.latency()
	p.pictures(pictures, percentiles)
	p.costs()
	p.figures(Memory, "Memory and disk", "MB of memory are what the processes have resident, and so with the harness, which is told before the store is opened; “collected” is after a collection that gives back what is free. Mapped files count where they are resident.")
	p.figures(Disk, "Disk growth", "A tenth of the keys, each overwritten 20 times, in commits of 10 keys by 64 callers. MB that the files occupy: at most while that was done, when the last write was acknowledged, and afterwards. Ours keeps no history here (Options.Retention), as the others never do.")
	p.figures(Behind, "Background work", "Of ours alone: puts of random keys, a tenth of them all, by 16 callers, beside what is done in the background.")
	p.figures(Reopen, "Reopening", "“Ready” is from before the store is opened until a first key has been got, “loaded” until one of each run has been, “all read” until each key that was acknowledged has been got and compared, one after another. A store that leaves its data on the disk is ready before it has read any of it.")
	p.figures(Lost, "Acknowledged writes that were lost when the process was killed", "Lost of all acknowledged. This is a killed process, not a power cut.")
	p.figures(Cold, "Runs that are on disk", "Of ours alone. Open loads none of the runs that have an image; a run is loaded when it is read first, or by Warm. The process that is killed is so right after its last write.")
	p.figures(Many, "Many runs", "Of ours alone. An index of the runs is made when somebody lists runs first.")
	p.figures(Large, "Data larger than memory", "Of ours alone. The hot reads are of a fortieth of the runs, by four callers, after every run was read once; the process has a soft memory limit of 1.4 × the budget.")
	p.figures(Rest, "History at rest", "Of ours alone. What a log of whole histories takes when it is sealed, to the bytes of the keys and values that were written: as it was logged, and compacted with Compression Zstd; images are the newest state of each run. Values of puts are random and cannot be compressed.")
	p.curves()
	p.pictures(pictures, curves)
	p.floors()
	p.method()
	p.configurations()
	p.notes.write(&p.Builder)
	return strings.TrimRight(p.String(), "\n") + "\n"
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) introduction() {
	e := p.Environment
	p.line("# Results\n")
	if p.Partial {
		p.line("**Partial: the run was interrupted.** What was not measured is missing.\n")
	}
	p.line("%s keys of 16 B in %s runs, values of %d random bytes; rounds: %d, of %s a cell; the median, with the lowest and the highest round. Ratios hold for this machine; absolute figures depend on what else it does.\n",
		short(float64(p.Config.Keys)), short(float64(p.Config.Runs)), p.Config.Value, p.Config.Rounds,
		duration(time.Duration(p.Config.Seconds*float64(time.Second))))
	t := table{head: []string{"", ""}}
	for _, row := range [][2]string{
		{"date", e.Date}, {"commit", e.Commit}, {"Go", e.Go + ", " + e.OS}, {"kernel", e.Kernel},
		{"processor", fmt.Sprintf("%d × %s", e.CPUs, e.CPU)}, {"memory", fmt.Sprintf("%.1f GB", float64(e.Memory)/1e9)},
		{"file system", e.FileSystem}, {"agents", p.Transcripts}, {"flags", e.Flags}, {"seed", fmt.Sprint(e.Seed)},
		{"took", duration(time.Duration(p.Seconds * float64(time.Second)))},
	} {
		if strings.TrimSpace(row[1]) != "" {
			t.add(row[0], row[1])
		}
	}
	t.write(&p.Builder)
	for _, problem := range p.Problems {
		p.line("Failed: %s\n", problem)
	}
}

// rated returns the cells with a fixed rate, or those without.
func (p *page) rated(fixed bool) []*Cell {
	return slices.DeleteFunc(slices.Clone(p.Cells), func(c *Cell) bool { return c.Rate > 0 != fixed })
}

func (p *page) throughput() {
	cells := p.rated(false)
	if len(cells) == 0 {
		return
	}
	p.line("## Throughput\n\nOperations a second (turns a second of the agents). The ratio is %s to the best durable peer in the cell, by the medians.\n", Ours)
	t := table{head: append([]string{"cell, callers", "ratio", "to"}, p.peers...)}
	for _, c := range cells {
		ratio, best := c.ratio()
		if best == "" {
			best = nothing
		}
		t.add(append([]string{c.ID, times(ratio), best}, p.entries(c, p.peers, rate)...)...)
	}
	t.write(&p.Builder)
	if len(p.others) == 0 {
		return
	}
	p.line("Ceilings: stores that are **not durable**, beside %s.\n", Ours)
	names := append([]string{Ours}, p.others...)
	t = table{head: append([]string{"cell, callers"}, names...)}
	for _, c := range cells {
		if c.Class == store.Batched {
			t.add(append([]string{c.ID}, p.entries(c, names, rate)...)...)
		}
	}
	t.write(&p.Builder)
}

func rate(s *Score) string { return spread(s.summary((*measure.Result).Rate)) }

// entries is a row of a table: what each store made of a cell.
func (p *page) entries(c *Cell, names []string, of func(*Score) string) []string {
	var row []string
	for _, name := range names {
		switch s := c.of(name); {
		case s == nil || s.Unsupported:
			row = append(row, nothing)
		case s.Err != "":
			row = append(row, p.notes.mark(s.Err))
		case len(s.Rounds) == 0:
			row = append(row, nothing)
		default:
			row = append(row, of(s))
		}
	}
	return row
}

func (p *page) latency() {
	if cells := p.rated(true); len(cells) > 0 {
		p.line("## Latency at a fixed rate\n\nThe same rate for all, counted from the moment an operation was due, whether or not those before it had ended. “Reached” below the rate, or “not begun”, says that the store could not keep up. How late the harness itself wakes is among the floors below.\n")
		for _, c := range cells {
			p.line("**%s callers**\n", c.ID)
			t := table{head: []string{"store", "reached/s", "p50", "p99", "p99.9", "max", "not begun"}}
			for _, name := range slices.Concat(p.peers, p.others) {
				s := c.of(name)
				if s == nil {
					continue
				}
				if h := s.latency(); h != nil && s.Err == "" {
					t.add(name, rate(s), duration(h.At(50)), duration(h.At(99)), duration(h.At(99.9)), duration(h.Max()), late(s))
				} else {
					t.add(append([]string{name}, p.entries(c, []string{name}, rate)...)...)
				}
			}
			t.write(&p.Builder)
		}
	}
	cells := p.rated(false)
	if len(cells) == 0 {
		return
	}
	names := slices.Concat(p.peers, p.others)
	for _, kind := range []struct {
		title string
		of    func(*measure.Result) *measure.Histogram
	}{
		{"## Service times\n\np50 / p99 / p99.9 of the throughput cells, as they were.", func(r *measure.Result) *measure.Histogram { return r.Service }},
		{"The same, corrected for coordinated omission.", func(r *measure.Result) *measure.Histogram { return r.Latency }},
	} {
		p.line("%s\n", kind.title)
		t := table{head: append([]string{"cell, callers"}, names...)}
		for _, c := range cells {
			t.add(append([]string{c.ID}, p.entries(c, names, func(s *Score) string { return service(s.histogram(kind.of)) })...)...)
		}
		t.write(&p.Builder)
	}
}

func late(s *Score) string {
	all, late := 0.0, 0.0
	for _, r := range s.Rounds {
		all, late = all+float64(r.Ops+r.Late), late+float64(r.Late)
	}
	if late == 0 {
		return "0"
	}
	return percent(late / all)
}

func service(h *measure.Histogram) string {
	if h == nil {
		return nothing
	}
	return duration(h.At(50)) + " / " + duration(h.At(99)) + " / " + duration(h.At(99.9))
}

func (p *page) costs() {
	cells := p.rated(false)
	if len(cells) == 0 {
		return
	}
	p.line("## Cost of an operation\n\nMicroseconds of processor time (of all threads, and of the server process where there is one) / allocations / bytes allocated by Go / part of the time that is the collector's.\n")
	names := slices.Concat(p.peers, p.others)
	t := table{head: append([]string{"cell, callers"}, names...)}
	for _, c := range cells {
		t.add(append([]string{c.ID}, p.entries(c, names, func(s *Score) string {
			return fmt.Sprintf("%s / %s / %s / %s",
				short(s.summary((*measure.Result).CPUPerOp).Median), short(s.summary((*measure.Result).AllocsPerOp).Median),
				short(s.summary((*measure.Result).BytesPerOp).Median), percent(s.summary((*measure.Result).GCShare).Median))
		})...)...)
	}
	t.write(&p.Builder)
}

// figures writes a section of figures: a row for each, a column for each store.
func (p *page) figures(section, title, text string) {
	type row struct {
		name, unit string
		class      store.Class
	}
	var rows []row
	all := map[row]map[string]*Figure{}
	for _, f := range p.Results.Figures {
		if f.Section != section {
			continue
		}
		at := row{f.Name, f.Unit, f.Class}
		if f.Class == store.Volatile { // shown beside what it is compared with
			at.class = store.Batched
		}
		if all[at] == nil {
			all[at] = map[string]*Figure{}
			rows = append(rows, at)
		}
		all[at][f.Store] = f
	}
	if len(rows) == 0 {
		return
	}
	p.line("## %s\n\n%s\n", title, text)
	names := slices.DeleteFunc(slices.Concat(p.peers, p.others), func(name string) bool {
		return !slices.ContainsFunc(rows, func(at row) bool { return all[at][name] != nil })
	})
	t := table{head: append([]string{""}, names...)}
	for _, at := range rows {
		line := []string{strings.TrimSuffix(fmt.Sprintf("%s, %s, %s", at.name, at.class, at.unit), ", ")} // a count has no unit
		for _, name := range names {
			switch f := all[at][name]; {
			case f == nil:
				line = append(line, nothing)
			case f.Err != "":
				line = append(line, p.notes.mark(f.Err))
			default:
				line = append(line, spread(measure.Summarize(f.Values)))
			}
		}
		t.add(line...)
	}
	t.write(&p.Builder)
}

func (p *page) curves() {
	if len(p.Curves) == 0 {
		return
	}
	p.line("## How the cost of %s grows\n\nNanoseconds of an operation, one caller.\n", Ours)
	for _, over := range axes(p.Curves) {
		var t table
		for _, c := range p.Curves {
			if c.Over != over {
				continue
			}
			row, head := []string{c.Name}, []string{over}
			for _, point := range c.Points {
				head = append(head, short(point.X))
				row = append(row, spread(measure.Summarize(point.Values)))
			}
			if len(head) > len(t.head) {
				t.head = head
			}
			t.add(row...)
		}
		t.write(&p.Builder)
	}
}

// axes returns what grows in the curves.
func axes(list []*Curve) []string {
	var over []string
	for _, c := range list {
		if !slices.Contains(over, c.Over) {
			over = append(over, c.Over)
		}
	}
	return over
}

func (p *page) floors() {
	t := table{head: []string{"", ""}}
	for _, f := range p.Results.Figures {
		if f.Section != Floors {
			continue
		}
		value := nothing
		if f.Err != "" {
			value = p.notes.mark(f.Err)
		} else if s := measure.Summarize(f.Values); !math.IsNaN(s.Median) {
			value = spread(s) + " " + f.Unit
		}
		t.add(f.Name, value)
	}
	if len(t.rows) > 0 {
		p.line("## Floors of this machine\n\nWhat it takes without any store.\n")
		t.write(&p.Builder)
	}
}

func (p *page) configurations() {
	p.line("## Configurations\n")
	for _, s := range p.Stores {
		p.line("**%s**\n", strings.TrimSpace(s.Name+" "+s.Version))
		if s.Missing != "" {
			p.line("- was not measured: %s", s.Missing)
		}
		for _, note := range s.Notes {
			p.line("- %s", note)
		}
		p.line("")
	}
}

func (p *page) pictures(list []Picture, kind string) {
	for _, picture := range list {
		if picture.kind == kind {
			p.line("![%s](%s)\n", picture.Title, picture.File)
		}
	}
}
