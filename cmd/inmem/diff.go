package main

import (
	"errors"
	"strconv"
	"strings"

	"inmem"
	"inmem/diff"
)

// diffCmd compares runs.
type diffCmd struct {
	store
	A      string   `arg:"" help:"A run's ID, or the beginning of it; with @N at its version N."`
	B      string   `arg:"" help:"The run to compare it with, in the same way."`
	Other  string   `help:"B is in the store in this directory." placeholder:"DIR"`
	Only   []string `help:"Compare only these: ${enum}; may be repeated." enum:"keys,events,state,trace,vectors" placeholder:"PART"`
	Ignore []string `help:"Leave out differences at this path and below; a JSON Pointer, with * for any one step; may be repeated." placeholder:"PATH" sep:"none"`
	Same   bool     `name:"same-json" help:"JSON that means the same is equal, however it is written."`
	Limit  int      `help:"List at most so many of each kind; 0 = all. Has no effect on --json." default:"20" placeholder:"N"`
	JSON   bool     `name:"json" help:"One JSON object a line: the whole, then each difference."`
}

// Help describes what is compared; kong shows it with --help.
func (c *diffCmd) Help() string {
	return `Events belong together by type, spans by kind and name, as many as possible in order. Of events the
payloads are compared; of cells /state and /data; of spans /status, /parent, /input, /output, /error, /usage and
/attributes; of collections /dimension and /metric; of vectors /vector and /metadata. Values that are JSON are
compared by path. Times, deadlines, versions and the IDs of events and spans are not compared. IDs that a model made up can be left out:

  inmem diff A B --ignore '/tool_calls/*/id' --ignore /tool_call_id --ignore /attributes/gen_ai.tool.call.id

The exit code is 0 where nothing differs, and 8 where something does.`
}

func (c *diffCmd) options() (opts []diff.Option, err error) {
	if err := limited(c.Limit); err != nil {
		return nil, err
	}
	opts = append(opts, diff.Ignore(c.Ignore...))
	if _, err := diff.Check(opts...); err != nil {
		return nil, usage("a path is like /tool_calls/*/id", "--ignore: %v", plainError(err))
	}
	if c.Same {
		opts = append(opts, diff.SameJSON())
	}
	parts := diff.Part(0)
	for _, name := range c.Only {
		parts |= map[string]diff.Part{"keys": diff.Keys, "events": diff.Events, "state": diff.State, "trace": diff.Trace, "vectors": diff.Vectors}[name]
	}
	if parts != 0 {
		opts = append(opts, diff.Only(parts))
	}
	return opts, nil
}

func (c *diffCmd) Run(a *app) error {
	opts, err := c.options()
	if err != nil {
		return err
	}
	return c.read(a, func(db *inmem.DB) error {
		pastA, err := pointOf(a, db, c.A)
		if err != nil {
			return err
		}
		if c.Other == "" {
			return c.compare(a, db, pastA, opts)
		}
		other := store{Dir: c.Other}
		return other.read(a, func(db *inmem.DB) error { return c.compare(a, db, pastA, opts) })
	})
}

func (c *diffCmd) compare(a *app, db *inmem.DB, pastA *inmem.Past, opts []diff.Option) error {
	pastB, err := pointOf(a, db, c.B)
	if err != nil {
		return err
	}
	r, err := inmem.DiffPast(a.ctx, pastA, pastB, opts...)
	if err != nil {
		return err
	}
	if c.JSON {
		err = diffJSON(a, r)
	} else {
		p := diffPrinter{app: a, limit: c.Limit}
		err = errors.Join(p.head("A", pastA), p.head("B", pastB))
		p.all(r)
	}
	if err == nil && !r.Equal() {
		return &cliError{code: exitDiffers}
	}
	return err
}

// pointOf finds a run, at the version that is named behind an @.
func pointOf(a *app, db *inmem.DB, text string) (*inmem.Past, error) {
	id, at, named := strings.Cut(text, "@")
	version := uint64(0)
	if named {
		var err error
		if version, err = strconv.ParseUint(at, 10, 64); err != nil || version == 0 {
			return nil, usage("'inmem run show --history' lists them", "%q is no version of a run", at)
		}
	}
	r, err := findRun(a, db, id)
	if err != nil {
		return nil, err
	}
	return db.At(a.ctx, inmem.Point{Run: r.ID(), Version: version})
}
