package main

import (
	"errors"
	"strings"

	"inmem"
	"inmem/state"
)

// stateCmd holds the commands about the state cells of a run.
type stateCmd struct {
	Ls      stateLsCmd      `cmd:"" name:"ls" help:"List cells, in order of their names."`
	Get     stateGetCmd     `cmd:"" help:"Show a cell, and the machine that was declared for it."`
	History stateHistoryCmd `cmd:"" help:"Show what became of a cell, change by change."`
}

// jsonCell is a cell for programs.
type jsonCell struct {
	Cell       string  `json:"cell"`
	State      string  `json:"state,omitempty"`
	Data       *string `json:"data,omitempty"`
	DataBase64 string  `json:"data_base64,omitempty"`
	Version    uint64  `json:"version"`

	// Of a change.
	Time    string `json:"time,omitempty"`
	Removed bool   `json:"removed,omitempty"`

	// Of get, where there is a machine.
	Initial     string              `json:"initial,omitempty"`
	Transitions map[string][]string `json:"transitions,omitempty"`
}

func cellJSON(c *state.Cell) jsonCell {
	data := bytesJSON(c.Data)
	return jsonCell{Cell: c.Name, State: c.State, Data: data.text, DataBase64: data.base64, Version: c.Version}
}

// stateLsCmd lists cells.
type stateLsCmd struct {
	ofRun
	Prefix string `arg:"" optional:"" help:"Only cells whose names begin so."`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

func (c *stateLsCmd) Run(a *app) error {
	return c.read(a, func(f faces) error {
		t := newTable("CELL", "STATE", ">VERSION", ">SIZE", "DATA")
		for item, err := range f.State().List(a.ctx, c.Prefix) {
			switch {
			case err != nil:
				return err
			case c.JSON:
				if err := a.json(cellJSON(&item)); err != nil {
					return err
				}
			default:
				t.row(plain(item.Name), plainOr(item.State, "-"), count(item.Version), bytesText(len(item.Data)),
					cell{dataText(item.Data), a.style.dim})
			}
		}
		t.print(a)
		if !c.JSON && len(t.rows) == 0 {
			a.say("no state cells")
		}
		return nil
	})
}

// dataText is the beginning of data, where there is any.
func dataText(data []byte) string {
	if len(data) == 0 {
		return ""
	}
	return preview(data, dataPreview)
}

// stateGetCmd shows a cell.
type stateGetCmd struct {
	ofRun
	Name string `arg:"" help:"The cell's name."`
	Data bool   `help:"Only the data, byte for byte." xor:"form"`
	JSON bool   `name:"json" help:"The cell as a JSON object." xor:"form"`
}

func (c *stateGetCmd) Run(a *app) error {
	return c.read(a, func(f faces) error {
		found, err := f.State().Get(a.ctx, c.Name)
		if err != nil {
			return missing(err, "'inmem state ls' lists the cells", "state cell not found: %s", plain(c.Name))
		}
		if c.Data {
			_, err := a.out.Write(found.Data)
			return err
		}
		machine, err := f.State().Machine(a.ctx, c.Name)
		if err != nil && !errors.Is(err, inmem.ErrNotFound) {
			return err
		}
		if c.JSON {
			j := cellJSON(&found)
			if machine != nil {
				j.Initial, j.Transitions = machine.Initial, machine.Transitions
			}
			return a.json(j)
		}
		printCell(a, &found, machine)
		return nil
	})
}

func printCell(a *app, c *state.Cell, m *state.Machine) {
	t := newTable("", "")
	field := func(name string, value any) { t.row(cell{name, a.style.dim}, value) }
	field("cell", cell{plain(c.Name), a.style.bold})
	field("state", cell{plainOr(c.State, "-"), a.style.green})
	field("version", count(c.Version))
	field("data", bytesText(len(c.Data)))
	if len(c.Data) > 0 {
		field("", whole(c.Data))
	}
	if m != nil {
		name := "machine"
		for _, from := range m.States() {
			text := plain(from)
			if next := m.Transitions[from]; len(next) > 0 {
				text += " → " + plainList(next)
			}
			if from == m.Initial {
				text += ", the initial one"
			}
			field(name, text)
			name = ""
		}
	}
	t.print(a)
}

func plainList(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = plain(w)
	}
	return strings.Join(list, ", ")
}

// stateHistoryCmd shows the changes of a cell.
type stateHistoryCmd struct {
	ofRun
	Name string `arg:"" help:"The cell's name."`
	JSON bool   `name:"json" help:"One JSON object a line."`
}

func (c *stateHistoryCmd) Run(a *app) error {
	return c.read(a, func(f faces) error {
		t := newTable(">VERSION", "TIME", "STATE", ">SIZE", "DATA")
		changes := 0
		for change, err := range f.State().History(a.ctx, c.Name) {
			if err != nil {
				return err
			}
			changes++
			at := change.Time.UnixMilli()
			switch {
			case c.JSON:
				j := cellJSON(&change.Cell)
				j.Time, j.Removed = isoTime(at), change.Removed
				if err := a.json(j); err != nil {
					return err
				}
			case change.Removed:
				t.row(count(change.Version), timeText(at, milliLayout), cell{"removed", a.style.red}, "", "")
			default:
				t.row(count(change.Version), timeText(at, milliLayout), plainOr(change.State, "-"),
					bytesText(len(change.Data)), cell{dataText(change.Data), a.style.dim})
			}
		}
		t.print(a)
		if changes == 0 {
			return missing(inmem.ErrNotFound, "'inmem state ls' lists the cells", "state cell not found: %s", plain(c.Name))
		}
		return nil
	})
}
