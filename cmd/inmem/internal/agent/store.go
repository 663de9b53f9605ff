package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"inmem"
	"inmem/event"
	"inmem/state"
	"inmem/trace"
)

// store appends messages to the chat, with all that follows from them, in one
// transaction, and reports it once it is acknowledged. A number that is taken
// means that another agent works in this run.
func (a *Agent) store(ctx context.Context, messages ...Message) error {
	tx, err := a.Run.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	told := Event{Kind: Stored, Run: a.Run.ID(), Message: messages[len(messages)-1]}
	first := len(a.chat) == 0
	for _, m := range messages {
		if err := a.say(ctx, tx, m, &told); err != nil {
			return err
		}
	}
	if err := a.spans(ctx, tx, first, &told); err != nil {
		return err
	}
	if err := a.become(ctx, tx, first, &told); err != nil {
		return err
	}
	if told.Version, err = tx.Commit(ctx); err != nil {
		return err
	}
	return a.Report(told)
}

// say appends a message as the next event.
func (a *Agent) say(ctx context.Context, tx *inmem.Tx, m Message, told *Event) error {
	n := len(a.chat)
	e, err := event.Typed[Message](tx.Events(), nil).Append(ctx, event.Main,
		event.TypedNew[Message]{Type: "message." + m.Role, ID: strconv.Itoa(n + 1), Value: m},
		event.ExpectSequence(uint64(n)))
	if err != nil {
		return err
	}
	a.chat = append(a.chat, m)
	hash := e.Hash()
	told.Writes = append(told.Writes, Write{Face: "event", Sequence: e.Sequence, SHA256: hex.EncodeToString(hash[:])})
	return nil
}

// spans begins the span of a call, ends it with the call's answer, and those of
// the whole work with its first and last message.
func (a *Agent) spans(ctx context.Context, tx *inmem.Tx, first bool, told *Event) error {
	begin := func(s trace.Start) error {
		id, err := tx.Trace().Start(ctx, s)
		told.Writes = append(told.Writes, Write{Face: "trace", Span: id, SHA256: Hash(s.Input)})
		return err
	}
	end := func(id trace.ID, output string) error {
		told.Writes = append(told.Writes, Write{Face: "trace", Span: id, SHA256: Hash([]byte(output))})
		return tx.Trace().Finish(ctx, id, trace.Finish{Output: []byte(output)})
	}
	last := &a.chat[len(a.chat)-1]
	switch call := a.waiting(); {
	case first:
		return begin(trace.Start{
			Kind: trace.Custom, Name: "plan", Input: []byte(last.Content),
			Attributes: map[string]string{trace.AttrOperation: "invoke_agent"},
		})
	case call != nil:
		return begin(trace.Start{
			Kind: trace.ToolCall, Name: call.Function.Name, Parent: rootSpan, Input: []byte(call.Function.Arguments),
			Attributes: map[string]string{
				trace.AttrOperation: "execute_tool", trace.AttrToolName: call.Function.Name,
				trace.AttrToolCallID: call.ID, trace.AttrToolType: call.Type,
			},
		})
	case last.Role == "tool":
		id, err := openSpan(ctx, tx, last.ToolCallID)
		if err != nil {
			return err
		}
		return end(id, last.Content)
	}
	return end(rootSpan, last.Content)
}

// openSpan finds the span of a call, which another process may have begun.
func openSpan(ctx context.Context, tx *inmem.Tx, call string) (trace.ID, error) {
	filter := trace.Filter{Status: []trace.Status{trace.Open}, Attributes: map[string]string{trace.AttrToolCallID: call}}
	for span, err := range tx.Trace().List(ctx, filter) {
		return span.ID, err
	}
	return 0, fmt.Errorf("%s has no span", call)
}

// become sets the cell that says what the agent is at.
func (a *Agent) become(ctx context.Context, tx *inmem.Tx, first bool, told *Event) error {
	now, at := progress{Messages: len(a.chat)}, thinking
	if call := a.waiting(); call != nil {
		now.Waiting, at = call.ID, calling
	} else if a.hasEnded() {
		at = finished
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	value := state.Value{State: at, Data: data}
	if first {
		_, err = tx.State().Init(ctx, CellName, value, state.Declare(machine))
	} else {
		_, err = tx.State().Transition(ctx, CellName, func(state.Cell) (state.Value, error) { return value, nil })
	}
	told.Writes = append(told.Writes, Write{Face: "state", SHA256: Hash([]byte(at), data)})
	return err
}
