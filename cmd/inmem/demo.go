package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"inmem"
	"inmem/cmd/inmem/internal/agent"
	"inmem/run"
)

// demoCmd shows what the store is for.
type demoCmd struct {
	Dir string `help:"An empty or new directory for the demo's store; without it, a temporary one that is kept." placeholder:"DIR"`
}

// Help describes what is to be seen; kong shows it with --help.
func (c *demoCmd) Help() string {
	return `A small agent plans a dinner: it calls a calculator, and a tool that writes a to-do list to a file. It works
in a process of its own, which is killed (SIGKILL) at the worst moment: when a tool has done its work and the
result is not stored yet. The store is opened again, another process takes the run up, and the demo proves that
nothing acknowledged was lost and nothing was done twice. Then the run is replayed from its history and compared;
another agent's run is forked before a decision, goes on with another one, and the two are compared.`
}

// killedCall is the call after whose work, and before whose result is stored,
// the agent is killed.
const killedCall = "call_5"

// How long the demo waits at a terminal, for the sake of the reader.
const (
	thinking = 220 * time.Millisecond // the model
	working  = 60 * time.Millisecond  // a tool, or the store
	reading  = 900 * time.Millisecond // after something to take in
)

// demo is a demo under way.
type demo struct {
	app *app
	dir string
	run run.ID

	stored   []agent.Event   // acknowledged commits, of both processes
	before   int             // how many of them came before the kill
	version  uint64          // the last acknowledged before the kill
	answered map[string]bool // calls whose results were stored before the kill
	twice    []string        // answered calls that ran again: there must be none
	again    []string        // calls that were made again and found done
	killed   time.Time
	downtime time.Duration // until another process had taken the run up
}

func (c *demoCmd) Run(a *app) error {
	dir, err := c.directory()
	if err != nil {
		return err
	}
	d := &demo{app: a, dir: dir, answered: map[string]bool{}}
	for _, act := range []func() error{d.firstLife, d.recovery, d.secondLife, d.curtain} {
		if err := act(); err != nil {
			return fmt.Errorf("the demo in %s: %w", dir, err)
		}
	}
	return nil
}

// directory returns the demo's directory. It touches no store that was there
// before.
func (c *demoCmd) directory() (string, error) {
	if c.Dir == "" {
		return os.MkdirTemp("", "inmem-demo-")
	}
	entries, err := os.ReadDir(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.Dir, os.MkdirAll(c.Dir, 0o755)
	case err != nil:
		return "", err
	case len(entries) > 0:
		return "", &cliError{code: exitFailed, err: fmt.Errorf("%s is not empty", c.Dir), hint: "the demo wants a directory of its own: a new one, or none at all"}
	}
	return c.Dir, nil
}

// print writes a line that is to be seen at once.
func (d *demo) print(format string, args ...any) error {
	d.app.printf(format+"\n", args...)
	return d.app.out.Flush()
}

func (d *demo) title(text string) error {
	return d.print("\n%s", d.app.style.bold(text))
}

// pause waits where somebody is watching.
func (d *demo) pause(long time.Duration) error {
	if d.app.outTerm {
		select {
		case <-d.app.ctx.Done():
		case <-time.After(long):
		}
	}
	return d.app.ctx.Err()
}

// firstLife lets the agent work until it is killed.
func (d *demo) firstLife() error {
	c, err := startAgent(d.app.ctx, d.app, d.dir, run.ID{})
	if err != nil {
		return err
	}
	s := d.app.style
	err = errors.Join(
		d.print("%s\n", s.bold("inmem demo: an agent is killed in the middle of its work, and goes on")),
		d.print("The agent plans a dinner for six. Its model is a script, its tools are real: a calculator,"),
		d.print("and a to-do list in a file. What it knows is what it has stored: its messages as events, what"),
		d.print("it is at as a state cell, its tool calls as spans. One transaction holds what the model wants,"),
		d.print("one what the tool answered. It works in process %s.\n", s.cyan(fmt.Sprint(c.cmd.Process.Pid))),
		d.pause(reading),
	)
	for err == nil {
		var e agent.Event
		if e, err = c.next(); err != nil {
			break
		}
		d.run = e.Run
		if e.Kind == agent.Stored {
			d.stored = append(d.stored, e)
			d.version = e.Version
			if e.Message.ToolCallID != "" {
				d.answered[e.Message.ToolCallID] = true
			}
		}
		if err = d.step(e); err != nil {
			break
		}
		if e.Kind == agent.Ran && e.Call == killedCall {
			return d.kill(c)
		}
		err = errors.Join(d.pauseAfter(e), c.proceed())
	}
	return c.abandon(fmt.Errorf("the agent never came to %s: %w", killedCall, err))
}

// kill ends the first life.
func (d *demo) kill(c *child) error {
	if err := c.kill(); err != nil {
		return err
	}
	d.before = len(d.stored)
	d.killed = time.Now()
	s := d.app.style
	return errors.Join(
		d.print("\n%s for process %d (%v), at the worst moment: the tool has done its work,", s.red("SIGKILL"), c.cmd.Process.Pid, c.cmd.ProcessState),
		d.print("and the store does not know."),
		d.pause(reading),
	)
}

