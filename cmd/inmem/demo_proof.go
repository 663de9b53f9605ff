package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"inmem"
	"inmem/cmd/inmem/internal/agent"
	"inmem/op"
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
	commits, err := d.commits(r)
	if err != nil {
		return err
	}
	for _, claim := range []func(map[uint64]*inmem.Commit) (string, error){d.nothingLost, d.nothingTwice, d.listIsRight} {
		text, err := claim(commits)
		if err != nil {
			return fmt.Errorf("proof failed: %w", err)
		}
		if err := errors.Join(d.print("  %s %s", d.app.style.green("✓"), text), d.pause(thinking)); err != nil {
			return err
		}
	}
	return nil
}

// commits reads the run's history: every version, without gaps.
func (d *demo) commits(r *inmem.Run) (map[uint64]*inmem.Commit, error) {
	commits := map[uint64]*inmem.Commit{}
	for c, err := range r.History(d.app.ctx, 1) {
		if err != nil {
			return nil, err
		}
		if c.Version != uint64(len(commits))+1 {
			return nil, fmt.Errorf("version %d follows on %d", c.Version, len(commits))
		}
		commits[c.Version] = c
	}
	return commits, nil
}

// nothingLost: each acknowledged commit is in the history, byte for byte.
func (d *demo) nothingLost(commits map[uint64]*inmem.Commit) (string, error) {
	for _, e := range d.stored {
		c := commits[e.Version]
		if c == nil || len(c.Ops) != len(e.Writes) {
			return "", fmt.Errorf("version %d is not what was acknowledged", e.Version)
		}
		for i, w := range e.Writes {
			sum := sha256.Sum256(c.Ops[i].Value)
			if c.Ops[i].Key != w.Key || hex.EncodeToString(sum[:]) != w.SHA256 {
				return "", fmt.Errorf("version %d: %s is not what was acknowledged", e.Version, w.Key)
			}
		}
	}
	return fmt.Sprintf("all %d commits that were acknowledged before the kill are there, byte for byte, and the %d after it",
		d.before, len(d.stored)-d.before), nil
}

// nothingTwice: no call whose result was stored was made again.
func (d *demo) nothingTwice(map[uint64]*inmem.Commit) (string, error) {
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
func (d *demo) listIsRight(commits map[uint64]*inmem.Commit) (string, error) {
	var want []string
	for v := uint64(1); v <= uint64(len(commits)); v++ {
		for _, o := range commits[v].Ops {
			var m agent.Message
			if o.Tag != op.KV || !strings.HasPrefix(o.Key, "messages/") {
				continue
			}
			if err := json.Unmarshal(o.Value, &m); err != nil {
				return "", err
			}
			if len(m.ToolCalls) > 0 && m.ToolCalls[0].Function.Name == agent.TodoName {
				want = append(want, m.ToolCalls[0].ID)
			}
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
		if o.Tag == op.RunMetadata {
			parts = append(parts, metadataText(s, c, o))
			continue
		}
		if what := messageText(o.Value); what != "" {
			parts = append(parts, o.Key+"  "+s.bold(what))
		} else {
			parts = append(parts, s.dim(o.Key))
		}
	}
	return strings.Join(parts, ", ")
}

// messageText is a message of the chat in a few words; "" for what is none.
func messageText(value []byte) string {
	var m agent.Message
	if err := json.Unmarshal(value, &m); err != nil || m.Role == "" {
		return ""
	}
	switch {
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
		{"one of its values", fmt.Sprintf("kv get --dir %s --run %v progress", dir, d.run)},
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
