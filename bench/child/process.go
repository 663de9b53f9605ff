package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"inmem/bench/store"
	"inmem/bench/workload"
)

// Process is a child, in the eyes of its parent. It does one thing at a time.
type Process struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	replies *json.Decoder
	stderr  tail
	servers []int
	dead    error
}

// Failed is an error of the store, after which the child is still there.
type Failed struct {
	Text        string
	Unsupported bool
}

func (f *Failed) Error() string { return f.Text }

// Start starts the program as a child.
func Start(program string) (*Process, error) {
	p := &Process{cmd: exec.Command(program, Argument)}
	p.cmd.SysProcAttr = dieWithParent()
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = 5 * time.Second // a server of the child may hold its output open
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin, p.replies = stdin, json.NewDecoder(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// ask sends a request and waits for the reply. A child that dies or does not
// answer before its context ends is killed.
func (p *Process) ask(ctx context.Context, r Request) (Reply, error) {
	var reply Reply
	if p.dead != nil {
		return reply, p.dead
	}
	stop := context.AfterFunc(ctx, func() { p.signal() })
	err := json.NewEncoder(p.stdin).Encode(r)
	if err == nil {
		err = p.replies.Decode(&reply)
	}
	stop()
	if err != nil {
		p.Kill()
		p.dead = fmt.Errorf("the process of the store died: %w%s", err, p.stderr.text())
		if ctx.Err() != nil {
			p.dead = context.Cause(ctx)
		}
		return reply, p.dead
	}
	if reply.Servers != nil {
		p.servers = reply.Servers
	}
	if reply.Err != "" {
		return reply, &Failed{reply.Err, reply.Unsupported}
	}
	return reply, nil
}

// Check runs the smoke test of a store in a directory.
func (p *Process) Check(ctx context.Context, kind string, class store.Class, dir string) error {
	_, err := p.ask(ctx, Request{Do: doCheck, Kind: kind, Class: class, Dir: dir})
	return err
}

// Store says what to open.
type Store struct {
	Kind        string
	Class       store.Class
	Dir         string
	Size        workload.Size
	Seed        uint64
	Transcripts string
	Commits     int  // it has
	Lean        bool // it is to keep nothing but the newest values
}

// Open opens a store.
func (p *Process) Open(ctx context.Context, s Store) (Reply, error) {
	return p.ask(ctx, Request{
		Do: doOpen, Kind: s.Kind, Class: s.Class, Dir: s.Dir, Size: s.Size, Seed: s.Seed,
		Transcripts: s.Transcripts, Commits: s.Commits, Lean: s.Lean,
	})
}

// Load puts the data set.
func (p *Process) Load(ctx context.Context, seed uint64) error {
	_, err := p.ask(ctx, Request{Do: doLoad, Seed: seed})
	return err
}

// Cell does a cell.
func (p *Process) Cell(ctx context.Context, c workload.Cell, d, warmUp time.Duration, seed uint64, profile string) (Reply, error) {
	return p.ask(ctx, Request{Do: doCell, Cell: c, For: d, WarmUp: warmUp, Seed: seed, Profile: profile})
}

// Rest waits until the store is at rest over an interval, for so long at most, and
// says whether it is.
func (p *Process) Rest(ctx context.Context, interval, atMost time.Duration) (bool, error) {
	r, err := p.ask(ctx, Request{Do: doRest, Interval: interval, For: atMost})
	return r.AtRest, err
}

// Memory tells what is resident.
func (p *Process) Memory(ctx context.Context) (Reply, error) {
	return p.ask(ctx, Request{Do: doMemory})
}

// Overwrite puts the data set once more.
func (p *Process) Overwrite(ctx context.Context, seed uint64) error {
	_, err := p.ask(ctx, Request{Do: doOverwrite, Seed: seed})
	return err
}

// Commit makes so many commits. With goOn the child makes more until it is
// killed.
func (p *Process) Commit(ctx context.Context, commits int, ledger string, goOn bool) error {
	_, err := p.ask(ctx, Request{Do: doCommit, Commits: commits, Ledger: ledger, GoOn: goOn})
	return err
}

// Missing counts which commits of the ledger are not there.
func (p *Process) Missing(ctx context.Context, ledger string) (Reply, error) {
	return p.ask(ctx, Request{Do: doMissing, Ledger: ledger})
}

// Close closes the store, ends the child and waits for it.
func (p *Process) Close(ctx context.Context) error {
	_, err := p.ask(ctx, Request{Do: doClose})
	if p.dead != nil {
		return err
	}
	p.dead = errors.New("the process of the store was ended")
	// It ends with its input.
	stop := context.AfterFunc(ctx, func() { p.signal() })
	defer stop()
	return errors.Join(err, p.stdin.Close(), p.cmd.Wait())
}

// Kill kills the child and the servers of its store, at once, and waits for the
// end of the child.
func (p *Process) Kill() {
	if p.dead != nil {
		return
	}
	p.dead = errors.New("the process of the store was killed")
	p.signal()
	p.stdin.Close()
	_ = p.cmd.Wait() // says that it was killed
}

// signal kills, and does not wait. Servers come first: they are the store.
func (p *Process) signal() {
	for _, pid := range p.servers {
		if server, err := os.FindProcess(pid); err == nil {
			_ = server.Signal(syscall.SIGKILL)
		}
	}
	_ = p.cmd.Process.Kill()
}

// tail keeps the last of what a child says, for the day it dies.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const first, most = 2000, 4000
	t.last = append(t.last, b...)
	if len(t.last) > most { // the beginning of a panic says most
		t.last = append(t.last[:first:first], t.last[len(t.last)-first:]...)
	}
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.last)); text != "" {
		return ": " + text
	}
	return ""
}
