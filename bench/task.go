package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// A task is done by a process of its own, whose memory, or whose background, is what
// is measured: this program again, with the task's kind and what is asked for, as
// JSON, for arguments. It replies with JSON.

// tasks are what does the tasks of a kind.
var tasks = map[string]func(spec string, out io.Writer) error{
	coldArgument:   serveCold,
	behindArgument: serveBehind,
}

// taskAsked does a task, if the arguments ask for one.
func taskAsked(args []string) bool {
	if len(args) != 3 || tasks[args[1]] == nil {
		return false
	}
	if err := tasks[args[1]](args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// taskProcess is the process of a task, which is not begun yet.
func (b *bench) taskProcess(ctx context.Context, kind string, task any) (*exec.Cmd, error) {
	spec, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.program, kind, string(spec))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// replied waits for what a task's process replies.
func replied(cmd *exec.Cmd, reply any) error {
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, reply)
}
