package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"inmem"
	"inmem/event"
	"inmem/op"
)

// Imports of before there were events have each message under a key of its own.
// Such a run is known by these keys, and goes on as it began.

const messagePrefix = "messages/"

// messageKey is the key of the n-th message, from 1 on. Its digits make the
// order of the keys that of the messages.
func messageKey(n int) string { return fmt.Sprintf("%s%08d", messagePrefix, n) }

// asKeys are a run's messages under keys.
type asKeys struct{ im *importer }

// isOld reports whether the run has messages under keys, and none as events.
func isOld(ctx context.Context, r *inmem.Run) (bool, error) {
	if n, err := r.Events().Len(ctx, event.Main); err != nil || n > 0 {
		return false, err
	}
	for _, err := range r.KV().List(ctx, messagePrefix) {
		return err == nil, err
	}
	return false, nil
}

func (l asKeys) compare(ctx context.Context, r *inmem.Run, rec *record) (have int, err error) {
	for it, err := range r.KV().List(ctx, messagePrefix) {
		if err != nil {
			return 0, err
		}
		have++
		switch {
		case have > len(rec.messages):
			return 0, hasMore(rec)
		case it.Key != messageKey(have):
			return 0, conflict("%s is missing", messageKey(have))
		case !bytes.Equal(it.Value, rec.messages[have-1]):
			return 0, conflict("%s is not what the file has", it.Key)
		}
	}
	return have, nil
}

func (l asKeys) add(ctx context.Context, r *inmem.Run, rec *record, have int) error {
	for n := have + 1; n <= len(rec.messages); n++ {
		version, err := r.KV().PutIf(ctx, messageKey(n), rec.messages[n-1], 0)
		if err != nil {
			return othersWrite(err)
		}
		line := acknowledged{Run: r.ID(), Key: messageKey(n), Version: version}
		if err := l.im.stored(line, rec.messages[n-1]); err != nil {
			return err
		}
	}
	return nil
}

// othersWrite makes a conflict of an error that says that somebody else writes
// to the run.
func othersWrite(err error) error {
	for _, is := range []error{inmem.ErrRunNotActive, op.ErrWrongVersion, op.ErrConflict, event.ErrWrongSequence} {
		if errors.Is(err, is) {
			return conflict("somebody else writes to it: %s", plainError(err))
		}
	}
	return err
}
