package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"inmem"
	"inmem/event"
	"inmem/state"
	"inmem/trace"
)

// countersCell is the name of the cell that counts what was imported.
const countersCell = "counters"

// asEvents are a run's messages as events of its main stream, with tool calls
// as spans and counters as a cell. A message comes with its spans and the
// counters in one commit.
type asEvents struct{ im *importer }

// messageID is the ID of the event of the n-th message, from 1 on.
func messageID(n int) string { return strconv.Itoa(n) }

func (l asEvents) compare(ctx context.Context, r *inmem.Run, rec *record) (have int, err error) {
	for e, err := range r.Events().Read(ctx, event.Main) {
		if err != nil {
			return 0, err
		}
		have++
		switch {
		case have > len(rec.messages):
			return 0, hasMore(rec)
		case e.ID != messageID(have) || !bytes.Equal(e.Payload, rec.messages[have-1]):
			return 0, conflict("event %d is not what the file has", e.Sequence)
		}
	}
	return have, nil
}

// add appends the messages behind the first ones, which are there.
func (l asEvents) add(ctx context.Context, r *inmem.Run, rec *record, have int) error {
	if have == len(rec.messages) {
		return nil
	}
	w := &chatWriter{run: r, open: map[string][]trace.ID{}}
	for n, message := range rec.messages {
		c, err := parseChat(message)
		if err != nil {
			return err // it was in order when the line was read
		}
		if w.sum.add(&c); n < have {
			continue
		}
		if n == have {
			if err := w.findOpen(ctx); err != nil {
				return err
			}
		}
		version, err := w.put(ctx, n+1, message, &c)
		if err != nil {
			return othersWrite(err)
		}
		line := acknowledged{Run: r.ID(), Stream: event.Main, Sequence: uint64(n + 1), Version: version}
		if err := l.im.stored(line, message); err != nil {
			return err
		}
	}
	return nil
}

// chatWriter adds messages to a run.
type chatWriter struct {
	run  *inmem.Run
	sum  counters              // up to the message that is to be added, it included
	open map[string][]trace.ID // spans that have no result yet, the oldest first, by the call's ID
}

// findOpen finds the spans that an import which was cut short left open.
func (w *chatWriter) findOpen(ctx context.Context) error {
	filter := trace.Filter{Kinds: []trace.Kind{trace.ToolCall}, Status: []trace.Status{trace.Open}}
	for span, err := range w.run.Trace().List(ctx, filter) {
		if err != nil {
			return err
		}
		id := span.Attributes[trace.AttrToolCallID]
		w.open[id] = append(w.open[id], span.ID)
	}
	return nil
}

// put stores the n-th message with all that comes of it, in one commit.
func (w *chatWriter) put(ctx context.Context, n int, message []byte, c *chat) (version uint64, err error) {
	tx, err := w.run.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	_, err = tx.Events().Append(ctx, event.Main, event.New{Type: c.eventType(), ID: messageID(n), Payload: message},
		event.ExpectSequence(uint64(n-1)))
	if err != nil {
		return 0, err
	}
	begun := make([]trace.ID, len(c.calls))
	for i := range c.calls {
		if begun[i], err = tx.Trace().Start(ctx, c.calls[i].start()); err != nil {
			return 0, err
		}
	}
	answered := cutText(c.answer, trace.MaxAttributeValue)
	waiting := w.open[answered]
	if c.answer != "" && len(waiting) > 0 {
		if err := tx.Trace().Finish(ctx, waiting[0], trace.Finish{Output: c.output}); err != nil {
			return 0, err
		}
	}
	if err := w.count(ctx, tx); err != nil {
		return 0, err
	}
	if version, err = tx.Commit(ctx); err != nil {
		return 0, err
	}
	if c.answer != "" && len(waiting) > 0 {
		w.open[answered] = waiting[1:]
	}
	for i := range c.calls {
		id := cutText(c.calls[i].id, trace.MaxAttributeValue)
		w.open[id] = append(w.open[id], begun[i])
	}
	return version, nil
}

// count sets the counters' cell.
func (w *chatWriter) count(ctx context.Context, tx *inmem.Tx) error {
	data, err := json.Marshal(w.sum)
	if err != nil {
		return err
	}
	cells := tx.State()
	_, err = cells.Transition(ctx, countersCell, func(c state.Cell) (state.Value, error) {
		return state.Value{State: c.State, Data: data}, nil
	})
	if errors.Is(err, inmem.ErrNotFound) {
		_, err = cells.Init(ctx, countersCell, state.Value{Data: data})
	}
	return err
}
