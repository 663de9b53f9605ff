package main

import (
	"errors"
	"fmt"
	"os"

	"inmem"
)

// backupCmd copies a store.
type backupCmd struct {
	store
	To   string `required:"" help:"The directory for the copy: a new one, or an empty one." placeholder:"DIR"`
	JSON bool   `name:"json" help:"A JSON object."`
}

// Help describes the copy; kong shows it with --help.
func (c *backupCmd) Help() string {
	return `The copy has what was written before the command began, with the whole history, is synced to the
device, and was checked like 'inmem check' does. The store is not locked and not changed; another program may
go on writing to it. The copy is the same store at an earlier moment: it is for taking the place of the
original, not for going on beside it.`
}

// backedUp is what was copied.
type backedUp struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Runs    int    `json:"runs"`    // spaces included
	Keys    int    `json:"keys"`    // the metadata of runs included
	Commits uint64 `json:"commits"` // in the log
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"` // of all files
}

func (c *backupCmd) Run(a *app) error {
	if err := c.exists(); err != nil {
		return err
	}
	copying := a.begin("copying "+c.Dir, -1, false)
	checked, err := inmem.Backup(a.ctx, c.Dir, c.To)
	copying.end()
	if err != nil {
		return c.failed(err)
	}
	b := &backedUp{From: c.Dir, To: c.To}
	for _, s := range checked.Shards {
		b.Runs += s.Runs
		b.Keys += s.Keys
		b.Commits += s.Commits
	}
	for _, f := range filesOf(c.To) {
		if f.kind != "lock" {
			b.Files++
			b.Bytes += f.size
		}
	}
	if c.JSON {
		return a.json(b)
	}
	b.print(a)
	return nil
}

// failed says what to do about what is left of a copy.
func (c *backupCmd) failed(err error) error {
	code, hint := classify(err)
	switch {
	case errors.Is(err, inmem.ErrNotDirectory):
		hint = "give a directory with --to"
	case errors.Is(err, inmem.ErrNotEmpty), errors.Is(err, inmem.ErrLocked):
		// It was not begun.
	default:
		if _, statErr := os.Stat(c.To); statErr != nil {
			break // not even its directory was made
		}
		left := fmt.Sprintf("what is in %s is no whole copy: remove it before you try again", c.To)
		if hint != "" {
			left += ". " + hint
		}
		hint = left
	}
	return &cliError{code: code, err: err, hint: hint}
}

func (b *backedUp) print(a *app) {
	t := newTable("", "")
	field := func(name string, value any) { t.row(cell{name, a.style.dim}, value) }
	field("copied", b.From)
	field("to", cell{b.To, a.style.bold})
	field("runs", count(b.Runs)+", spaces included")
	field("keys", count(b.Keys)+", the metadata of runs included")
	field("commits", count(b.Commits))
	field("size", bytesText(b.Bytes)+" in "+plural(b.Files, "file"))
	t.print(a)
	a.printf("\n%s every checksum and digest of the copy is right\n", a.style.green("sound:"))
}
