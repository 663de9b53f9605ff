package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"inmem"
	"inmem/cmd/inmem/internal/agent"
	"inmem/event"
	"inmem/op"
	"inmem/trace"
)

// prove holds what was acknowledged against what is stored, and what the model
// wanted against what the tools did. What is not so is an error.
func (d *demo) prove(db *inmem.DB) error {
	if err := d.title("Proof"); err != nil {
		return err
	}
	r, err := db.Run(d.run)
	if err != nil {
		return err
	}
	for _, claim := range []func(*inmem.Run) (string, error){d.nothingLost, d.nothingTwice, d.listIsRight} {
		text, err := claim(r)
		if err != nil {
			return fmt.Errorf("proof failed: %w", err)
		}
		if err := errors.Join(d.print("  %s %s", d.app.style.green("✓"), text), d.pause(thinking)); err != nil {
			return err
		}
	}
	return nil
}

// nothingLost: the run as of each acknowledged commit has what the commit wrote,
// byte for byte, no version is left out, and no event was changed.
func (d *demo) nothingLost(r *inmem.Run) (string, error) {
	for _, e := range d.stored {
		then, err := r.At(d.app.ctx, e.Version)
		if err != nil {
			return "", err
		}
		for _, w := range e.Writes {
			version, hash, err := d.look(then, w)
			if err != nil {
				return "", fmt.Errorf("version %d: %w", e.Version, err)
			}
			if version != e.Version || hash != w.SHA256 {
				return "", fmt.Errorf("version %d: its %s is not what was acknowledged", e.Version, w.Face)
			}
		}
	}
	version := uint64(0)
	for c, err := range r.History(d.app.ctx, 1) {
		if err != nil {
			return "", err
		}
		if version++; c.Version != version {
			return "", fmt.Errorf("version %d is missing", version)
		}
	}
	if err := r.Events().Verify(d.app.ctx, event.Main); err != nil {
		return "", err
	}
	return fmt.Sprintf("all %d commits that were acknowledged before the kill are there, byte for byte, and the %d after it",
		d.before, len(d.stored)-d.before), nil
}

// look finds what a commit wrote in the run as of that commit: with which
// version it came, and its hash.
func (d *demo) look(then *inmem.Past, w agent.Write) (version uint64, hash string, err error) {
	ctx := d.app.ctx
	switch w.Face {
	case "event":
		e, err := then.Events().Get(ctx, event.Main, w.Sequence)
		sum := e.Hash()
		return e.Version, hex.EncodeToString(sum[:]), err
	case "state":
		c, err := then.State().Get(ctx, agent.CellName)
		return c.Version, agent.Hash([]byte(c.State), c.Data), err
	case "trace":
		s, err := then.Trace().Get(ctx, w.Span)
		if s.Status == trace.Open {
			return s.Version, agent.Hash(s.Input), err
		}
		return s.Version, agent.Hash(s.Output), err
	}
	return 0, "", fmt.Errorf("%q is no face", w.Face)
}

// nothingTwice: no call whose result was stored was made again.
func (d *demo) nothingTwice(*inmem.Run) (string, error) {
	if len(d.twice) > 0 {
		return "", fmt.Errorf("finished calls ran again: %s", strings.Join(d.twice, ", "))
	}
	if len(d.again) != 1 || d.again[0] != killedCall {
		return "", fmt.Errorf("the calls that were found done are %v, not %s alone", d.again, killedCall)
	}
	return fmt.Sprintf("the %d tool calls that were finished before the kill did not run again; %s, in doubt, was found done",
		len(d.answered), killedCall), nil
}

// listIsRight: the to-do file has each item that the model wanted, once.
func (d *demo) listIsRight(r *inmem.Run) (string, error) {
	var want []string
	for e, err := range event.Typed[agent.Message](r.Events(), nil).Read(d.app.ctx, event.Main) {
		if err != nil {
			return "", err
		}
		if calls := e.Value.ToolCalls; len(calls) > 0 && calls[0].Function.Name == agent.TodoName {
			want = append(want, calls[0].ID)
		}
	}
	items, err := todoOf(d.dir).Items()
	if err != nil {
		return "", err
	}
	var have []string
	for _, it := range items {
		have = append(have, it.Call)
	}
	if strings.Join(have, " ") != strings.Join(want, " ") {
		return "", fmt.Errorf("the to-do list has the calls %v, the model made %v", have, want)
	}
	return fmt.Sprintf("%s has each of its %d items once, in order (%s)", todoName, len(items), strings.Join(have, ", ")), nil
}

