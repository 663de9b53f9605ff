// Fanout is a thousand agents in one process, which is killed in the middle of
// their work, and resumed in another.
//
// A parent begins a thousand child runs and waits for all of them; each makes
// three durable steps. The program starts itself as a child process that kills
// itself after some of the steps; a second process takes up what the first left,
// all runs at once, and adds the results up:
//
//	go run ./examples/fanout
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"inmem"
	"inmem/run"
)

const (
	agents     = 1000
	childEnv   = "FANOUT_DIR"
	dieEnv     = "FANOUT_DIE_AT"
	steps      = 3
	dieAtSteps = 1500 // of 3,000
)

func main() {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "inmem-fanout-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = tour(os.Stdout, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// register makes the two agents known. executed counts the steps that this
// process executes; at dieAt it is killed.
func register(a *inmem.Agents, executed *atomic.Int64, dieAt int64) {
	a.Register("worker", func(ctx context.Context, r *inmem.Run, input json.RawMessage) (any, error) {
		var n int
		if err := json.Unmarshal(input, &n); err != nil {
			return nil, err
		}
		sum := 0
		for i := range steps {
			v, err := inmem.Do(ctx, r, "work", i, func(context.Context) (int, error) {
				if executed.Add(1) == dieAt {
					self, err := os.FindProcess(os.Getpid())
					if err == nil {
						err = self.Kill()
					}
					return 0, err
				}
				return n, nil
			})
			if err != nil {
				return nil, err
			}
			sum += v
			if err := r.Sleep(ctx, 200*time.Millisecond); err != nil { // so that all are at work at once
				return nil, err
			}
		}
		return sum, nil
	})
	a.Register("parent", func(ctx context.Context, r *inmem.Run, _ json.RawMessage) (any, error) {
		children := make([]*inmem.Run, agents)
		for i := range children {
			var err error
			if children[i], err = r.Child(ctx, "worker", run.Meta{Name: "worker " + strconv.Itoa(i)}, i); err != nil {
				return nil, err
			}
		}
		sum := 0
		for _, c := range children {
			n, err := inmem.Join[int](ctx, r, c)
			if err != nil {
				return nil, err
			}
			sum += n
		}
		return sum, nil
	})
}

// child begins the work, or takes it up, and prints what came of it.
func child(dir string) error {
	dieAt, err := strconv.ParseInt(os.Getenv(dieEnv), 10, 64)
	if err != nil {
		return err
	}
	db, err := inmem.Open(dir, nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var executed atomic.Int64
	a := db.Agents()
	register(a, &executed, dieAt)
	id := run.Namespace{App: "fanout"}.DeriveID("parent")
	resumed := 0
	if _, err := a.Start(ctx, "parent", run.Meta{ID: id, Name: "parent"}, nil); errors.Is(err, inmem.ErrRunExists) {
		if resumed, err = a.Resume(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	r, err := db.Run(id)
	if err != nil {
		return err
	}
	sum, err := inmem.Result[int](ctx, r)
	if err != nil {
		return err
	}
	if err := a.Wait(ctx); err != nil {
		return err
	}
	fmt.Printf("%d runs resumed, %d steps executed here, the sum is %d\n", resumed, executed.Load(), sum)
	return db.Close()
}

func start(dir string, dieAt int64) (out string, died bool, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, dieEnv+"="+strconv.FormatInt(dieAt, 10))
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != 1 {
		return "", true, nil
	}
	return string(b), false, err
}

// tour kills the process of the agents in the middle, and lets another go on.
func tour(w io.Writer, dir string) error {
	if _, died, err := start(dir, dieAtSteps); err != nil || !died {
		return errors.Join(err, fmt.Errorf("the first process: died %v", died))
	}
	fmt.Fprintf(w, "killed with about %d of %d steps done\n", dieAtSteps, agents*steps)
	out, _, err := start(dir, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, out)
	return err
}
