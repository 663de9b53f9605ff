// Package agent is a small tool-calling agent whose whole state is a run: what
// it knows is what it has stored, so that it can be killed at any moment and
// goes on as if nothing had happened.
//
// Its messages are events, what it is at is a state cell with a machine, and
// its tool calls are spans. A turn is two transactions. The first holds what
// the model wants done, before anything is done; the second what the tool
// answered. A process that finds a call without its answer cannot know whether
// the tool had run: it calls the tool again with the same call ID, and the tool
// must know calls it has seen.
//
// Invariant: every message is stored once, as the event with its number, and
// in the same commit as all that follows from it.
package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

// Message is a message in the OpenAI chat format.
type Message struct {
	Role       string     `json:"role"` // "system", "user", "assistant" or "tool"
	Content    string     `json:"content"`
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
	Name       string     `json:"name,omitempty"` // of the tool
}

// ToolCall is what the model wants a tool to do.
type ToolCall struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"` // "function"
	Function Function `json:"function"`
}

// Function names a tool and has its arguments, a JSON object as text.
type Function struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// Model says what comes next in a chat.
type Model interface {
	Next(chat []Message) (Message, error)
}

// Tool does the work of a call. A tool with effects outside of the store must
// do a call once, however often it is asked: again says that it had been done.
type Tool interface {
	Call(id string, arguments []byte) (result string, again bool, err error)
}

// Kind says what an Event tells.
type Kind string

// The kinds of events.
const (
	Found  Kind = "found"  // the run as it was when the agent took it up
	Stored Kind = "stored" // a commit was acknowledged
	Ran    Kind = "ran"    // a tool has run; its result is not stored yet
	Done   Kind = "done"   // the run is completed
)

// Event is a step of an agent.
type Event struct {
	Kind     Kind    `json:"kind"`
	Run      run.ID  `json:"run"`
	Version  uint64  `json:"version,omitempty"`
	Writes   []Write `json:"writes,omitempty"`
	Message  Message `json:"message,omitzero"`
	Call     string  `json:"call,omitempty"` // the ID of the call that ran, or waits for its answer
	Again    bool    `json:"again,omitempty"`
	Messages int     `json:"messages,omitempty"`
}

// Write is what a commit did, for holding it against what is stored.
type Write struct {
	Face     string   `json:"face"`               // "event", "state" or "trace"
	Sequence uint64   `json:"sequence,omitempty"` // of an event of the main stream
	Span     trace.ID `json:"span,omitempty"`
	// SHA256 is an event's hash, or that of the state and data of the agent's
	// cell, or of what went into a span or came out of it.
	SHA256 string `json:"sha256"`
}

// Hash returns the SHA-256 of data as a Write has it.
func Hash(data ...[]byte) string {
	sum := sha256.Sum256(bytes.Join(data, []byte{0}))
	return hex.EncodeToString(sum[:])
}

// Agent works in a run.
type Agent struct {
	Run   *inmem.Run
	Model Model
	Tools map[string]Tool
	Task  []Message // what a new run begins with
	// Report is told of each step as it is done. An error stops the agent there.
	Report func(Event) error

	chat []Message
}

// CellName is the name of the state cell that says what the agent is at.
const CellName = "agent"

// The states of the cell.
const (
	thinking = "thinking" // the model is to say what comes next
	calling  = "calling"  // a tool's answer is waited for
	finished = "finished"
)

// machine says in which order the states may come.
var machine = state.Machine{Initial: thinking, Transitions: map[string][]string{
	thinking: {calling, finished}, calling: {thinking},
}}

// progress is the cell's data.
type progress struct {
	Messages int    `json:"messages"`
	Waiting  string `json:"waiting,omitempty"` // the call whose answer is not there yet
}

// rootSpan is the whole of the agent's work: its first span.
const rootSpan trace.ID = 1

// Work takes the run up where it is and goes on to its end.
func (a *Agent) Work(ctx context.Context) error {
	if err := a.load(ctx); err != nil {
		return err
	}
	if len(a.chat) == 0 {
		if err := a.store(ctx, a.Task...); err != nil {
			return err
		}
	}
	for {
		call := a.waiting()
		switch {
		case call != nil:
			if err := a.answer(ctx, call); err != nil {
				return err
			}
		case a.hasEnded():
			return a.end(ctx)
		default:
			next, err := a.Model.Next(a.chat)
			if err != nil {
				return fmt.Errorf("the model: %w", err)
			}
			if err := a.store(ctx, next); err != nil {
				return err
			}
		}
	}
}

// load reads the chat from the run.
func (a *Agent) load(ctx context.Context) error {
	for e, err := range event.Typed[Message](a.Run.Events(), nil).Read(ctx, event.Main) {
		if err != nil {
			return err
		}
		a.chat = append(a.chat, e.Value)
	}
	info, err := a.Run.Info()
	if err != nil {
		return err
	}
	found := Event{Kind: Found, Run: a.Run.ID(), Version: info.LastVersion, Messages: len(a.chat)}
	if call := a.waiting(); call != nil {
		found.Call = call.ID
	}
	return a.Report(found)
}

// waiting returns the call that has no answer yet, if there is one.
func (a *Agent) waiting() *ToolCall {
	if len(a.chat) == 0 {
		return nil
	}
	last := &a.chat[len(a.chat)-1]
	if len(last.ToolCalls) == 0 {
		return nil
	}
	return &last.ToolCalls[0] // the model makes one call at a time
}

// hasEnded reports whether the model has said its last word.
func (a *Agent) hasEnded() bool {
	last := &a.chat[len(a.chat)-1]
	return last.Role == "assistant" && len(last.ToolCalls) == 0
}

// answer runs a tool and stores what it says.
func (a *Agent) answer(ctx context.Context, call *ToolCall) error {
	result, again, err := a.call(call)
	if err != nil {
		result = "error: " + err.Error() // for the model to see
	}
	m := Message{Role: "tool", Content: result, ToolCallID: call.ID, Name: call.Function.Name}
	if err := a.Report(Event{Kind: Ran, Run: a.Run.ID(), Message: m, Call: call.ID, Again: again}); err != nil {
		return err
	}
	return a.store(ctx, m)
}

func (a *Agent) call(call *ToolCall) (result string, again bool, err error) {
	tool := a.Tools[call.Function.Name]
	if tool == nil {
		return "", false, fmt.Errorf("no tool %q", call.Function.Name)
	}
	return tool.Call(call.ID, []byte(call.Function.Arguments))
}

func (a *Agent) end(ctx context.Context) error {
	info, err := a.Run.Info()
	if err != nil {
		return err
	}
	if !info.Status.Ended() {
		if err := a.Run.End(ctx, run.Completed); err != nil {
			return err
		}
	}
	if info, err = a.Run.Info(); err != nil {
		return err
	}
	return a.Report(Event{Kind: Done, Run: a.Run.ID(), Version: info.LastVersion, Messages: len(a.chat)})
}
