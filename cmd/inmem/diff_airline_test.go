package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/diff"
	"inmem/event"
	"inmem/run"
	"inmem/trace"
)

// airlineDoc has, between two marks, what airlineReport prints.
const (
	airlineDoc   = "../../docs/airline.md"
	airlineBegin = "<!-- begin: TestAirlineReport -->\n"
	airlineEnd   = "<!-- end: TestAirlineReport -->\n"
)

// madeUp are the IDs that the model makes up for its calls: they are never the
// same in two runs, and say nothing.
var madeUp = diff.Ignore("/tool_calls/*/id", "/tool_call_id", "/attributes/"+trace.AttrToolCallID)

// TestAirlineReport imports the recorded runs, compares the two trials of each
// task, and wants the figures in the document to be what comes out. With
// INMEM_UPDATE=1 it writes them there.
func TestAirlineReport(t *testing.T) {
	recordedRuns(t)
	dir := filepath.Join(t.TempDir(), "store")
	inmemCommand(t, "import", "--dir", dir, recorded)
	have := airlineReport(t, dir)
	doc, err := os.ReadFile(airlineDoc)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(doc), airlineBegin)
	require.True(t, ok)
	want, tail, ok := strings.Cut(rest, airlineEnd)
	require.True(t, ok)
	if os.Getenv("INMEM_UPDATE") != "" {
		require.NoError(t, os.WriteFile(airlineDoc, []byte(head+airlineBegin+have+airlineEnd+tail), 0o644))
		return
	}
	require.Equal(t, want, have)
}

// trials are the two runs of a task, and how they differ.
type trials struct {
	task    string
	rewards [2]string
	calls   [2]int // tool calls
	message *diff.Divergence[event.Event]
	role    *diff.Divergence[event.Event] // the first message of another role
	call    *diff.Divergence[trace.Span]  // the first tool call with another name or arguments
}

func compareTrials(t *testing.T, db *inmem.DB, task string, runs [2]*run.Info) *trials {
	t.Helper()
	ctx := context.Background()
	compare := func(opts ...diff.Option) *diff.Result {
		opts = append(opts, diff.SameJSON()) // models put spaces now here, now there
		r, err := db.Diff(ctx, inmem.Point{Run: runs[0].ID}, inmem.Point{Run: runs[1].ID}, opts...)
		require.NoError(t, err)
		return r
	}
	first := func(r *diff.Result) *diff.Divergence[event.Event] {
		if len(r.Streams) == 0 {
			return nil
		}
		require.Equal(t, event.Main, r.Streams[0].Name)
		return &r.Streams[0].First
	}
	c := &trials{task: task}
	for i, info := range runs {
		c.rewards[i] = strings.TrimSuffix(info.Tags["reward"], ".0")
		r, err := db.Run(info.ID)
		require.NoError(t, err)
		c.calls[i], err = r.Trace().Len(ctx)
		require.NoError(t, err)
	}
	c.message = first(compare(madeUp, diff.Only(diff.Events)))
	c.role = first(compare(diff.Ignore("/*"), diff.Only(diff.Events)))
	if s := compare(madeUp, diff.Ignore("/output", "/status", "/error"), diff.Only(diff.Trace)).Spans; s != nil {
		c.call = &s.First
	}
	return c
}

// kind says in a word how the tool calls diverge.
func (c *trials) kind() string {
	switch d := c.call; {
	case d == nil:
		return "the same calls"
	case d.A == nil || d.B == nil:
		return "one makes more calls"
	case d.Same():
		return "another tool"
	case !slices.ContainsFunc(d.Differences, func(x diff.Difference) bool { return x.Path != "/input/thought" && x.Path != "/input/summary" }):
		return "other words in a thought or a summary"
	}
	return "other arguments"
}

func roleOf(e *event.Event) string {
	if e == nil {
		return "ended"
	}
	return strings.TrimPrefix(e.Type, "message.")
}

func (c *trials) row() string {
	message, role, call := "–", "–", fmt.Sprintf("none of %d", c.calls[0])
	if d := c.message; d != nil {
		message = fmt.Sprintf("%d, %s", d.Position, roleOf(d.A))
		if d.Same() {
			message += " / " + roleOf(d.B)
		}
	}
	if d := c.role; d != nil {
		role = fmt.Sprintf("%d, %s / %s", d.Position, roleOf(d.A), roleOf(d.B))
	}
	if d := c.call; d != nil {
		name := func(s *trace.Span) string {
			if s == nil {
				return "no more"
			}
			return "`" + s.Name + "`"
		}
		call = fmt.Sprintf("%d, %s", d.Position, name(d.A))
		if d.Same() {
			call += " / " + name(d.B)
		}
		for i, x := range d.Differences {
			if i == 2 {
				call += fmt.Sprintf(" … %d more", len(d.Differences)-i)
				break
			}
			call += " `" + strings.TrimPrefix(x.Path, "/input") + "`"
		}
	}
	return fmt.Sprintf("| %s | %s, %s | %s | %s | %s |\n", c.task, c.rewards[0], c.rewards[1], message, role, call)
}

func airlineReport(t *testing.T, dir string) string {
	t.Helper()
	db, err := inmem.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	byTask := map[string][2]*run.Info{}
	for info, err := range db.Runs(context.Background(), run.Filter{}) {
		require.NoError(t, err)
		pair := byTask[info.Tags["task"]]
		pair[map[string]int{"0": 0, "1": 1}[info.Tags["trial"]]] = info
		byTask[info.Tags["task"]] = pair
	}
	require.Len(t, byTask, 50)
	var table strings.Builder
	table.WriteString("| task | rewards | first other message | first other role | first other tool call |\n|---:|---|---|---|---|\n")
	var list []*trials
	for i := range 50 {
		c := compareTrials(t, db, fmt.Sprint(i), byTask[fmt.Sprint(i)])
		list = append(list, c)
		table.WriteString(c.row())
	}
	return airlineCounts(list) + "\n" + table.String()
}

// airlineCounts is how often the trials diverge in which way.
func airlineCounts(list []*trials) string {
	messages := map[string]int{}
	outcomes := []string{"both solved", "neither solved", "one of the two solved"}
	kinds := []string{"the same calls", "one makes more calls", "another tool", "other arguments", "other words in a thought or a summary"}
	counts := map[[2]string]int{}
	for _, c := range list {
		outcome := outcomes[2]
		if c.rewards[0] == c.rewards[1] {
			outcome = outcomes[map[string]int{"1": 0, "0": 1}[c.rewards[0]]]
		}
		counts[[2]string{c.kind(), outcome}]++
		switch {
		case c.message == nil:
			messages["none"]++
		case c.message.Position == 2 && roleOf(c.message.A) == "user":
			messages["the user's first"]++
		default:
			messages["a later one"]++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "First message that is another: the user's first in %d tasks, a later one in %d, none in %d.\n\n",
		messages["the user's first"], messages["a later one"], messages["none"])
	fmt.Fprintf(&b, "| the first tool call that is another | %s | tasks |\n|---|---:|---:|---:|---:|\n", strings.Join(outcomes, " | "))
	for _, kind := range kinds {
		fmt.Fprintf(&b, "| %s", kind)
		sum := 0
		for _, outcome := range outcomes {
			n := counts[[2]string{kind, outcome}]
			sum += n
			fmt.Fprintf(&b, " | %d", n)
		}
		fmt.Fprintf(&b, " | %d |\n", sum)
	}
	return b.String()
}
