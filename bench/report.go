package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

var ctx = context.Background()

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// table collects the figures of all rounds.
type table struct {
	cfg    *config
	order  []string
	values map[string]map[int][]float64 // name → callers (0 = none) → rounds
}

func newTable(cfg *config) *table {
	return &table{cfg: cfg, values: map[string]map[int][]float64{}}
}

func (t *table) add(name string, callers int, value float64) {
	if t.values[name] == nil {
		t.values[name] = map[int][]float64{}
		t.order = append(t.order, name)
	}
	t.values[name][callers] = append(t.values[name][callers], value)
}

// write prints the report as Markdown.
func (t *table) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s/%s, %d processors%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), processor())
	fmt.Fprintf(&b, "%d keys in %d runs, values of %d B, %d rounds of %v; median (lowest – highest)\n\n",
		t.cfg.keys, t.cfg.runs, t.cfg.value, t.cfg.rounds, t.cfg.cell)
	fmt.Fprint(&b, "| operations/s")
	for _, n := range callers {
		fmt.Fprintf(&b, " | %d", n)
	}
	fmt.Fprint(&b, " |\n|---|---|---|---|\n")
	for _, name := range t.order {
		if t.values[name][0] != nil {
			continue
		}
		fmt.Fprintf(&b, "| %s", name)
		for _, n := range callers {
			fmt.Fprintf(&b, " | %s", summary(t.values[name][n]))
		}
		fmt.Fprint(&b, " |\n")
	}
	fmt.Fprint(&b, "\n| | |\n|---|---|\n")
	for _, name := range t.order {
		if v := t.values[name][0]; v != nil {
			fmt.Fprintf(&b, "| %s | %s |\n", name, summary(v))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// processor names the processor where the system tells.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return " (" + strings.Trim(name, "\t :\n") + ")"
		}
	}
	return ""
}

// summary is the median, with the extremes where there is more than one round.
func summary(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	v := slices.Sorted(slices.Values(values))
	median := v[len(v)/2]
	if len(v) == 1 {
		return short(median)
	}
	return fmt.Sprintf("%s (%s – %s)", short(median), short(v[0]), short(v[len(v)-1]))
}

func short(v float64) string {
	switch {
	case v >= 999_500:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 9_995:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
