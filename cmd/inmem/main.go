// Command inmem shows, checks and fills stores of package inmem.
//
// It is a program like any other that uses the package. What only reads takes
// no lock, changes nothing and works while another program has the store open;
// what writes opens the store, and so recovers it, and closes it again.
//
// Results go to standard output, everything else to standard error. exit.go has
// the exit codes, which are stable.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// grammar is the command line.
type grammar struct {
	Demo    demoCmd    `cmd:"" help:"Watch an agent being killed in the middle of its work and going on as if nothing had happened."`
	Import  importCmd  `cmd:"" help:"Import recorded chat transcripts, a run for each line."`
	Run     runCmd     `cmd:"" help:"List, show and delete runs."`
	KV      kvCmd      `cmd:"" name:"kv" help:"Read and write the keys of a run."`
	Event   eventCmd   `cmd:"" help:"Read and verify the events of a run."`
	State   stateCmd   `cmd:"" help:"Read the state cells of a run."`
	Trace   traceCmd   `cmd:"" help:"Read the spans of a run: what its agent did."`
	Vector  vectorCmd  `cmd:"" help:"Read, write and search the vectors of a run."`
	Replay  replayCmd  `cmd:"" help:"Carry the commits of a run out again, and verify what comes out. Executes nothing."`
	Diff    diffCmd    `cmd:"" help:"Compare two runs, or a run at two versions: what differs, and where they first diverge."`
	Check   checkCmd   `cmd:"" help:"Read everything and verify every checksum. Changes nothing."`
	WAL     walCmd     `cmd:"" name:"wal" help:"Look into the write-ahead log."`
	Stat    statCmd    `cmd:"" help:"Show what is in a store, and what it takes on disk."`
	Prune   pruneCmd   `cmd:"" help:"Remove what is not to be kept: runs that ended, and history. --dry-run says what."`
	Compact compactCmd `cmd:"" help:"Give back the space in the files that nothing needs any more."`
	Backup  backupCmd  `cmd:"" help:"Copy a store, also while another program writes to it, and check the copy."`
	Salvage salvageCmd `cmd:"" help:"Get out of a damaged store whatever still verifies, into a new store."`
	Agent   agentCmd   `cmd:"" name:"demo-agent" hidden:""`

	Version kong.VersionFlag `help:"Print the version."`
}

const description = `The tool for inmem stores: durable state of AI agents, run by run.

Start with: inmem demo

What only reads takes no lock and changes nothing: it works while another program has the store open.

Exit codes:
  0  all is well
  1  it failed; standard error says why
  2  the command line is wrong
  3  there is no such store, run or key; nor event, state cell, span, vector or version
  4  stored data is damaged; after salvage: not all of it could be got out
  5  another program has the store open
  6  some of the input was bad or conflicts; the rest went in
  7  refused: the key has another version, or the run takes no writes
  8  after diff: the runs differ
  130  interrupted`

func main() {
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// kongExit carries the exit code of --help and --version out of kong.
type kongExit int

// execute is the program: it returns the exit code.
func execute(args []string, in io.Reader, out, errOut io.Writer) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks twice is not kept waiting
	a := newApp(ctx, in, out, errOut)
	defer func() {
		switch exit := recover().(type) {
		case nil:
		case kongExit:
			code = int(exit)
		default:
			panic(exit) // a bug is no exit code 0
		}
		if err := a.out.Flush(); err != nil && code == exitOK {
			code = a.fail(fmt.Errorf("writing the output: %w", err))
		}
	}()
	var cli grammar
	parser := kong.Must(&cli,
		kong.Name("inmem"), kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoAppDescFormat: true, WrapUpperBound: 100}),
		kong.Writers(a.out, errOut), kong.Vars{"version": version()},
		kong.Exit(func(code int) { panic(kongExit(code)) }),
	)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		return a.fail(usageOf(err))
	}
	if err := command.Run(a); err != nil {
		return a.fail(err)
	}
	return exitOK
}

// usageOf makes a parser's error one that says where to read on.
func usageOf(err error) error {
	at := "inmem"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			at = node.FullPath()
		}
	}
	return &cliError{code: exitUsage, err: err, hint: "'" + at + " --help' says how"}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "inmem (unknown version)"
	}
	return "inmem " + info.Main.Version
}
