package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"inmem"
)

// runExportCmd writes a run into a file.
type runExportCmd struct {
	store
	ID   string `arg:"" help:"The run's ID, or the beginning of it."`
	Out  string `short:"o" name:"out" help:"The file; standard output where there is none." placeholder:"FILE"`
	Zstd bool   `help:"Compress it."`
}

// Help describes the file; kong shows it with --help.
func (c *runExportCmd) Help() string {
	return `The file has the whole history of the run, as JSON Lines with a checksum, and needs no other: 'inmem run
import' makes the same run of it in another store, and package replaytest holds an agent against it. The same run
gives the same bytes each time. The store may be open in another program.`
}

func (c *runExportCmd) Run(a *app) error {
	if c.Out == "" && c.Zstd && a.outTerm {
		return usage("give a file with -o", "a terminal does not show what is compressed")
	}
	return c.read(a, func(db *inmem.DB) error {
		r, err := findRun(a, db, c.ID)
		if err != nil {
			return err
		}
		export := func(w io.Writer) error {
			return db.Export(a.ctx, r.ID(), w, &inmem.ExportOptions{Zstd: c.Zstd})
		}
		if c.Out == "" {
			return export(a.out)
		}
		size, err := writeFile(c.Out, export)
		if err != nil {
			return err
		}
		a.say("%s of run %v in %s", bytesText(size), r.ID(), c.Out)
		return nil
	})
}

// writeFile gives a file its name when all of it is there, on the device.
func writeFile(name string, write func(io.Writer) error) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriterSize(f, 64<<10)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("writing %s: %w", name, err)
	}
	return size, os.Rename(f.Name(), name)
}
