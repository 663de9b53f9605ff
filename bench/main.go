// Command bench compares inmem with other stores, and writes a report of it:
// results.json, RESULTS.md and pictures.
//
//	go run .          the full run, about 50 minutes
//	go run . -quick   a first impression, in two minutes
//
// The report says how it measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"inmem/bench/child"
	"inmem/bench/report"
	"inmem/bench/store"
	"inmem/bench/stores"
	"inmem/bench/workload"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == child.Argument {
		serve(stores.All())
		return
	}
	if taskAsked(os.Args) {
		return
	}
	cfg, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, cfg, stores.All(), os.Stderr)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// serve is what a child does.
func serve(kinds []store.Kind) {
	// A terminal interrupts children, too. They are to end with the harness, not
	// before it, as if a store had died.
	signal.Ignore(os.Interrupt)
	out := os.Stdout
	os.Stdout = os.Stderr // what a store prints must not get among the replies
	if err := child.Serve(kinds, os.Stdin, out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	workload.Size
	quick   bool
	only    *regexp.Regexp
	stores  []string // none: all
	dir     string   // where stores are made
	out     string   // where the report goes
	json    string
	rounds  int
	cell    time.Duration
	seed    uint64
	profile string
	render  string
	agents  string // the file with the recorded agents
	flags   string
}

func parse(args []string, errout io.Writer) (*config, error) {
	cfg := &config{flags: strings.Join(args, " ")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errout)
	f.BoolVar(&cfg.quick, "quick", false, "a first impression: fewer cells and keys, one short round")
	only := f.String("only", "", "do only the cells and sections whose name matches this expression")
	names := f.String("stores", "", "the stores to compare, with commas between; default: all")
	f.StringVar(&cfg.dir, "dir", "", "where stores are made; default: a temporary directory")
	f.StringVar(&cfg.out, "out", "results", "where the report goes")
	f.StringVar(&cfg.json, "json", "", "where the figures go; default: results.json beside the report")
	f.IntVar(&cfg.rounds, "rounds", 0, "rounds, of which the median is told (default 3, quick 1)")
	f.DurationVar(&cfg.cell, "cell", 0, "how long a cell is measured in a round (default 1s, quick 300ms)")
	f.IntVar(&cfg.Keys, "keys", 0, "keys in the data set (default 1000000, quick 100000)")
	f.IntVar(&cfg.Runs, "runs", 1000, "runs they are spread over")
	f.IntVar(&cfg.Value, "value", 256, "bytes in a value")
	f.Uint64Var(&cfg.seed, "seed", 0, "of the random numbers (default: another each time)")
	f.StringVar(&cfg.agents, "agents", filepath.Join("..", "..", "shared", "data", "airline-agent.jsonl"), "recorded agents; synthetic ones where the file is missing")
	f.StringVar(&cfg.profile, "cpuprofile", "", "a directory for a CPU profile of each cell of each store")
	f.StringVar(&cfg.render, "render", "", "write the report of this results.json, and measure nothing")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q?", f.Arg(0))
	}
	if *names != "" {
		cfg.stores = strings.Split(*names, ",")
	}
	var err error
	if cfg.only, err = regexp.Compile(*only); err != nil {
		return nil, err
	}
	return cfg, cfg.complete()
}

// complete fills in what no flag said.
func (cfg *config) complete() error {
	keys, rounds, cell := 1_000_000, 3, time.Second
	if cfg.quick {
		keys, rounds, cell = 100_000, 1, 300*time.Millisecond
	}
	if cfg.Keys == 0 {
		cfg.Keys = keys
	}
	if cfg.rounds == 0 {
		cfg.rounds = rounds
	}
	if cfg.cell == 0 {
		cfg.cell = cell
	}
	if cfg.seed == 0 {
		cfg.seed = rand.Uint64()
	}
	if cfg.json == "" {
		cfg.json = filepath.Join(cfg.out, "results.json")
	}
	if cfg.Runs < 1 || cfg.Keys < 4*cfg.Runs || cfg.rounds < 1 || cfg.Value < 1 || cfg.cell < 0 {
		return errors.New("it takes at least one round, one run, four keys in each, and a byte in each value")
	}
	return nil
}

// wants says whether a cell or section was asked for.
func (cfg *config) wants(name string) bool { return cfg.only.MatchString(name) }

// run measures, or reads what was measured, and writes the report.
func run(ctx context.Context, cfg *config, kinds []store.Kind, progress io.Writer) error {
	if cfg.render != "" {
		r, err := report.ReadFile(cfg.render)
		if err != nil {
			return err
		}
		return write(cfg, r)
	}
	for _, name := range cfg.stores {
		if !slices.ContainsFunc(kinds, func(k store.Kind) bool { return k.Name == name }) {
			return fmt.Errorf("no store is called %q", name)
		}
	}
	for _, dir := range []string{cfg.out, filepath.Dir(cfg.json), cfg.profile, cfg.dir} {
		if dir != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	dir, err := os.MkdirTemp(cfg.dir, "bench-")
	if err != nil {
		return err
	}
	b, err := newBench(cfg, kinds, dir, progress)
	if err == nil {
		err = b.all(ctx)
	}
	if err == nil {
		if err = b.results.WriteFile(cfg.json); err == nil {
			err = write(cfg, b.results)
		}
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// write writes the report and its pictures.
func write(cfg *config, r *report.Results) error {
	if err := os.MkdirAll(cfg.out, 0o755); err != nil {
		return err
	}
	pictures := r.Pictures()
	if err := report.Draw(cfg.out, pictures); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(cfg.out, "RESULTS.md"), []byte(r.Markdown(pictures)), 0o644)
}
