package main

import (
	"errors"

	"inmem"
	"inmem/run"
)

// checkCmd verifies a store.
type checkCmd struct {
	store
	JSON bool `name:"json" help:"A JSON object."`
}

// problem is something that is not as it should be, for programs.
type problem struct {
	File   string `json:"file,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	Reason string `json:"reason"`
}

// shardChecked is a shard's part of the result, for programs.
type shardChecked struct {
	Shard     int    `json:"shard"`
	Runs      int    `json:"runs"`
	Keys      int    `json:"keys"`
	Commits   uint64 `json:"commits"`
	LogBytes  int64  `json:"log_bytes"`
	Images    int    `json:"images"`
	Compared  int    `json:"compared"`
	TornBytes int64  `json:"torn_bytes"`
}

// indexChecked is a file of an index of vectors, for programs.
type indexChecked struct {
	File       string `json:"file"`
	Run        run.ID `json:"run"`
	Collection string `json:"collection,omitempty"`
	Bytes      int64  `json:"bytes"`
	Problem    string `json:"problem,omitempty"` // it is made anew: no problem of the store
}

func (c *checkCmd) Run(a *app) error {
	if err := c.named(); err != nil {
		return err
	}
	checking := a.begin("checking "+c.Dir, -1, false)
	found, err := inmem.Check(c.Dir)
	checking.end()
	if err != nil {
		return c.noStore(err)
	}
	return c.report(a, found)
}

func (c *checkCmd) report(a *app, found *inmem.Checked) error {
	if c.JSON {
		if err := c.json(a, found); err != nil {
			return err
		}
	} else {
		c.print(a, found)
	}
	if len(found.Problems) == 0 {
		return nil
	}
	result := &cliError{code: exitFailed} // everything was said already
	for _, p := range found.Problems {
		if errors.Is(p, inmem.ErrCorrupt) {
			result.code = exitDamaged
		}
	}
	return result
}

func (c *checkCmd) json(a *app, found *inmem.Checked) error {
	out := struct {
		Sound    bool           `json:"sound"`
		Holder   string         `json:"holder"` // who has the store open; "" = nobody
		Shards   []shardChecked `json:"shards"`
		Indexes  []indexChecked `json:"indexes"`
		Problems []problem      `json:"problems"`
	}{len(found.Problems) == 0, found.Holder, []shardChecked{}, []indexChecked{}, []problem{}}
	for i, s := range found.Shards {
		out.Shards = append(out.Shards, shardChecked{i, s.Runs, s.Keys, s.Commits, s.LogBytes, s.Images, s.Compared, s.TornBytes})
	}
	for _, x := range found.Indexes {
		i := indexChecked{File: x.File, Run: x.Run, Collection: x.Collection, Bytes: x.Bytes}
		if x.Err != nil {
			i.Problem = plainError(x.Err)
		}
		out.Indexes = append(out.Indexes, i)
	}
	for _, err := range found.Problems {
		p := problem{Reason: plainError(err)}
		var corrupt *inmem.CorruptError
		if errors.As(err, &corrupt) {
			p = problem{File: corrupt.File, Offset: &corrupt.Offset, Reason: corrupt.Reason}
		}
		out.Problems = append(out.Problems, p)
	}
	return a.json(out)
}

func (c *checkCmd) print(a *app, found *inmem.Checked) {
	t := newTable("SHARD", ">RUNS", ">KEYS", ">COMMITS", ">LOG", ">IMAGES", ">COMPARED", "")
	var torn int64
	unfinished := "was cut short"
	if found.Holder != "" {
		a.printf("%s has the store open: what it had written before is checked\n\n", a.style.bold(found.Holder))
		unfinished = "was under way"
	}
	for i, s := range found.Shards {
		note := ""
		if s.TornBytes > 0 {
			note = plural(s.TornBytes, "byte") + " of a write that " + unfinished
		}
		torn += s.TornBytes
		t.row(i, count(s.Runs), count(s.Keys), count(s.Commits), bytesText(s.LogBytes), count(s.Images), count(s.Compared), cell{note, a.style.yellow})
	}
	t.print(a)
	if torn > 0 && found.Holder == "" {
		a.printf("\nA crash cut a write short that was never acknowledged. That is no damage: the next opening for writing cuts it off.\n")
	}
	if len(t.rows) > 0 {
		a.printf("\n")
	}
	c.printIndexes(a, found.Indexes)
	if len(found.Problems) == 0 {
		a.printf("%s every checksum and digest is right\n", a.style.green("sound:"))
		return
	}
	for _, err := range found.Problems {
		var corrupt *inmem.CorruptError
		if errors.As(err, &corrupt) {
			a.printf("%s %s at offset %d: %s\n", a.style.red("damaged:"), corrupt.File, corrupt.Offset, corrupt.Reason)
		} else {
			a.printf("%s %s\n", a.style.red("problem:"), plainError(err))
		}
	}
	a.printf("\nNothing was changed. A shard with damage is not opened; 'inmem wal dump' shows what can be read.\n")
	a.printf("Restore the directory from a copy, or let 'inmem salvage --to DIR' make a new store of what still verifies.\n")
}

// printIndexes tells of damaged indexes, which are no damage to the store.
func (c *checkCmd) printIndexes(a *app, list []inmem.IndexChecked) {
	bad := 0
	for _, x := range list {
		if x.Err != nil {
			bad++
			a.printf("%s %s\n", a.style.yellow("index:"), plainError(x.Err))
		}
	}
	switch {
	case bad > 0:
		a.printf("An index is derived from vectors: one that cannot be used is made anew where it is wanted.\n\n")
	case len(list) > 0:
		a.printf("%s of vectors with the right checksum\n\n", plural(len(list), "index file"))
	}
}
