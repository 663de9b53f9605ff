package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"inmem/trace"
)

// maxCalls bounds the tool calls of a message: each is a span, in one commit.
const maxCalls = 1000

// chat is what the import looks at in a message of the OpenAI chat format.
// Whatever is not of that format is no call and no answer; it stays in the
// event, which has the message as it is.
type chat struct {
	role   string
	calls  []call
	answer string // the ID of the call that the message is the result of
	output []byte // of that call
}

// call is a tool call that a message asks for.
type call struct {
	id, kind, name string
	input          []byte
}

// parseChat reads a message. The error is about one that is not taken.
func parseChat(message []byte) (chat, error) {
	var m struct {
		Role    *string         `json:"role"`
		Content json.RawMessage `json:"content"`
		Calls   json.RawMessage `json:"tool_calls"`
		Answer  json.RawMessage `json:"tool_call_id"`
	}
	if err := unmarshal(message, &m); err != nil {
		return chat{}, err
	}
	switch {
	case m.Role == nil:
		return chat{}, errNoRole
	case !utf8.Valid(message):
		return chat{}, errNotUTF8
	}
	c := chat{role: *m.Role}
	var calls []json.RawMessage
	if json.Unmarshal(m.Calls, &calls) == nil {
		if len(calls) > maxCalls {
			return chat{}, fmt.Errorf("has %s, the limit is %s", plural(len(calls), "tool call"), count(maxCalls))
		}
		for _, raw := range calls {
			if call, ok := parseCall(raw); ok {
				c.calls = append(c.calls, call)
			}
		}
	}
	if c.answer = text(m.Answer); c.answer != "" && c.role == "tool" {
		c.output = content(m.Content)
	} else {
		c.answer = ""
	}
	return c, nil
}

func parseCall(raw []byte) (call, bool) {
	var c struct {
		ID       json.RawMessage `json:"id"`
		Type     json.RawMessage `json:"type"`
		Function *struct {
			Name      json.RawMessage `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		} `json:"function"`
	}
	if json.Unmarshal(raw, &c) != nil || c.Function == nil {
		return call{}, false
	}
	return call{text(c.ID), text(c.Type), text(c.Function.Name), content(c.Function.Arguments)}, true
}

// text is a JSON string's text; "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// content is a text without its quotes, and other JSON as it is.
func content(raw json.RawMessage) []byte {
	var s *string
	switch {
	case len(raw) == 0:
		return nil
	case json.Unmarshal(raw, &s) != nil:
		return raw
	case s == nil:
		return nil
	}
	return []byte(*s)
}

// start is how the span of a call begins.
func (c *call) start() trace.Start {
	s := trace.Start{
		Kind: trace.ToolCall, Name: cutText(c.name, trace.MaxName), Input: c.input,
		Attributes: map[string]string{trace.AttrOperation: "execute_tool"},
	}
	for attribute, value := range map[string]string{
		trace.AttrToolName: c.name, trace.AttrToolCallID: c.id, trace.AttrToolType: c.kind,
	} {
		if value != "" {
			s.Attributes[attribute] = cutText(value, trace.MaxAttributeValue)
		}
	}
	return s
}

// cutText is a text of at most n bytes. The event has the whole of it.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// eventType is the type of a message's event.
func (c *chat) eventType() string {
	if word := roleWord(c.role); word != "" {
		return "message." + word
	}
	return "message.other"
}

// roleWord is a role that is a word; "" for any other.
func roleWord(role string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	if len(role) > 64 || strings.Trim(role, letters) != "" {
		return ""
	}
	return role
}

// counters are the data of the cell that an import keeps, by the message.
type counters struct {
	Messages    int            `json:"messages"`
	ToolCalls   int            `json:"tool_calls"`
	ToolResults int            `json:"tool_results"`
	Roles       map[string]int `json:"roles"`
}

// knownRoles have counters of their own: any others are counted together, so
// that the cell stays small whatever is imported.
var knownRoles = map[string]bool{"system": true, "developer": true, "user": true, "assistant": true, "tool": true, "function": true}

func (n *counters) add(c *chat) {
	n.Messages++
	n.ToolCalls += len(c.calls)
	if c.answer != "" {
		n.ToolResults++
	}
	role := c.role
	if !knownRoles[role] {
		role = "other"
	}
	if n.Roles == nil {
		n.Roles = map[string]int{}
	}
	n.Roles[role]++
}
