package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
	"inmem/wal"
)

// walCmd holds the commands about the log.
type walCmd struct {
	Dump walDumpCmd `cmd:"" help:"Print the frames of the log, and where it is torn or damaged. Changes nothing, takes no lock, and needs no more than the files."`
}

// walDumpCmd prints log segments.
type walDumpCmd struct {
	store
	Shard []int    `help:"Only these shards." placeholder:"N"`
	RunID string   `name:"run" help:"Only the commits of this run." placeholder:"ID"`
	From  uint64   `help:"Only frames from this sequence on; a sequence is a shard's own." placeholder:"SEQ"`
	Limit int      `help:"At most so many frames." placeholder:"N"`
	JSON  bool     `name:"json" help:"One JSON object a line: segments, frames, ends."`
	Files []string `arg:"" optional:"" name:"file" help:"Segment files; without them all of the store's."`
}

// dumper prints the frames that were asked for.
type dumper struct {
	app     *app
	cmd     *walDumpCmd
	run     run.ID // zero = all
	printed int
	path    string
	damaged bool
}

// errEnough ends the reading of a file when the limit is reached.
var errEnough = errors.New("enough")

func (c *walDumpCmd) Run(a *app) error {
	d := &dumper{app: a, cmd: c}
	if c.Limit < 0 {
		return usage("", "--limit %d is negative", c.Limit)
	}
	if c.RunID != "" {
		var err error
		if d.run, err = run.ParseID(c.RunID); err != nil {
			return usage("the log has no index of names: give the whole ID", "--run: %w", err)
		}
	}
	shards, err := c.shards()
	if err != nil {
		return err
	}
	for _, files := range shards {
		for i, path := range files {
			var next uint64
			if i+1 < len(files) {
				next = firstOf(files[i+1])
			}
			if next != 0 && next <= c.From {
				continue // everything in it comes before what was asked for
			}
			if err := d.file(path, next); errors.Is(err, errEnough) {
				return d.verdict()
			} else if err != nil {
				return err
			}
		}
	}
	return d.verdict()
}

// verdict lets the exit code say that something was damaged; what it is stands
// in the output.
func (d *dumper) verdict() error {
	if d.damaged {
		return &cliError{code: exitDamaged}
	}
	return nil
}

// shards returns the files to print, those of a shard together, in order.
func (c *walDumpCmd) shards() ([][]string, error) {
	if len(c.Files) > 0 {
		var each [][]string
		for _, path := range c.Files {
			each = append(each, []string{path}) // files by themselves: who knows what follows on them
		}
		return each, nil
	}
	if err := c.exists(); err != nil && !errors.Is(err, inmem.ErrCorrupt) {
		return nil, err // without a manifest there may be a log all the same
	}
	dirs, err := filepath.Glob(filepath.Join(globQuote(c.Dir), "shard-*"))
	if err != nil {
		return nil, err
	}
	var all [][]string
	for _, dir := range dirs {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "shard-"))
		if err != nil || len(c.Shard) > 0 && !slices.Contains(c.Shard, n) {
			continue
		}
		files, err := filepath.Glob(filepath.Join(globQuote(dir), "*.wal"))
		if err != nil {
			return nil, err
		}
		all = append(all, files)
	}
	if len(all) == 0 {
		return nil, &cliError{code: exitNotFound, err: fmt.Errorf("%s has no such shard", c.Dir)}
	}
	return all, nil
}

// globQuote is a path that stands for itself in a pattern.
func globQuote(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(path)
}

// firstOf is the sequence of a segment's first frame, which is its name; 0 for
// a file that is called otherwise.
func firstOf(path string) uint64 {
	first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".wal"), 16, 64)
	if err != nil {
		return 0
	}
	return first
}

// file prints one segment. next is the first sequence of the one that follows;
// 0 = none does.
func (d *dumper) file(path string, next uint64) error {
	if err := d.app.ctx.Err(); err != nil {
		return err
	}
	d.path = path
	began := false
	begin := func() error {
		if began {
			return nil
		}
		began = true
		return d.begin()
	}
	if d.run.IsZero() && d.cmd.From == 0 {
		if err := begin(); err != nil {
			return err
		}
	}
	found, err := readSegment(path, func(f wal.Frame) error {
		if f.Sequence < d.cmd.From {
			return nil
		}
		commit, flaw := decode(f)
		if !d.run.IsZero() && (commit == nil || commit.Run != d.run) {
			return nil
		}
		if d.cmd.Limit > 0 && d.printed == d.cmd.Limit {
			return errEnough
		}
		d.printed++
		if err := begin(); err != nil {
			return err
		}
		return d.frame(f, commit, flaw)
	})
	var corrupt *inmem.CorruptError
	switch {
	case errors.As(err, &corrupt):
		d.damaged = true
		if err := begin(); err != nil {
			return err
		}
		return d.noSegment(corrupt)
	case err != nil:
		return err
	}
	if next != 0 && found.Evidence == "" && found.Last+1 != next {
		// A segment is begun only when all before it is on the device.
		if found.Flaw == "" {
			found.Flaw = "the frames end"
		}
		found.Evidence = fmt.Sprintf("the log goes on with sequence %d in another segment", next)
	}
	damaged := found.Evidence != ""
	d.damaged = d.damaged || damaged
	if !began && !damaged {
		return nil // nothing of what was asked for is in it
	}
	if err := begin(); err != nil {
		return err
	}
	return d.end(found, damaged)
}

// readSegment is wal.ReadSegment for a file that may be appended to meanwhile.
// What is no frame is looked at twice: it may have been completed before the
// frame was written that gives evidence against it.
func readSegment(path string, fn func(wal.Frame) error) (*wal.Dump, error) {
	var before *wal.Dump
	for {
		found, err := wal.ReadSegment(vfs.OS, path, func(f wal.Frame) error {
			if before != nil && f.Sequence <= before.Last {
				return nil
			}
			return fn(f)
		})
		if err != nil || found.Flaw == "" {
			return found, err
		}
		if before != nil && found.End == before.End {
			found.Evidence = before.Evidence
			return found, nil
		}
		before = found
	}
}

// decode returns the commit in a frame; flaw is why a frame with a right
// checksum holds none.
func decode(f wal.Frame) (commit *inmem.Commit, flaw string) {
	if f.Kind != wal.Record && f.Kind != wal.Base {
		return nil, ""
	}
	c, err := op.DecodeCommit(f.Payload)
	if err != nil {
		return nil, err.Error()
	}
	return &c, ""
}

// lockNote warns of reading a log that grows.
func lockNote(dir string) string {
	if holder, locked, err := vfs.OS.Locked(filepath.Join(dir, lockName)); err == nil && locked {
		return fmt.Sprintf("%s has the store open: the end may be a write that is under way", holder)
	}
	return ""
}
