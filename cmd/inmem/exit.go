package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"inmem"
	"inmem/event"
	"inmem/state"
	"inmem/trace"
	"inmem/vector"
)

// The exit codes. Scripts depend on them: never change one.
const (
	exitOK          = 0
	exitFailed      = 1   // it failed; standard error says why
	exitUsage       = 2   // the command line is wrong
	exitNotFound    = 3   // no such store, run, key, event, cell, span, vector or version
	exitDamaged     = 4   // stored data is damaged
	exitLocked      = 5   // another program has the store open
	exitBadInput    = 6   // some of the input was bad or conflicts; the rest went in
	exitRefused     = 7   // a key with another version, or a run that takes no writes
	exitDiffers     = 8   // after diff: the runs differ
	exitInterrupted = 130 // what a shell makes of an interrupt
)

// cliError is an error of the command itself.
type cliError struct {
	code int
	err  error  // nil = everything was said already
	hint string // what to do about it
}

func (e *cliError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *cliError) Unwrap() error { return e.err }

func usage(hint, format string, args ...any) error {
	return &cliError{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// advice is what the errors of the store mean to somebody at a terminal, the
// more telling ones first.
var advice = []struct {
	is   error
	code int
	hint string
}{
	{inmem.ErrLocked, exitLocked, "end that program, or wait for it, and try again"},
	{inmem.ErrUnsupported, exitFailed, "nothing was changed"},
	{inmem.ErrCorrupt, exitDamaged, "nothing was changed. 'inmem check' lists all that is damaged, 'inmem wal dump' shows what can be read; restore the directory from a copy, or let 'inmem salvage' make a new store of what still verifies"},
	{inmem.ErrNothingSalvaged, exitFailed, "no store was made; 'inmem wal dump' shows what can be read of a file"},
	{inmem.ErrNoStore, exitNotFound, "check --dir; 'inmem import' and 'inmem demo' make new stores"},
	{inmem.ErrNotEmpty, exitFailed, "a copy wants a directory of its own"},
	{inmem.ErrNotDirectory, exitFailed, "give a directory with --dir"},
	{inmem.ErrRunDeleted, exitNotFound, ""},
	{inmem.ErrRunNotFound, exitNotFound, "'inmem run ls' lists the runs, with --spaces the spaces too"},
	{inmem.ErrVersionGone, exitNotFound, "'inmem run show --history' lists the versions"},
	{inmem.ErrNotFound, exitNotFound, "'inmem kv ls' lists the keys"},
	{event.ErrBrokenChain, exitDamaged, "its checksums are right: it was written so. 'inmem event ls' shows what is there"},
	{event.ErrInvalidRecord, exitDamaged, ""},
	{state.ErrInvalidRecord, exitDamaged, ""},
	{trace.ErrInvalidRecord, exitDamaged, ""},
	{vector.ErrInvalidRecord, exitDamaged, ""},
	{vector.ErrNoCollection, exitNotFound, "'inmem vector ls' lists the collections, 'inmem vector create' makes one"},
	{vector.ErrExists, exitRefused, ""},
	{vector.ErrInvalidName, exitUsage, ""},
	{vector.ErrInvalidConfig, exitUsage, ""},
	{vector.ErrDimension, exitUsage, "'inmem vector ls' shows the dimension of a collection"},
	{vector.ErrNotFinite, exitUsage, ""},
	{vector.ErrZeroVector, exitUsage, ""},
	{vector.ErrInvalidMetadata, exitUsage, "metadata is like '{\"author\": \"x\"}'"},
	{event.ErrInvalidStream, exitUsage, ""},
	{inmem.ErrWrongVersion, exitRefused, "'inmem kv get --json' shows the version"},
	{inmem.ErrRunNotActive, exitRefused, ""},
	{inmem.ErrTransition, exitRefused, ""},
	{inmem.ErrDiskFull, exitFailed, ""},
	{inmem.ErrPoisoned, exitFailed, "the disk failed: see what is wrong with it before you go on. What was acknowledged is safe"},
	{inmem.ErrKeyEmpty, exitUsage, ""},
	{inmem.ErrInvalidTTL, exitUsage, ""},
	{context.Canceled, exitInterrupted, ""},
}

// classify returns an error's exit code and what to do about it.
func classify(err error) (code int, hint string) {
	var own *cliError
	if errors.As(err, &own) {
		return own.code, own.hint
	}
	for _, a := range advice {
		if errors.Is(err, a.is) {
			return a.code, a.hint
		}
	}
	return exitFailed, ""
}

// fail reports an error and returns its exit code.
func (a *app) fail(err error) int {
	code, hint := classify(err)
	if text := plainError(err); text != "" {
		a.say("%s %s", a.errStyle.red("inmem:"), text)
		if hint != "" {
			a.say("       %s", a.errStyle.dim(hint))
		}
	}
	return code
}

// plainError is an error's text without the package's name at each turn.
func plainError(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return strings.ReplaceAll(err.Error(), "inmem: ", "")
}
