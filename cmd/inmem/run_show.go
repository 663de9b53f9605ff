package main

import (
	"strings"

	"inmem"
	"inmem/run"
)

// runShowCmd shows a run.
type runShowCmd struct {
	store
	ID      string `arg:"" help:"The run's ID, or the beginning of it."`
	History bool   `help:"The commits instead of the keys." xor:"form"`
	Tree    bool   `help:"The spans, as they belong together, instead of the keys." xor:"form"`
	JSON    bool   `name:"json" help:"The run as a JSON object, with its keys; with --history each commit, with --tree each tree of spans, as one more line."`
}

// shown is what show knows of a run.
type shown struct {
	*run.Info
	Digest string    `json:"digest"`
	Keys   int       `json:"keys"`
	Bytes  int64     `json:"bytes"` // of keys and values
	List   []keyInfo `json:"list,omitempty"`

	Events  uint64 `json:"events,omitempty"`
	Streams int    `json:"streams,omitempty"` // that the events are in
	Cells   int    `json:"cells,omitempty"`   // of state
	Spans   int    `json:"spans,omitempty"`

	Vectors     int `json:"vectors,omitempty"`
	Collections int `json:"collections,omitempty"` // that the vectors are in
}

func (c *runShowCmd) Run(a *app) error {
	return c.read(a, func(db *inmem.DB) error {
		r, err := findRun(a, db, c.ID)
		if err != nil {
			return err
		}
		s, err := c.gather(a, r)
		if err != nil {
			return err
		}
		if c.JSON {
			return c.json(a, r, s)
		}
		s.print(a)
		a.printf("\n")
		switch {
		case c.History:
			return historyTable(a, r)
		case c.Tree:
			roots, err := r.Trace().Tree(a.ctx)
			if err != nil {
				return err
			}
			printTree(a, roots)
		default:
			s.printKeys(a)
		}
		return nil
	})
}

func (c *runShowCmd) json(a *app, r *inmem.Run, s *shown) error {
	if c.History || c.Tree {
		s.List = nil
	}
	if err := a.json(s); err != nil {
		return err
	}
	switch {
	case c.History:
		return historyJSON(a, r)
	case c.Tree:
		roots, err := r.Trace().Tree(a.ctx)
		if err != nil {
			return err
		}
		return treeJSON(a, roots)
	}
	return nil
}

func (c *runShowCmd) gather(a *app, r *inmem.Run) (*shown, error) {
	info, err := r.Info()
	if err != nil {
		return nil, err
	}
	digest, _, err := r.Digest()
	if err != nil {
		return nil, err
	}
	s := &shown{Info: info, Digest: digest.String()}
	for it, err := range r.KV().List(a.ctx, "") {
		if err != nil {
			return nil, err
		}
		s.List = append(s.List, infoOf(it))
		s.Keys++
		s.Bytes += int64(len(it.Key) + len(it.Value))
	}
	return s, s.count(a, r)
}

// count counts what there is beside keys.
func (s *shown) count(a *app, r *inmem.Run) (err error) {
	for name, err := range r.Events().Streams(a.ctx) {
		if err != nil {
			return err
		}
		n, err := r.Events().Len(a.ctx, name)
		if err != nil {
			return err
		}
		s.Events += n
		s.Streams++
	}
	for _, err := range r.State().List(a.ctx, "") {
		if err != nil {
			return err
		}
		s.Cells++
	}
	for c, err := range r.Vectors().Collections(a.ctx) {
		if err != nil {
			return err
		}
		n, err := r.Vectors().Len(a.ctx, c.Name)
		if err != nil {
			return err
		}
		s.Vectors += n
		s.Collections++
	}
	s.Spans, err = r.Trace().Len(a.ctx)
	return err
}

func (s *shown) print(a *app) {
	t := newTable("", "")
	field := func(name string, value any) { t.row(cell{name, a.style.dim}, value) }
	field("run", cell{s.ID.String(), a.style.bold})
	field("name", plainOr(s.Name, "-"))
	field("namespace", namespaceText(s.Namespace))
	field("status", statusCell(a.style, s.Info))
	field("began", timeText(s.Created, milliLayout))
	if s.Ended != 0 {
		field("ended", timeText(s.Ended, milliLayout)+", after "+took(s.Info))
	}
	if !s.Parent.IsZero() {
		field("parent", s.Parent)
	}
	if len(s.Tags) > 0 {
		field("tags", tagsText(s.Tags))
	}
	field("version", count(s.LastVersion))
	field("keys", count(s.Keys)+", "+bytesText(s.Bytes))
	if s.Events > 0 {
		field("events", count(s.Events)+" in "+plural(s.Streams, "stream"))
	}
	if s.Cells > 0 {
		field("state", plural(s.Cells, "cell"))
	}
	if s.Spans > 0 {
		field("trace", plural(s.Spans, "span"))
	}
	if s.Collections > 0 {
		field("vectors", count(s.Vectors)+" in "+plural(s.Collections, "collection"))
	}
	field("digest", s.Digest)
	t.print(a)
}

func (s *shown) printKeys(a *app) {
	t := keyTable()
	for i := range s.List {
		s.List[i].addTo(t)
	}
	t.print(a)
}

// jsonCommit is a commit of a run, for programs.
type jsonCommit struct {
	Version uint64   `json:"version"`
	Time    string   `json:"time"`
	Ops     []jsonOp `json:"ops"`
}

func historyJSON(a *app, r *inmem.Run) error {
	for c, err := range r.History(a.ctx, 1) {
		if err == nil {
			err = a.json(jsonCommit{c.Version, isoTime(c.Time), jsonOps(c)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// historyTable prints a row for each commit, and one more for each further
// operation in it.
func historyTable(a *app, r *inmem.Run) error {
	a.printf("%s\n", a.style.dim("VERSION  TIME                     CHANGE"))
	for c, err := range r.History(a.ctx, 1) {
		if err != nil {
			return err
		}
		for i := range c.Ops {
			version, at := count(c.Version), timeText(c.Time, milliLayout)
			if i > 0 {
				version, at = "", strings.Repeat(" ", len(milliLayout))
			}
			a.printf("%7s  %s  %s\n", version, at, opText(a.style, c, &c.Ops[i]))
		}
	}
	return nil
}
