package main

import (
	"bufio"
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/cmd/inmem/internal/agent"
	"inmem/run"
)

// TestDemoTimelineIsWhole runs the demo as a user does: the timeline that it
// prints has every version of the run once, and the kill where it was.
func TestDemoTimelineIsWhole(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	begun := time.Now()
	out, err := exec.Command("inmem", "demo", "--dir", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Less(t, time.Since(begun), 10*time.Second)

	_, timeline, ok := strings.Cut(string(out), "The run's timeline")
	require.True(t, ok)
	timeline, _, _ = strings.Cut(timeline, "On disk")
	versions := regexp.MustCompile(`(?m)^  v(\d+) `).FindAllStringSubmatch(timeline, -1)

	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var info *run.Info
	runs := map[string]*run.Info{}
	for i, err := range db.Runs(context.Background(), run.Filter{}) {
		require.NoError(t, err)
		if runs[i.Name] = i; info == nil {
			info = i // the agent's came first
		}
	}
	require.Len(t, runs, 3)
	from, _, forked := inmem.ForkOf(runs["caterer, cheaper"])
	require.True(t, forked)
	require.Equal(t, runs["caterer"].ID, from)
	require.Contains(t, string(out), "choose: {\"dish\":\"risotto\",\"price\":84} or {\"dish\":\"lasagne\",\"price\":57}")
	require.Equal(t, 1, strings.Count(string(out), "executes  choose"), "the fork does not execute what it is given")
	require.Equal(t, run.Completed, info.Status)
	require.Len(t, versions, int(info.LastVersion))
	for i, v := range versions {
		require.Equal(t, count(i+1), v[1])
	}
	require.Less(t, strings.Index(timeline, "v11"), strings.Index(timeline, "killed;"))
	require.Less(t, strings.Index(timeline, "killed;"), strings.Index(timeline, "v12"))
	requireHints(t, string(out))
}

// requireHints runs what the demo tells the reader to try.
func requireHints(t *testing.T, demo string) {
	t.Helper()
	_, hints, ok := strings.Cut(demo, "Try next\n")
	require.True(t, ok)
	said := map[string]string{
		"state get": "state    calling", "run show --tree": "└─ calculator", "event verify": "main: 19 events",
		"state history": "finished", "event ls": "message.assistant", "check": "sound",
	}
	for line := range strings.Lines(hints) {
		_, args, ok := strings.Cut(line, "inmem ")
		if !ok || strings.Contains(args, "tail -f") { // it would not end
			continue
		}
		out := inmemCommand(t, strings.Fields(args)...)
		for command, want := range said {
			if strings.HasPrefix(args, command) {
				require.Contains(t, out, want, args)
				delete(said, command)
			}
		}
	}
	require.Empty(t, said, "named by no hint")
}

// demoChild is the demo's agent at work on the store in dir.
func demoChild(t *testing.T, dir string, id run.ID) *child {
	t.Helper()
	self, err := exec.LookPath("inmem")
	require.NoError(t, err)
	c := &child{cmd: exec.Command(self, "demo-agent", "--dir", dir)}
	if !id.IsZero() {
		c.cmd.Args = append(c.cmd.Args, "--run", id.String())
	}
	c.goOn, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.events = bufio.NewReader(out)
	require.NoError(t, c.cmd.Start())
	return c
}

// TestAgentSurvivesAKillAtEveryStep kills the agent after each step it tells
// of, and lets another one finish: the list is always the same.
func TestAgentSurvivesAKillAtEveryStep(t *testing.T) {
	t.Parallel()
	var want []agent.TodoItem
	for steps := 1; ; steps++ {
		dir := filepath.Join(t.TempDir(), "demo")
		c := demoChild(t, dir, run.ID{})
		var e agent.Event
		for range steps {
			var err error
			e, err = c.next()
			require.NoError(t, err)
			if e.Kind == agent.Done {
				break
			}
			if steps > 1 {
				require.NoError(t, c.proceed())
			}
		}
		require.NoError(t, c.kill())
		status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.Equal(t, syscall.SIGKILL, status.Signal())
		last := e.Kind == agent.Done

		c = demoChild(t, dir, e.Run)
		for found := (agent.Event{}); found.Kind != agent.Done; {
			var err error
			found, err = c.next()
			require.NoError(t, err)
			require.NoError(t, c.proceed())
		}
		require.NoError(t, c.cmd.Wait())
		items, err := todoOf(dir).Items()
		require.NoError(t, err)
		if want == nil {
			want = items
		}
		require.Len(t, items, 4)
		require.Equal(t, want, items, "killed after %d steps", steps)
		checked, err := inmem.Check(dir)
		require.NoError(t, err)
		require.Empty(t, checked.Problems)
		if last {
			return
		}
	}
}

func TestShellQuote(t *testing.T) {
	for word, want := range map[string]string{
		"/tmp/a-b_c.d": "/tmp/a-b_c.d", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'",
	} {
		require.Equal(t, want, shellQuote(word))
	}
	require.False(t, bytes.ContainsAny([]byte(program()), "\n"))
}
