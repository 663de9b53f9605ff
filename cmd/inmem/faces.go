package main

import (
	"errors"
	"fmt"

	"inmem"
	"inmem/event"
	"inmem/kv"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// faces is what a run holds, now or as it was.
type faces interface {
	KV() kv.Store
	Events() event.Store
	State() state.Store
	Trace() trace.Store
	Vectors() vector.Store
}

// ofRun is the argument and flags of the commands that read one run.
type ofRun struct {
	store
	RunID string `arg:"" name:"run" help:"The run's ID, or the beginning of it."`
	past
}

// past is the flag for what a run was.
type past struct {
	At *uint64 `help:"As it was at this version; 'inmem run show --history' lists them." placeholder:"VERSION"`
}

// of returns what the run holds, or held at the version that was asked for.
func (p *past) of(a *app, r *inmem.Run) (faces, error) {
	if p.At == nil {
		return r, nil
	}
	return r.At(a.ctx, *p.At)
}

// read opens the store for reading and finds the run.
func (c *ofRun) read(a *app, fn func(f faces) error) error {
	return c.store.read(a, func(db *inmem.DB) error {
		r, err := findRun(a, db, c.RunID)
		if err != nil {
			return err
		}
		f, err := c.of(a, r)
		if err != nil {
			return err
		}
		return fn(f)
	})
}

// missing makes what is not there an error that says what it is, and how to find
// those that are.
func missing(err error, hint, format string, args ...any) error {
	if errors.Is(err, inmem.ErrNotFound) || errors.Is(err, trace.ErrNotFound) {
		return &cliError{code: exitNotFound, err: fmt.Errorf(format, args...), hint: hint}
	}
	return err
}

// limited makes sure that a limit is none or positive.
func limited(limit int) error {
	if limit < 0 {
		return usage("", "--limit %d is negative", limit)
	}
	return nil
}

// jsonBytes is bytes for JSON: as the text they are, or in base64; nothing for
// none.
type jsonBytes struct {
	text   *string
	base64 string
}

func bytesJSON(b []byte) jsonBytes {
	if len(b) == 0 {
		return jsonBytes{}
	}
	text, inBase64 := jsonText(string(b))
	return jsonBytes{text, inBase64}
}

// dataPreview is how much of a value a row shows.
const dataPreview = 48
