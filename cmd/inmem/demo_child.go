package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"inmem"
	"inmem/cmd/inmem/internal/agent"
	"inmem/run"
)

// demoShards keeps the demo's directory small enough to look at.
const demoShards = 2

const todoName = "todo.md"

func todoOf(dir string) agent.Todo { return agent.Todo{Path: filepath.Join(dir, todoName)} }

// agentCmd is the demo's agent, in a process of its own. It prints each step
// as a JSON line and then waits for a byte on standard input, so that the demo
// can let it go on, or kill it there.
type agentCmd struct {
	store
	RunID string `name:"run" help:"Go on with this run instead of beginning one."`
}

func (c *agentCmd) Run(a *app) error {
	if err := c.named(); err != nil {
		return err
	}
	return c.with(a, inmem.Open, &inmem.Options{Shards: demoShards}, func(db *inmem.DB) error {
		r, err := c.take(a, db)
		if err != nil {
			return err
		}
		worker := &agent.Agent{
			Run: r, Model: agent.Dinner{}, Task: agent.DinnerTask(),
			Tools:  map[string]agent.Tool{agent.CalculatorName: agent.Calculator{}, agent.TodoName: todoOf(c.Dir)},
			Report: func(e agent.Event) error { return handshake(a, e) },
		}
		return worker.Work(a.ctx)
	})
}

func (c *agentCmd) take(a *app, db *inmem.DB) (*inmem.Run, error) {
	if c.RunID == "" {
		return db.BeginRun(a.ctx, run.Meta{
			Name:      "dinner-for-six",
			Namespace: run.Namespace{Tenant: "demo", App: "dinner", Agent: "planner"},
			Tags:      map[string]string{"model": "script"},
		})
	}
	id, err := run.ParseID(c.RunID)
	if err != nil {
		return nil, err
	}
	return db.Run(id)
}

// handshake tells of a step and waits until it may go on.
func handshake(a *app, e agent.Event) error {
	line, err := marshalLine(e)
	if err != nil {
		return err
	}
	if _, err := a.raw.Write(line); err != nil {
		return err
	}
	var more [1]byte
	if _, err := io.ReadFull(a.in, more[:]); err != nil {
		return fmt.Errorf("the demo is gone: %w", err)
	}
	return nil
}

// child is an agent at work in another process.
type child struct {
	cmd    *exec.Cmd
	goOn   io.WriteCloser
	events *bufio.Reader
}

// startAgent starts this program again, as the agent.
func startAgent(ctx context.Context, a *app, dir string, id run.ID) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"demo-agent", "--dir", dir}
	if !id.IsZero() {
		args = append(args, "--run", id.String())
	}
	c := &child{cmd: exec.CommandContext(ctx, self, args...)}
	c.cmd.Stderr = a.errOut
	if c.goOn, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.events = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// next waits for the agent's next step; io.EOF when there is none.
func (c *child) next() (e agent.Event, err error) {
	line, err := c.events.ReadBytes('\n')
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(line, &e)
}

// proceed lets the agent take its next step.
func (c *child) proceed() error {
	_, err := c.goOn.Write([]byte{'\n'})
	return err
}

// kill ends the agent's process as the system does when memory runs out, and
// makes sure that this is how it ended.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing the agent: %w", err)
	}
	err := c.cmd.Wait()
	if err == nil {
		return errors.New("the agent ended before it could be killed")
	}
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if killed := ok && status.Signaled() && status.Signal() == syscall.SIGKILL; !killed && runtime.GOOS != "windows" {
		return fmt.Errorf("the agent was to be killed, but it ended so: %w", err)
	}
	return nil
}

// abandon ends the agent's process, if it has not ended, after an error; what
// it died of, if it did, is added.
func (c *child) abandon(cause error) error {
	if c.cmd.Process.Kill() != nil { // it has ended by itself
		cause = fmt.Errorf("%w; the agent: %v", cause, c.cmd.Wait())
	} else if err := c.cmd.Wait(); err != nil && !c.cmd.ProcessState.Exited() {
		return cause // killed, as it should be
	}
	return cause
}
