package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"inmem"
	"inmem/run"
)

// importCmd imports recorded chats.
type importCmd struct {
	store
	Files      []string `arg:"" name:"file" help:"JSON Lines files; - is standard input."`
	Durability string   `help:"When a message counts as stored: ${enum}." enum:"strict,batched,async" default:"batched"`
	Jobs       int      `help:"So many runs at a time." default:"16" placeholder:"N"`
	Verbose    bool     `short:"v" help:"Print a JSON line for each message as soon as it is acknowledged; the summary goes to standard error."`
	JSON       bool     `name:"json" help:"The summary as a JSON object."`
}

// Help describes the format; kong shows it with --help.
func (c *importCmd) Help() string {
	return `A line is one recorded run: {"name": "…", "namespace": {"tenant": "…", "app": "…",
"agent": "…"}, "tags": {"…": "…"}, "messages": [{"role": "…", …}, …]}, the messages in the OpenAI
chat format. Namespace and name make the run's ID, the tags are the run's.

Each message becomes an event of the stream "main", as it stands in the line, byte for byte; its type has the
role, such as message.user. A tool call becomes a span of the trace, which the message with its result ends;
recorded chats have no times, so a span's are those of the import. The state cell "counters" counts messages by
role, calls and results. All that comes of a message is one commit. Then the run is completed.

Importing a file again adds nothing, and goes on where an import was interrupted. A run that has other
messages than the file is left alone and reported. A run that an older version imported, with its messages under
the keys messages/00000001 and so on, stays as it is, and goes on in the same way.`
}

// importer is an import under way.
type importer struct {
	app  *app
	db   *inmem.DB
	cmd  *importCmd
	bar  *bar
	jobs errgroup.Group

	// earlier is, for each run, the end of the line before that has it too: such
	// lines are taken one after another, the others at the same time.
	earlier map[run.ID]chan struct{}

	mu    sync.Mutex // guards what follows, and the ledger on standard output
	sum   importSummary
	notes map[string]bool
}

// importSummary is what an import did.
type importSummary struct {
	New         int `json:"new"`         // runs
	Continued   int `json:"continued"`   // runs
	Unchanged   int `json:"unchanged"`   // runs
	Conflicting int `json:"conflicting"` // runs
	Messages    int `json:"messages"`    // added
	BadLines    int `json:"bad_lines"`
}

func (c *importCmd) options() *inmem.Options {
	modes := map[string]inmem.Durability{"strict": inmem.Strict, "batched": inmem.Batched, "async": inmem.Async}
	return &inmem.Options{
		Durability: modes[c.Durability], MaxValueSize: maxMessage + maxBeside,
		// A message may hold what goes into spans a second time.
		MaxCommitSize: 2*maxMessage + maxCommitBeside,
	}
}

func (c *importCmd) Run(a *app) error {
	if err := c.named(); err != nil {
		return err
	}
	if c.Jobs < 1 || c.Jobs > 10_000 {
		return usage("", "--jobs %d is not in 1 … 10,000", c.Jobs)
	}
	inputs, total, err := c.inputs(a)
	if err != nil {
		return err
	}
	defer func() {
		for _, in := range inputs {
			in.close()
		}
	}()
	im := &importer{app: a, cmd: c, earlier: map[run.ID]chan struct{}{}, notes: map[string]bool{}}
	im.jobs.SetLimit(c.Jobs)
	err = c.with(a, inmem.Open, c.options(), func(db *inmem.DB) error {
		im.db = db
		im.bar = a.begin("importing", total, true)
		defer im.bar.end()
		return im.all(inputs)
	})
	if im.db == nil {
		return err // it was not even opened
	}
	// The summary comes after the closing: only then is it final.
	if sumErr := im.summarize(err == nil); err == nil {
		err = sumErr
	}
	if err == nil && im.sum.BadLines+im.sum.Conflicting > 0 {
		return &cliError{code: exitBadInput} // each was reported
	}
	return err
}

// input is a file to import.
type input struct {
	name   string
	reader io.Reader
	close  func()
}

// inputs opens all files before anything is done. total is their size in
// bytes, -1 where one of them is no plain file.
func (c *importCmd) inputs(a *app) (list []input, total int64, err error) {
	for _, name := range c.Files {
		if name == "-" {
			list = append(list, input{"standard input", a.in, func() {}})
			total = -1
			continue
		}
		f, err := os.Open(name)
		var info os.FileInfo
		if err == nil {
			info, err = f.Stat()
		}
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a directory", name)
		}
		if err != nil {
			for _, in := range list {
				in.close()
			}
			return nil, 0, err
		}
		list = append(list, input{name, f, func() { f.Close() }}) // it was only read
		if !info.Mode().IsRegular() {
			total = -1
		}
		if total >= 0 {
			total += info.Size()
		}
	}
	return list, total, nil
}

