package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	"inmem"
	"inmem/run"
)

const messagePrefix = "messages/"

// messageKey is the key of the n-th message, from 1 on. Its digits make the
// order of the keys that of the messages.
func messageKey(n int) string { return fmt.Sprintf("%s%08d", messagePrefix, n) }

// conflictError says why a run is left alone.
type conflictError struct{ reason string }

func (e *conflictError) Error() string { return e.reason }

func conflict(format string, args ...any) error {
	return &conflictError{fmt.Sprintf(format, args...)}
}

// record imports one run. An error is one that stops the import.
func (im *importer) record(ctx context.Context, where string, rec *record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	counter, err := im.store(ctx, rec)
	var differs *conflictError
	if errors.As(err, &differs) {
		im.app.say("%s %s: run %v (%s): %s", im.app.errStyle.yellow("conflict"), where, rec.meta.ID, plain(rec.meta.Name), differs.reason)
		counter, err = &im.sum.Conflicting, nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	im.mu.Lock()
	*counter++
	im.mu.Unlock()
	return nil
}

// store brings a run to where the record has it. It returns the counter of the
// summary that the run belongs to.
func (im *importer) store(ctx context.Context, rec *record) (counter *int, err error) {
	r, err := im.db.Run(rec.meta.ID)
	counter = &im.sum.Continued
	if errors.Is(err, inmem.ErrRunNotFound) {
		r, err = im.db.BeginRun(ctx, rec.meta)
		counter = &im.sum.New
	}
	switch {
	case errors.Is(err, inmem.ErrRunDeleted):
		return nil, conflict("it was deleted; an ID is never used again")
	case err != nil:
		return nil, err
	}
	have, ended, err := compare(ctx, r, rec)
	if err != nil {
		return nil, err
	}
	if ended {
		return &im.sum.Unchanged, nil
	}
	for n := have + 1; n <= len(rec.messages); n++ {
		if err := im.put(ctx, r, n, rec.messages[n-1]); err != nil {
			return nil, err
		}
	}
	err = r.End(ctx, run.Completed)
	if errors.Is(err, inmem.ErrTransition) {
		err = conflict("somebody else ended it meanwhile")
	}
	return counter, err
}

// put stores the n-th message, which is not there yet.
func (im *importer) put(ctx context.Context, r *inmem.Run, n int, message []byte) error {
	key := messageKey(n)
	version, err := r.KV().PutIf(ctx, key, message, 0)
	switch {
	case errors.Is(err, inmem.ErrWrongVersion), errors.Is(err, inmem.ErrRunNotActive):
		return conflict("somebody else writes to it: %s", plainError(err))
	case err != nil:
		return err
	}
	return im.stored(r.ID(), key, version, message)
}

// compare holds a stored run against its record. have is how many messages it
// has; ended says that it has all and takes no more.
func compare(ctx context.Context, r *inmem.Run, rec *record) (have int, ended bool, err error) {
	info, err := r.Info()
	if err != nil {
		return 0, false, err
	}
	if !maps.Equal(info.Tags, rec.meta.Tags) {
		return 0, false, conflict("its tags are %s, the file's %s", plainOr(tagsText(info.Tags), "none"), plainOr(tagsText(rec.meta.Tags), "none"))
	}
	for it, err := range r.KV().List(ctx, messagePrefix) {
		if err != nil {
			return 0, false, err
		}
		have++
		switch {
		case have > len(rec.messages):
			return 0, false, conflict("it has more than the file's %s", plural(len(rec.messages), "message"))
		case it.Key != messageKey(have):
			return 0, false, conflict("%s is missing", messageKey(have))
		case !bytes.Equal(it.Value, rec.messages[have-1]):
			return 0, false, conflict("%s is not what the file has", it.Key)
		}
	}
	complete := have == len(rec.messages)
	switch {
	case info.Status == run.Active, info.Status.Ended() && complete:
		return have, info.Status.Ended(), nil
	case info.Status.Ended():
		return 0, false, conflict("it is %v with %d of the file's %s", info.Status, have, plural(len(rec.messages), "message"))
	}
	return 0, false, conflict("it is %v; it goes on when its program resumes it", info.Status)
}
