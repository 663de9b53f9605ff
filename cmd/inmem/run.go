package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"inmem"
	"inmem/run"
)

// runCmd holds the commands about runs.
type runCmd struct {
	Ls     runLsCmd     `cmd:"" name:"ls" help:"List runs, the oldest first."`
	Show   runShowCmd   `cmd:"" help:"Show a run: its metadata, digest and keys, or its history, or its spans."`
	Tail   runTailCmd   `cmd:"" help:"Print the last commits of a run, and follow it as it goes on."`
	Export runExportCmd `cmd:"" help:"Write a run with its whole history into one file."`
	Import runImportCmd `cmd:"" help:"Make runs of exported ones, the same to the last digit."`
	Rm     runRmCmd     `cmd:"" name:"rm" help:"Delete runs with everything in them, for good."`
}

// runLsCmd lists runs.
type runLsCmd struct {
	store
	Status  []run.Status      `help:"Only runs with one of these: active, paused, completed, failed, cancelled, archived." placeholder:"STATUS"`
	Tenant  string            `help:"Only runs of this tenant." placeholder:"NAME"`
	App     string            `help:"Only runs of this app." placeholder:"NAME"`
	Agent   string            `help:"Only runs of this agent." placeholder:"NAME"`
	Tag     map[string]string `help:"Only runs with this tag; may be repeated." placeholder:"KEY=VALUE" mapsep:"none"`
	Name    string            `help:"Only runs of exactly this name." placeholder:"NAME"`
	Parent  string            `help:"Only children of this run." placeholder:"ID"`
	Since   moment            `help:"Only runs begun at this time or later: 2006-01-02, 2006-01-02T15:04:05Z, or how long ago, such as 90m or 7d." placeholder:"TIME"`
	Until   moment            `help:"Only runs begun before this time." placeholder:"TIME"`
	Limit   int               `help:"At most so many." placeholder:"N"`
	Reverse bool              `help:"The newest first."`
	Spaces  bool              `help:"List spaces too."`
	JSON    bool              `name:"json" help:"One JSON object a line."`
}

func (c *runLsCmd) filter() (f run.Filter, err error) {
	f = run.Filter{
		Status: c.Status, Tags: c.Tag, Name: c.Name,
		Namespace: run.Namespace{Tenant: c.Tenant, App: c.App, Agent: c.Agent},
		From:      c.Since.Time, To: c.Until.Time,
		Limit: c.Limit, Reverse: c.Reverse, Spaces: c.Spaces,
	}
	if c.Limit < 0 {
		return f, usage("", "--limit %d is negative", c.Limit)
	}
	if c.Parent != "" {
		if f.Parent, err = run.ParseID(c.Parent); err != nil {
			err = usage("give the whole ID of the parent", "--parent: %w", err)
		}
	}
	return f, err
}

func (c *runLsCmd) Run(a *app) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	return c.read(a, func(db *inmem.DB) error {
		t := newTable("ID", "STATUS", "NAME", "NAMESPACE", "BEGAN", ">TOOK", ">VERSION", "TAGS")
		for info, err := range db.Runs(a.ctx, filter) {
			switch {
			case err != nil:
				return err
			case c.JSON:
				if err := a.json(info); err != nil {
					return err
				}
			default:
				t.row(info.ID, statusCell(a.style, info), plainOr(info.Name, "-"), namespaceText(info.Namespace),
					timeText(info.Created, timeLayout), took(info), count(info.LastVersion), tagsText(info.Tags))
			}
		}
		t.print(a)
		if !c.JSON && len(t.rows) == 0 {
			a.say("no runs")
		}
		return nil
	})
}

// statusText is a run's status, and of a space that it is one.
func statusText(info *run.Info) string {
	if info.Space {
		return "space"
	}
	return info.Status.String()
}

func statusCell(s style, info *run.Info) cell {
	paint := s.dim
	switch {
	case info.Space:
		paint = s.cyan
	case info.Status == run.Active, info.Status == run.Paused:
		paint = s.yellow
	case info.Status == run.Completed:
		paint = s.green
	case info.Status == run.Failed:
		paint = s.red
	}
	return cell{statusText(info), paint}
}

// namespaceText is a namespace for people.
func namespaceText(n run.Namespace) string {
	if n == (run.Namespace{}) {
		return "-"
	}
	return plain(n.String())
}

// took is how long a run took, of one that has ended.
func took(info *run.Info) string {
	if info.Ended == 0 {
		return "-"
	}
	if info.Ended == info.Created {
		return "<1ms"
	}
	return span(time.Duration(info.Ended-info.Created) * time.Millisecond)
}

func tagsText(tags map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, plain(k)+"="+plain(tags[k]))
	}
	return strings.Join(list, " ")
}

// plainOr is a text, or what stands for none.
func plainOr(s, none string) string {
	if s == "" {
		return none
	}
	return plain(s)
}

// moment is a time on the command line.
type moment struct{ time.Time }

// UnmarshalText reads a date, a time, or how long ago it is.
func (m *moment) UnmarshalText(b []byte) (err error) {
	s := string(b)
	if ago, err := parseAgo(s); err == nil {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339, timeLayout, "2006-01-02T15:04:05"} {
		if m.Time, err = time.ParseInLocation(layout, s, time.Local); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is no time: use 2006-01-02, 2006-01-02T15:04:05Z, or how long ago, such as 90m or 7d", s)
}

// parseAgo is time.ParseDuration, with days, for what lies in the past.
func parseAgo(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 36500) { // NaN is a number to ParseFloat
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return d, err
}
