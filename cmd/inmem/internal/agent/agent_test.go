package agent

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errKilled = errors.New("killed")

// work opens the store, lets an agent work until it has taken the given number
// of steps (0 = to the end), and closes the store. It returns the steps.
func work(t *testing.T, dir string, steps int) []Event {
	t.Helper()
	ctx := context.Background()
	db, err := inmem.Open(filepath.Join(dir, "store"), &inmem.Options{Shards: 1})
	require.NoError(t, err)
	ns := run.Namespace{Agent: "test"}
	r, err := db.Run(ns.DeriveID("dinner"))
	if errors.Is(err, inmem.ErrRunNotFound) {
		r, err = db.BeginRun(ctx, run.Meta{ID: ns.DeriveID("dinner"), Namespace: ns})
	}
	require.NoError(t, err)
	var events []Event
	a := &Agent{
		Run: r, Model: Dinner{}, Task: DinnerTask(),
		Tools: map[string]Tool{CalculatorName: Calculator{}, TodoName: Todo{filepath.Join(dir, "todo.md")}},
		Report: func(e Event) error {
			events = append(events, e)
			if len(events) == steps {
				return errKilled
			}
			return nil
		},
	}
	err = a.Work(ctx)
	if steps == 0 {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, errKilled)
	}
	require.NoError(t, db.Close())
	return events
}

func items(t *testing.T, dir string) []TodoItem {
	t.Helper()
	list, err := Todo{filepath.Join(dir, "todo.md")}.Items()
	require.NoError(t, err)
	return list
}

func TestAgentPlansADinner(t *testing.T) {
	dir := t.TempDir()
	events := work(t, dir, 0)
	require.Equal(t, []TodoItem{
		{"Buy 1.5 kg of potatoes", "call_2"}, {"Buy 6 trout", "call_4"},
		{"Order the cake, two days ahead", "call_5"}, {"Set the table for 6", "call_7"},
	}, items(t, dir))
	require.Equal(t, Done, events[len(events)-1].Kind)
	require.Contains(t, events[len(events)-2].Message.Content, "it costs 41.3, which leaves 18.7")
}

// TestAgentGoesOnFromAnywhere stops the agent after each of its steps: what
// comes out in the end is always the same, and no answered call is made again.
func TestAgentGoesOnFromAnywhere(t *testing.T) {
	whole := t.TempDir()
	all := work(t, whole, 0)
	for steps := 1; steps < len(all); steps++ {
		dir := t.TempDir()
		before := work(t, dir, steps)
		after := work(t, dir, 0)
		require.Equal(t, items(t, whole), items(t, dir), "stopped after step %d", steps)
		require.Equal(t, all[len(all)-1].Messages, after[len(after)-1].Messages)
		answered := map[string]bool{}
		for _, e := range before {
			if e.Kind == Stored {
				answered[e.Message.ToolCallID] = true
			}
		}
		for _, e := range after {
			require.False(t, e.Kind == Ran && answered[e.Call], "stopped after step %d: %s ran again", steps, e.Call)
		}
	}
	again := work(t, whole, 0)
	require.Len(t, again, 2, "a completed run has nothing left to do: found, done")
}

func TestCalculator(t *testing.T) {
	for expression, want := range map[string]string{
		"6 * 0.25": "1.5", "60 - 41.3": "18.7", "1/3": "0.333333", "-(2+3)*4": "-20", "100": "100", "0.1+0.2": "0.3",
	} {
		got, again, err := Calculator{}.Call("x", []byte(object("expression", expression)))
		require.NoError(t, err, expression)
		require.False(t, again)
		require.Equal(t, want, got, expression)
	}
	for _, expression := range []string{"", "1/0", "x", "1e99999999", "2 % 3", "f(1)", "+1", `"a"`} {
		_, _, err := Calculator{}.Call("x", []byte(object("expression", expression)))
		require.Error(t, err, expression)
	}
	_, _, err := Calculator{}.Call("x", []byte("no JSON"))
	require.Error(t, err)
}

func TestTodoDoesACallOnce(t *testing.T) {
	todo := Todo{filepath.Join(t.TempDir(), "todo.md")}
	for range 3 {
		result, _, err := todo.Call("call_1", []byte(object("item", "a (b)\nc")))
		require.NoError(t, err)
		require.Equal(t, "number 1 on the list", result)
	}
	_, again, err := todo.Call("call_2", []byte(object("item", "a (b)\nc")))
	require.NoError(t, err)
	require.False(t, again, "another call, though the item is the same")
	list, err := todo.Items()
	require.NoError(t, err)
	require.Equal(t, []TodoItem{{"a (b) c", "call_1"}, {"a (b) c", "call_2"}}, list)
	_, _, err = todo.Call("call_3", []byte(object("item", " ")))
	require.Error(t, err)
}

func TestAgentTellsTheModelOfAnUnknownTool(t *testing.T) {
	a := &Agent{}
	_, _, err := a.call(&ToolCall{Function: Function{Name: "rocket"}})
	require.ErrorContains(t, err, "rocket")
}