// timeline prints the run's history, and where the kill was.
func (d *demo) timeline(db *inmem.DB) error {
	r, err := db.Run(d.run)
	if err != nil {
		return err
	}
	if err := d.title("The run's timeline, from the log"); err != nil {
		return err
	}
	s := d.app.style
	var last int64
	for c, err := range r.History(d.app.ctx, 1) {
		if err != nil {
			return err
		}
		if last != 0 && c.Version == d.version+1 {
			err = d.print("  %s", s.red(fmt.Sprintf("──── killed; %s later another process had taken the run up ────", span(d.downtime))))
		}
		last = c.Time
		err = errors.Join(err, d.print("  %s  %s  %s", s.green(fmt.Sprintf("v%-3d", c.Version)), s.dim(timeText(c.Time, "15:04:05.000")), written(s, c)))
		if err = errors.Join(err, d.pause(working/3)); err != nil {
			return err
		}
	}
	return d.pause(thinking)
}

// written says what a commit of the agent wrote.
func written(s style, c *inmem.Commit) string {
	var parts []string
	for i := range c.Ops {
		o := &c.Ops[i]
		m := meaningOf(c, o)
		switch {
		case o.Tag == op.RunMetadata:
			parts = append(parts, metadataText(s, c, o))
		case o.Tag == op.Event && !m.hidden:
			parts = append(parts, fmt.Sprintf("event %d  %s", m.sequence, s.bold(messageText(m.data))))
		case o.Tag == op.StateMachine && m.state != "":
			parts = append(parts, s.dim(m.state))
		case o.Tag == op.Trace:
			parts = append(parts, s.dim(m.verb+" "+m.subject))
		}
	}
	return strings.Join(parts, ", ")
}

// messageText is a message of the chat in a few words.
func messageText(payload []byte) string {
	var m agent.Message
	switch err := json.Unmarshal(payload, &m); {
	case err != nil:
		return plainError(err)
	case len(m.ToolCalls) > 0:
		return "call " + m.ToolCalls[0].Function.Name
	case m.Role == "tool":
		return "result " + m.Content
	}
	return m.Role
}

// fileWords says what each kind of file is.
var fileWords = map[string]string{
	"manifest":   "the root of the store: what belongs to it, and from where to replay",
	"lock":       "held by the process that has the store open",
	"segment":    "the log of a shard: every commit, in order",
	"checkpoint": "images of runs, so that less is replayed",
	"index":      "the index of a collection of vectors, made anew where it is lost",
}

// onDisk prints the files of the demo's directory.
func (d *demo) onDisk() error {
	if err := d.title("On disk, in " + d.dir); err != nil {
		return err
	}
	t := newTable("", ">", "")
	for _, f := range filesOf(d.dir) {
		word := fileWords[f.kind]
		if f.name == todoName {
			word = "the to-do list, the tool's own file"
		}
		t.row("  "+f.name, bytesText(f.size), cell{word, d.app.style.dim})
	}
	t.print(d.app)
	return d.app.out.Flush()
}

// whatNext prints commands that work on the demo's directory.
func (d *demo) whatNext() error {
	t := newTable("", "")
	dir, name := shellQuote(d.dir), program()
	for _, try := range [][2]string{
		{"the runs", "run ls --dir " + dir},
		{"every commit of this one", fmt.Sprintf("run show --history --dir %s %v", dir, d.run)},
		{"the chat, as events", fmt.Sprintf("event ls --dir %s %v", dir, d.run)},
		{"its chain of hashes", fmt.Sprintf("event verify --dir %s %v", dir, d.run)},
		{"what the agent was at", fmt.Sprintf("state history --dir %s %v %s", dir, d.run, agent.CellName)},
		{"what it was at the kill", fmt.Sprintf("state get --dir %s --at %d %v %s", dir, d.version, d.run, agent.CellName)},
		{"its tool calls, as a tree", fmt.Sprintf("run show --tree --dir %s %v", dir, d.run)},
		{"its end, as it goes on", fmt.Sprintf("run tail -f --dir %s %v", dir, d.run)},
		{"replayed and compared", fmt.Sprintf("replay --verify --dir %s %v", dir, d.run)},
		{"the log, frame by frame", "wal dump --dir " + dir},
		{"every checksum, verified", "check --dir " + dir},
	} {
		t.row(cell{"  " + try[0], d.app.style.dim}, name+" "+try[1])
	}
	t.row(cell{"  what the tool did", d.app.style.dim}, "cat "+shellQuote(filepath.Join(d.dir, todoName)))
	if err := d.title("Try next"); err != nil {
		return err
	}
	t.print(d.app)
	return d.app.out.Flush()
}
