// Command bench measures inmem through its public API and prints a Markdown
// report.
//
//	go run .          the full run, about a quarter of an hour
//	go run . -quick   a first impression, about two minutes
//
// Every cell runs for a fixed time, in several rounds, and the median is shown
// with the lowest and highest round beside it: on a shared machine a single
// figure says little.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// config is what the flags say.
type config struct {
	dir    string
	keys   int           // in the whole data set
	runs   int           // they are spread over
	value  int           // bytes
	cell   time.Duration // a measurement lasts
	rounds int
	shards int // 0 = the store's default
	window int // Options.BatchCommits; 0 = the default
	reopen []int
	sizes  sizes
	only   string
	cpu    string
}

// sizes are those of the stores that hold what one question is asked about.
type sizes struct {
	view    int // keys of the larger run to view
	commits int // of the run whose past is asked for
	query   int // runs to choose from
	rate    int // commits a second to watch
	replay  int // events of the run to replay
}

func main() {
	cfg, err := parse(os.Args[1:])
	if err == nil {
		err = bench(cfg, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*config, error) {
	cfg := &config{sizes: sizes{view: 100_000, commits: 1000, query: 100_000, rate: 50_000, replay: 1000}}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	quick := flags.Bool("quick", false, "fewer keys, shorter cells, fewer rounds")
	flags.StringVar(&cfg.dir, "dir", "", "where stores are made; default: a temporary directory")
	flags.IntVar(&cfg.keys, "keys", 1_000_000, "keys in the data set")
	flags.IntVar(&cfg.runs, "runs", 1000, "runs the keys are spread over")
	flags.IntVar(&cfg.value, "value", 256, "bytes in a value")
	flags.DurationVar(&cfg.cell, "cell", 3*time.Second, "how long one measurement lasts")
	flags.IntVar(&cfg.rounds, "rounds", 5, "rounds; the median is reported")
	flags.IntVar(&cfg.shards, "shards", 0, "shards of the stores; 0 = the default")
	flags.IntVar(&cfg.window, "window", 0, "Options.BatchCommits of the stores; 0 = the default")
	flags.StringVar(&cfg.only, "only", "", "run only the cells whose name contains this")
	flags.StringVar(&cfg.cpu, "cpuprofile", "", "write a CPU profile of the throughput cells to this file")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	cfg.reopen = []int{10_000, cfg.keys}
	if *quick {
		cfg.keys, cfg.cell, cfg.rounds = 100_000, time.Second, 3
		cfg.reopen = []int{10_000, cfg.keys}
	}
	if cfg.runs < 1 || cfg.keys < cfg.runs || cfg.rounds < 1 {
		return nil, fmt.Errorf("need at least one round, one run, and a key for each run")
	}
	return cfg, nil
}

// bench measures everything and writes the report to w.
func bench(cfg *config, w io.Writer) error {
	if cfg.dir == "" {
		dir, err := os.MkdirTemp("", "inmem-bench-")
		if err != nil {
			return err
		}
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		}()
		cfg.dir = dir
	}
	report := newTable(cfg)
	for _, part := range []func(*config, *table) error{throughput, viewing, past, diffing, replaying, querying, watching, reopening, memory} {
		if err := part(cfg, report); err != nil {
			return err
		}
	}
	return report.write(w)
}
