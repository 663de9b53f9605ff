package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"inmem"
	"inmem/run"
)

// runImportCmd makes runs of exported ones.
type runImportCmd struct {
	store
	Files []string `arg:"" name:"file" help:"Files of 'inmem run export', compressed or not; - is standard input."`
	JSON  bool     `name:"json" help:"A JSON object for each run."`
}

// Help describes what comes out; kong shows it with --help.
func (c *runImportCmd) Help() string {
	return `A run keeps its ID, its versions with their times, and its status, and so has the digest that it had. The
store is made where there is none. A file is read and checked whole before anything is changed. Importing it again
adds nothing, and goes on where an import was interrupted. A run that the store has with another history is left
alone and reported.`
}

// imported is a run that is there now.
type imported struct {
	*run.Info
	Digest string `json:"digest"`
	File   string `json:"file"`
}

func (c *runImportCmd) Run(a *app) error {
	if err := c.named(); err != nil {
		return err
	}
	bad := 0
	err := c.with(a, inmem.Open, nil, func(db *inmem.DB) error {
		for _, name := range c.Files {
			err := c.file(a, db, name)
			switch {
			case errors.Is(err, inmem.ErrOtherHistory), errors.Is(err, inmem.ErrRunDeleted):
				a.say("%s %s: %s", a.errStyle.yellow("conflict"), name, plainError(err))
				bad++
			case errors.Is(err, inmem.ErrInvalidExport):
				a.say("%s %s: %s", a.errStyle.red("bad file"), name, plainError(err))
				bad++
			case err != nil:
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err == nil && bad > 0 {
		return &cliError{code: exitBadInput} // each was reported
	}
	return err
}

// file imports one.
func (c *runImportCmd) file(a *app, db *inmem.DB, name string) (err error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close() // it was only read
		in = f
	}
	r, err := db.Import(a.ctx, io.Reader(in))
	if err != nil {
		return err
	}
	info, err := r.Info()
	if err != nil {
		return err
	}
	digest, version, err := r.Digest()
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(imported{info, digest.String(), name})
	}
	a.printf("%v  %s  %s, version %s, digest %v\n", r.ID(), statusText(info), plainOr(info.Name, "-"), count(version), digest)
	return nil
}