// all imports everything. A line that cannot be taken stops nothing; a store
// that takes no more work, or an interrupt, stops everything.
func (im *importer) all(inputs []input) error {
	ctx, stop := context.WithCancelCause(im.app.ctx)
	defer stop(nil)
	for _, in := range inputs {
		if err := im.file(ctx, stop, in); err != nil {
			stop(err)
			break
		}
	}
	// The jobs report through stop: their own errors are its echo.
	_ = im.jobs.Wait()
	return context.Cause(ctx)
}

// file reads the lines of a file and starts a job for each.
func (im *importer) file(ctx context.Context, stop context.CancelCauseFunc, in input) error {
	lines := newLineReader(in.reader)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, number, err := lines.next()
		if err == io.EOF {
			return nil
		}
		var long *longLineError
		switch {
		case errors.As(err, &long):
			im.bad(in.name, number, err)
			continue
		case err != nil:
			return fmt.Errorf("reading %s: %w", in.name, err)
		}
		record, err := parseRecord(line)
		if err != nil {
			im.bad(in.name, number, err)
			im.bar.add(int64(len(line)) + 1)
			continue
		}
		im.note(in.name, number, record)
		im.start(ctx, stop, fmt.Sprintf("%s:%d", in.name, number), record, int64(len(line))+1)
	}
}

// start imports a record in a job of its own, when a place is free.
func (im *importer) start(ctx context.Context, stop context.CancelCauseFunc, where string, rec *record, size int64) {
	id := rec.meta.ID
	before, ended := im.earlier[id], make(chan struct{})
	im.earlier[id] = ended
	im.jobs.Go(func() error {
		defer close(ended)
		if before != nil {
			<-before
		}
		err := im.record(ctx, where, rec)
		if err != nil {
			stop(err)
		}
		im.bar.add(size)
		return err
	})
}

// bad reports a line that cannot be taken.
func (im *importer) bad(name string, number int, err error) {
	im.mu.Lock()
	im.sum.BadLines++
	im.mu.Unlock()
	im.app.say("%s %s:%d: %s", im.app.errStyle.red("bad line"), name, number, plainError(err))
}

// note tells once of each field that is not imported.
func (im *importer) note(name string, number int, rec *record) {
	for _, field := range rec.unknown {
		if !im.notes[field] {
			im.notes[field] = true
			im.app.say("%s %s:%d: field %q is not imported", im.app.errStyle.yellow("note"), name, number, field)
		}
	}
}

// acknowledged is a line of the ledger: this message is stored now.
type acknowledged struct {
	Run      run.ID `json:"run"`
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"` // of the event
	Key      string `json:"key,omitempty"`      // where an older import goes on
	Version  uint64 `json:"version"`
	SHA256   string `json:"sha256"` // of the message as stored
}

// stored counts a message, and prints it where it was asked for: unbuffered, so
// that the ledger is right up to the moment at which the process is killed.
func (im *importer) stored(line acknowledged, message []byte) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.sum.Messages++
	if !im.cmd.Verbose {
		return nil
	}
	sum := sha256.Sum256(message)
	line.SHA256 = hex.EncodeToString(sum[:])
	b, err := marshalLine(line)
	if err == nil {
		_, err = im.app.raw.Write(b)
	}
	return err
}

func (im *importer) summarize(finished bool) error {
	s := &im.sum
	if im.cmd.JSON {
		return im.app.json(s)
	}
	text := fmt.Sprintf("%s: %s new, %s continued, %s unchanged, %s conflicting; %s added",
		plural(s.New+s.Continued+s.Unchanged+s.Conflicting, "run"), count(s.New), count(s.Continued),
		count(s.Unchanged), count(s.Conflicting), plural(s.Messages, "message"))
	if s.BadLines > 0 {
		text += "; " + plural(s.BadLines, "bad line") + " left out"
	}
	if !finished {
		text += ". Not finished: run it again to go on"
	}
	if im.cmd.Verbose {
		im.app.say("%s", text)
	} else {
		im.app.printf("%s\n", text)
	}
	return nil
}
