package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzTranscript reads any bytes as a file of recorded runs. What is accepted is
// what stands there: the lines are the file's, the messages the line's, byte for
// byte, and written down again they are read as the same.
func FuzzTranscript(f *testing.F) {
	for _, text := range []string{
		"",
		"\n \r\n\t\n",
		`{"name": "run", "messages": []}`,
		"\xef\xbb\xbf" + `{"name": "after a byte order mark", "messages": [{"role": "user", "content": "hi"}]}` + "\r\n",
		`{"name": "a", "namespace": {"tenant": "t", "app": "a", "agent": "x"}, "tags": {"k": "v"}, "messages": [{"role": "user"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}], "cost": 1}` + "\n" + `{"name": "b", "messages": [ { "role" : "user" } ]}`,
		`{"name": "twice", "name": "the last counts", "messages": [{"role": "user"}], "messages": []}`,
		`{"name": "null", "messages": null}`,
		`{"name": "", "messages": []}`,
		`{"name": 1, "messages": {}}`,
		`{"name": "a", "messages": [{"role": 7}]}`,
		`{"name": "a", "messages": [null, 1, "x", [], {}]}`,
		`{"name": "cut", "messages": [{"role": "us`,
		`{"name": "\ud800", "tags": {"": ""}, "messages": []}`,
		`{"messages": []} {"name": "two on a line", "messages": []}`,
		"{\"name\": \"no event\", \"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}",
		`{"name": "calls", "messages": [{"role": "a b", "tool_calls": [{"id": 1, "function": {"name": "\ud800", "arguments": {}}}]}, {"role": "tool", "tool_call_id": "x", "content": [1]}]}`,
		`[]`,
		"\x00\xff",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		want := splitLines(file)
		for _, lines := range []*lineReader{newLineReader(bytes.NewReader(file)), {r: bufio.NewReaderSize(bytes.NewReader(file), 16)}} {
			for _, w := range want {
				line, number, err := lines.next()
				require.NoError(t, err)
				require.Equal(t, w.number, number)
				require.Equal(t, string(w.text), string(line))
			}
			_, _, err := lines.next()
			require.Equal(t, io.EOF, err)
		}
		for _, w := range want {
			if r, err := parseRecord(w.text); err == nil {
				requireRecord(t, w.text, r)
			} else {
				require.NotEmpty(t, err.Error())
			}
		}
	})
}

type numberedLine struct {
	text   []byte
	number int
}

// splitLines is the other opinion on what the lines of a file are.
func splitLines(file []byte) (list []numberedLine) {
	file = bytes.TrimPrefix(file, byteOrderMark)
	for i, line := range bytes.Split(file, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			list = append(list, numberedLine{line, i + 1})
		}
	}
	return list
}

// requireRecord wants a record to be fit for the store and to be the line's.
func requireRecord(t *testing.T, line []byte, r *record) {
	t.Helper()
	require.NoError(t, r.meta.Validate())
	require.NotEmpty(t, r.meta.Name)
	require.Equal(t, r.meta.Namespace.DeriveID(r.meta.Name), r.meta.ID)
	require.True(t, slices.IsSorted(r.unknown))
	all := []byte(`{"messages":[`)
	for i, m := range r.messages {
		require.True(t, json.Valid(m))
		require.True(t, bytes.Contains(line, m), "message %d is not as it stands in the line", i+1)
		require.True(t, hasRole(m), "message %d has no role", i+1)
		requireStorable(t, m)
		if i > 0 {
			all = append(all, ',')
		}
		all = append(all, m...)
	}
	all = append(all, `]`...)
	for name, value := range map[string]any{"name": r.meta.Name, "namespace": r.meta.Namespace, "tags": r.meta.Tags} {
		b, err := json.Marshal(value)
		require.NoError(t, err)
		all = append(append(all, `,"`+name+`":`...), b...)
	}
	again, err := parseRecord(append(all, '}'))
	require.NoError(t, err)
	require.Empty(t, again.unknown)
	again.unknown = r.unknown
	require.Equal(t, r, again)
}

// hasRole looks for the role as the package json does: in any case.
func hasRole(message []byte) bool {
	var fields map[string]any
	if json.Unmarshal(message, &fields) != nil {
		return false
	}
	for name, value := range fields {
		if _, text := value.(string); text && strings.EqualFold(name, "role") {
			return true
		}
	}
	return false
}