// step prints what the agent did.
func (d *demo) step(e agent.Event) error {
	s := d.app.style
	switch m := e.Message; {
	case e.Kind == agent.Stored && len(m.ToolCalls) > 0:
		f := m.ToolCalls[0].Function
		return d.print("  %-4s model   %s(%s)  %s", versionOf(s, e), s.cyan(f.Name), f.Arguments, s.dim(m.ToolCalls[0].ID))
	case e.Kind == agent.Ran && e.Again:
		return d.print("       tool    %s: %s", s.yellow("it finds "+e.Call+" done already and does not do it again"), m.Content)
	case e.Kind == agent.Ran:
		return d.print("       tool    %s", m.Content)
	case e.Kind == agent.Stored && m.Role == "tool":
		return d.print("  %-4s %s", versionOf(s, e), s.dim("        the result of "+m.ToolCallID+" is stored"))
	case e.Kind == agent.Stored:
		return d.print("  %-4s %-7s %s", versionOf(s, e), m.Role, m.Content)
	case e.Kind == agent.Done:
		return d.print("  %-4s         %s", versionOf(s, e), s.green("the run is completed"))
	}
	return nil
}

// versionOf is an event's version in 4 columns.
func versionOf(s style, e agent.Event) string { return s.green(fmt.Sprintf("v%-3d", e.Version)) }

// pauseAfter gives the reader time for a step. Nothing is waited for before the
// kill: a log that falls silent is sealed, and a crash would not show.
func (d *demo) pauseAfter(e agent.Event) error {
	switch {
	case len(e.Message.ToolCalls) > 0 && e.Message.ToolCalls[0].ID == killedCall && d.before == 0:
		return nil
	case e.Kind == agent.Stored && e.Message.Role == "tool":
		return d.pause(thinking)
	}
	return d.pause(working)
}

// recovery opens the store and shows what was found.
func (d *demo) recovery() error {
	db, err := inmem.Open(d.dir, nil)
	if err != nil {
		return err
	}
	err = d.showRecovery(db)
	return errors.Join(err, db.Close())
}

// verdictText says what recovery's verdicts mean.
var verdictText = map[string]string{
	"interrupted": "the log ends without a seal, so its process died",
	"torn":        "the log ends inside a write that the crash cut short",
	"clean":       "the log had been silent long enough to be sealed before the process died",
}

func (d *demo) showRecovery(db *inmem.DB) error {
	report := db.Recovery()
	var commits uint64
	var torn int64
	for _, s := range report.Shards {
		commits += s.Commits
		torn += s.TornBytes
	}
	if len(report.Orphans) != 1 || report.Orphans[0] != d.run {
		return fmt.Errorf("recovery found the orphans %v, not the agent's run %v", report.Orphans, d.run)
	}
	r, err := db.Run(d.run)
	if err != nil {
		return err
	}
	info, err := r.Info()
	if err != nil {
		return err
	}
	if info.LastVersion < d.version {
		return fmt.Errorf("the run is at version %d, but %d was acknowledged", info.LastVersion, d.version)
	}
	s := d.app.style
	verdict := string(report.Verdict)
	return errors.Join(
		d.title("The store is opened again"),
		d.print("  verdict   %s: %s", s.yellow(verdict), verdictText[verdict]),
		d.print("  replayed  %s, in %s", plural(commits, "commit"), span(report.Duration)),
		d.print("  torn      %s", plural(torn, "byte")),
		d.print("  orphan    run %s (%s) is still active, at version %d;", s.cyan(d.run.String()), info.Name, info.LastVersion),
		d.print("            the last one that was acknowledged is %d", d.version),
		d.pause(reading),
	)
}

// secondLife lets another process take the run up and finish it.
func (d *demo) secondLife() error {
	c, err := startAgent(d.app.ctx, d.app, d.dir, d.run)
	if err != nil {
		return err
	}
	err = d.title(fmt.Sprintf("Another process, %d, takes the run up", c.cmd.Process.Pid))
	done := false
	for err == nil {
		var e agent.Event
		if e, err = c.next(); err == io.EOF {
			err = nil
			break
		}
		if err != nil {
			break
		}
		done = done || e.Kind == agent.Done
		err = errors.Join(d.resumed(e), d.pauseAfter(e), c.proceed())
	}
	if err != nil {
		return c.abandon(err)
	}
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the agent: %w", err)
	}
	if !done {
		return errors.New("the agent ended before its run did")
	}
	return nil
}

// resumed keeps and prints a step of the second life.
func (d *demo) resumed(e agent.Event) error {
	switch e.Kind {
	case agent.Found:
		d.downtime = time.Since(d.killed)
		return d.print("       %s", d.app.style.dim(fmt.Sprintf("it finds %s, and %s without a result", plural(e.Messages, "message"), e.Call)))
	case agent.Stored:
		d.stored = append(d.stored, e)
	case agent.Ran:
		if d.answered[e.Call] {
			d.twice = append(d.twice, e.Call)
		}
		if e.Again {
			d.again = append(d.again, e.Call)
		}
	}
	return d.step(e)
}

// curtain proves, shows what there is, and says what to try.
func (d *demo) curtain() error {
	db, err := inmem.Open(d.dir, nil)
	if err != nil {
		return err
	}
	for _, act := range []func(*inmem.DB) error{d.prove, d.timeline, d.replayed, d.whatIf} {
		if err = act(db); err != nil {
			break
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return errors.Join(d.onDisk(), d.whatNext())
}

// program is how this program is called.
func program() string {
	self, err := os.Executable()
	if err == nil && strings.Contains(self, "go-build") {
		return "go run ./cmd/inmem"
	}
	return shellQuote(os.Args[0])
}

// shellQuote is a word as a shell takes it.
func shellQuote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@%") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
