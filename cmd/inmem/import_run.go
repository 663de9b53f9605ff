package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"inmem"
	"inmem/run"
)

// conflictError says why a run is left alone.
type conflictError struct{ reason string }

func (e *conflictError) Error() string { return e.reason }

func conflict(format string, args ...any) error {
	return &conflictError{fmt.Sprintf(format, args...)}
}

func hasMore(rec *record) error {
	return conflict("it has more than the file's %s", plural(len(rec.messages), "message"))
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
	messages, err := im.layout(ctx, r)
	if err != nil {
		return nil, err
	}
	have, ended, err := compare(ctx, r, rec, messages)
	if err != nil {
		return nil, err
	}
	if ended {
		return &im.sum.Unchanged, nil
	}
	if err := messages.add(ctx, r, rec, have); err != nil {
		return nil, err
	}
	err = r.End(ctx, run.Completed)
	if errors.Is(err, inmem.ErrTransition) {
		err = conflict("somebody else ended it meanwhile")
	}
	return counter, err
}

// layout is a way in which a run has its messages.
type layout interface {
	// compare holds the messages that the run has against the record's first
	// ones, and returns how many they are.
	compare(ctx context.Context, r *inmem.Run, rec *record) (have int, err error)
	// add adds the others.
	add(ctx context.Context, r *inmem.Run, rec *record, have int) error
}

func (im *importer) layout(ctx context.Context, r *inmem.Run) (layout, error) {
	old, err := isOld(ctx, r)
	if old {
		return asKeys{im}, err
	}
	return asEvents{im}, err
}

// compare holds a stored run against its record. have is how many messages it
// has; ended says that it has all and takes no more.
func compare(ctx context.Context, r *inmem.Run, rec *record, messages layout) (have int, ended bool, err error) {
	info, err := r.Info()
	if err != nil {
		return 0, false, err
	}
	if !maps.Equal(info.Tags, rec.meta.Tags) {
		return 0, false, conflict("its tags are %s, the file's %s", plainOr(tagsText(info.Tags), "none"), plainOr(tagsText(rec.meta.Tags), "none"))
	}
	if have, err = messages.compare(ctx, r, rec); err != nil {
		return 0, false, err
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
