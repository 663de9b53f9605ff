// Toolagent is an agent that calls tools, and is killed at every step in turn.
//
// The model is scripted, so that the run is the same each time; all else is what
// an agent has: a loop of model calls and tool calls, each a durable step, with
// the messages as events. The program starts itself as a child, which kills
// itself at the first step, then at the second and so on; each time another
// child takes the run up and ends it. The answer is always the same, and no tool
// is executed again once its result was recorded:
//
//	go run ./examples/toolagent
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
	"strconv"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/trace"
)

func main() {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "inmem-toolagent-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = tour(os.Stdout, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The environment of a child: its store, and the moment at which it dies.
const (
	childEnv = "TOOLAGENT_DIR"
	dieEnv   = "TOOLAGENT_DIE_AT"
)

// moments counts what an agent does to the world, before and after.
type moments struct{ n, dieAt int }

// pass lets the process die, as by kill -9, at the moment that was asked for.
func (m *moments) pass() {
	if m.n++; m.n == m.dieAt {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {} // until the signal comes
	}
}

// call is a tool call that the model asks for; without a tool it is the answer.
type call struct {
	Tool string `json:"tool,omitempty"`
	Text string `json:"text"` // the tool's argument, or the answer
}

// model is the scripted model: what it says depends on what it was told.
func model(results []string) call {
	script := []call{
		{"search", "invoice 42"}, {"read", "invoice-42.txt"}, {"compute", "3 × 19.90"}, {"mail", "accounting: 59.70"},
	}
	if len(results) < len(script) {
		return script[len(results)]
	}
	return call{Text: "The invoice is over " + results[2] + ", accounting knows: " + results[3]}
}

// execute is what the agent can do to the world. Each execution is noted in a
// file, under the step's idempotency key.
func execute(dir, key string, c call) (string, error) {
	f, err := os.OpenFile(filepath.Join(dir, "executed.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(f, key)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return map[string]string{"search": "invoice-42.txt", "read": "3 × 19.90", "compute": "59.70", "mail": "sent"}[c.Tool], nil
}

// agent is the agent function: a loop over durable steps.
func agent(dir string, m *moments) inmem.AgentFunc {
	return func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
		var results []string
		for {
			said, err := inmem.Do(ctx, r, "model", len(results), func(context.Context) (call, error) {
				m.pass()
				return model(results), nil
			}, inmem.As(trace.ModelCall))
			if err != nil || said.Tool == "" {
				return said.Text, err
			}
			result, err := inmem.Do(ctx, r, said.Tool, said.Text, func(ctx context.Context) (string, error) {
				m.pass()
				result, err := execute(dir, inmem.IdempotencyKey(ctx), said)
				m.pass() // executed, and nobody has noted that yet
				return result, err
			}, inmem.As(trace.ToolCall))
			if err != nil {
				return nil, err
			}
			if err := remember(ctx, r, said, result); err != nil {
				return nil, err
			}
			results = append(results, result)
		}
	}
}

// remember appends what was said to the run's messages, exactly once.
func remember(ctx context.Context, r *inmem.Run, said call, result string) error {
	payload, err := json.Marshal(map[string]string{"tool": said.Tool, "argument": said.Text, "result": result})
	if err != nil {
		return err
	}
	_, err = inmem.Transact(ctx, r, "remember", nil, func(ctx context.Context, tx *inmem.Tx) (uint64, error) {
		e, err := tx.Events().Append(ctx, event.Main, event.New{Type: "tool." + said.Tool, Payload: payload})
		return e.Sequence, err
	})
	return err
}

// child begins the run, or takes it up, and prints the answer.
func child(dir string) error {
	dieAt, err := strconv.Atoi(os.Getenv(dieEnv))
	if err != nil {
		return err
	}
	db, err := inmem.Open(filepath.Join(dir, "store"), nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	agents := db.Agents()
	agents.Register("clerk", agent(dir, &moments{dieAt: dieAt}))
	id := run.Namespace{App: "toolagent"}.DeriveID("the only one")
	if _, err := agents.Start(ctx, "clerk", run.Meta{ID: id}, nil); err != nil && !errors.Is(err, inmem.ErrRunExists) {
		return err
	}
	if _, err := agents.Resume(ctx); err != nil {
		return err
	}
	r, err := db.Run(id)
	if err != nil {
		return err
	}
	answer, err := inmem.Result[string](ctx, r)
	if err != nil {
		return err
	}
	fmt.Println(answer)
	return errors.Join(agents.Wait(ctx), db.Close())
}

// start runs a child and returns what it said; died tells that it was killed.
func start(dir string, dieAt int) (answer string, died bool, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, dieEnv+"="+strconv.Itoa(dieAt))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != 1 {
		return "", true, nil
	}
	return string(out), false, err
}

// tour kills the agent at each of its moments and lets another process go on.
func tour(w io.Writer, dir string) error {
	want, _, err := start(filepath.Join(dir, "undisturbed"), 0)
	if err != nil {
		return err
	}
	fmt.Fprint(w, want)
	for dieAt := 1; ; dieAt++ {
		place := filepath.Join(dir, strconv.Itoa(dieAt))
		_, died, err := start(place, dieAt)
		if err != nil {
			return err
		}
		if !died {
			fmt.Fprintf(w, "killed at each of %d moments: the same answer each time, no tool executed after its result was recorded\n", dieAt-1)
			return nil
		}
		answer, died, err := start(place, 0)
		if err != nil || died {
			return errors.Join(err, fmt.Errorf("the second process: died %v", died))
		}
		again, err := executedTwice(place)
		switch {
		case err != nil:
			return err
		case answer != want:
			return fmt.Errorf("killed at moment %d the answer is %q", dieAt, answer)
		case again > 1:
			return fmt.Errorf("killed at moment %d, %d tools were executed twice", dieAt, again)
		}
	}
}

// executedTwice counts the tool calls that were executed again: one at most, the
// one that was killed between doing and noting.
func executedTwice(dir string) (n int, err error) {
	f, err := os.Open(filepath.Join(dir, "executed.log"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	seen := map[string]int{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if seen[lines.Text()]++; seen[lines.Text()] == 2 {
			n++
		}
	}
	return n, lines.Err()
}
