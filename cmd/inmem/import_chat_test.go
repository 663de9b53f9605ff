package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/trace"
)

// TestChatTakesWhatIsThere: what is not of the chat format is no call and no
// answer, and no reason to refuse a message.
func TestChatTakesWhatIsThere(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]chat{
		`{"role":"user","content":"hi"}`:                                                      {role: "user"},
		`{"role":"assistant","tool_calls":null}`:                                              {role: "assistant"},
		`{"role":"assistant","tool_calls":{"id":"a"}}`:                                        {role: "assistant"},
		`{"role":"assistant","tool_calls":[7,null,{},{"function":null},{"function":"f"}]}`:    {role: "assistant"},
		`{"role":"assistant","tool_calls":[{"function":{}}]}`:                                 {role: "assistant", calls: []call{{}}},
		`{"role":"a","tool_calls":[{"id":1,"type":{},"function":{"name":[],"arguments":7}}]}`: {role: "a", calls: []call{{input: []byte("7")}}},
		`{"role":"a","tool_calls":[{"id":"x","type":"function","function":{"name":"n","arguments":"\u00e9"}}]}`: {
			role: "a", calls: []call{{id: "x", kind: "function", name: "n", input: []byte("é")}}},
		`{"role":"tool","tool_call_id":"x","content":null}`:      {role: "tool", answer: "x"},
		`{"role":"tool","tool_call_id":"x"}`:                     {role: "tool", answer: "x"},
		`{"role":"tool","tool_call_id":"x","content":[ 1 ]}`:     {role: "tool", answer: "x", output: []byte("[ 1 ]")},
		`{"role":"tool","tool_call_id":"x","content":"a\nb"}`:    {role: "tool", answer: "x", output: []byte("a\nb")},
		`{"role":"tool","tool_call_id":7,"content":"of none"}`:   {role: "tool"},
		`{"role":"user","tool_call_id":"x","content":"no tool"}`: {role: "user"},
	} {
		have, err := parseChat([]byte(message))
		require.NoError(t, err, message)
		require.Equal(t, want, have, message)
	}
	calls := func(n int) []byte {
		return []byte(`{"role":"a","tool_calls":[` + strings.TrimSuffix(strings.Repeat(`{"function":{}},`, n), ",") + `]}`)
	}
	have, err := parseChat(calls(maxCalls))
	require.NoError(t, err)
	require.Len(t, have.calls, maxCalls)
	_, err = parseChat(calls(maxCalls + 1))
	require.ErrorContains(t, err, "1,001 tool calls, the limit is 1,000")
	_, err = parseChat([]byte("{\"role\":\"user\",\"content\":\"\xff\"}"))
	require.ErrorIs(t, err, errNotUTF8)
	_, err = parseChat([]byte(`{"content":"x"}`))
	require.ErrorIs(t, err, errNoRole)
}

func TestEventTypeOfARole(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]string{
		"user": "message.user", "My_Role-2": "message.My_Role-2", "": "message.other", "a b": "message.other", "é": "message.other",
		"x\x00": "message.other", strings.Repeat("x", 64): "message." + strings.Repeat("x", 64), strings.Repeat("x", 65): "message.other",
	} {
		require.Equal(t, want, (&chat{role: role}).eventType(), "%q", role)
	}
}

func TestCutText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aé", 2, "a"}, {"éa", 2, "é"}, {"𝄞", 3, ""}} {
		require.Equal(t, c.want, cutText(c.text, c.n))
	}
}

// TestImportOfOddCalls imports what recorded chats should not have: everything
// goes in, and each result ends the span that has waited for it longest.
func TestImportOfOddCalls(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 20_000)
	call := func(id, name string) string {
		return fmt.Sprintf(`{"id":%q,"function":{"name":%q,"arguments":"{}"}}`, id, name)
	}
	messages := []string{
		`{"role":"assistant","tool_calls":[` + call("same", "first") + "," + call("same", "second") + "," + call(long, long) + "," + call("open", "open") + `]}`,
		`{"role":"tool","tool_call_id":"same","content":"one"}`,
		`{"role":"tool","tool_call_id":"same","content":"two"}`,
		`{"role":"tool","tool_call_id":"same","content":"three"}`,
		`{"role":"tool","tool_call_id":"` + long + `","content":"long"}`,
		`{"role":"assistant","tool_calls":[` + strings.TrimSuffix(strings.Repeat(call("many", "many")+",", maxCalls), ",") + `]}`,
	}
	dir := filepath.Join(t.TempDir(), "store")
	line := `{"name":"odd","messages":[` + strings.Join(messages, ",") + `]}`
	var out, errOut bytes.Buffer
	require.Equal(t, exitOK, execute([]string{"import", "--dir", dir, "-"}, strings.NewReader(line), &out, &errOut), errOut.String())
	ctx := context.Background()
	db, err := inmem.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.Run(run.Namespace{}.DeriveID("odd"))
	require.NoError(t, err)
	var have []string
	for s, err := range r.Trace().List(ctx, trace.Filter{Limit: 4}) {
		require.NoError(t, err)
		have = append(have, string(s.Output)+" "+s.Status.String())
	}
	require.Equal(t, []string{"one ok", "two ok", "long ok", " open"}, have)
	n, err := r.Trace().Len(ctx)
	require.NoError(t, err)
	require.Equal(t, 4+maxCalls, n)
}

// TestImportOfTheLargestMessages: a result of the size that a message may have
// is stored twice in its commit, as event and as output.
func TestImportOfTheLargestMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes a message of 64 MiB; run it without -short")
	}
	t.Parallel()
	head, tail := `{"role":"tool","tool_call_id":"c","content":"`, `"}`
	big := head + strings.Repeat("x", maxMessage-len(head)-len(tail)) + tail
	line := `{"name":"big","messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f"}}]},` + big + `]}`
	dir := filepath.Join(t.TempDir(), "store")
	var out, errOut bytes.Buffer
	require.Equal(t, exitOK, execute([]string{"import", "--dir", dir, "-"}, strings.NewReader(line), &out, &errOut), errOut.String())
	db, err := inmem.Open(dir, nil) // with the limits that other programs have
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.Run(run.Namespace{}.DeriveID("big"))
	require.NoError(t, err)
	e, err := r.Events().Get(context.Background(), event.Main, 2)
	require.NoError(t, err)
	require.True(t, big == string(e.Payload))
	s, err := r.Trace().Get(context.Background(), 1)
	require.NoError(t, err)
	require.Len(t, s.Output, maxMessage-len(head)-len(tail))
}

// requireStorable wants the faces to take what a message becomes.
func requireStorable(t *testing.T, message json.RawMessage) {
	t.Helper()
	c, err := parseChat(message)
	require.NoError(t, err)
	ctx := context.Background()
	taker := &startTaker{oneOp: oneOp{&inmem.Commit{}, &inmem.Op{}}}
	_, err = event.NewStore(taker).Append(ctx, event.Main, event.New{Type: c.eventType(), ID: messageID(1), Payload: message})
	require.NoError(t, err)
	for i := range c.calls {
		_, err := trace.NewStore(taker).Start(ctx, c.calls[i].start())
		require.NoError(t, err)
	}
}
