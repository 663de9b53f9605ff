package replaytest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
	"inmem/kv"
	"inmem/replaytest"
	"inmem/run"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work is an agent whose world counts what is done in it.
type work struct {
	done    int
	cities  []string
	fails   error
	another string // name of the last step
}

func (w *work) agent(ctx context.Context, r *inmem.Run) error {
	for _, city := range w.cities {
		temperature, err := inmem.Do(ctx, r, "weather", city, func(context.Context) (int, error) {
			w.done++
			return len(city), nil
		})
		if err != nil {
			return err
		}
		if temperature != len(city) {
			return fmt.Errorf("%s has %d degrees", city, temperature)
		}
	}
	name := w.another
	if name == "" {
		name = "report"
	}
	_, err := inmem.Transact(ctx, r, name, nil, func(ctx context.Context, tx *inmem.Tx) (int, error) {
		w.done++
		_, err := tx.KV().Put(ctx, "report", []byte("sun"))
		return 0, err
	})
	return errors.Join(err, w.fails)
}

var cities = []string{"Rome", "Oslo", "Bern"}

// record lets an agent work on a run and exports it.
func record(t *testing.T, status run.Status, opts *inmem.ExportOptions) string {
	t.Helper()
	now := time.UnixMilli(1_700_000_000_000)
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem(), Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.BeginRun(t.Context(), run.Meta{Name: "weather"})
	require.NoError(t, err)
	_, err = r.KV().Put(t.Context(), "hint", []byte("short"), kv.TTL(time.Minute))
	require.NoError(t, err)
	w := work{cities: cities}
	require.NoError(t, w.agent(t.Context(), r))
	require.Equal(t, 4, w.done)
	if status != run.Active {
		require.NoError(t, r.End(t.Context(), status))
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "run.jsonl"))
	require.NoError(t, err)
	require.NoError(t, db.Export(t.Context(), r.ID(), f, opts))
	require.NoError(t, f.Close())
	return f.Name()
}

// fake is a test that may fail.
type fake struct {
	testing.TB
	failed string
}

func (f *fake) Fatalf(format string, args ...any) {
	f.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// outcome is why a test fails in which fn is called; "" = it passes.
func outcome(t *testing.T, fn func(testing.TB)) string {
	t.Helper()
	f := &fake{TB: t}
	done := make(chan struct{})
	go func() { defer close(done); fn(f) }()
	<-done
	return f.failed
}

func TestRun(t *testing.T) {
	for _, status := range []run.Status{run.Active, run.Completed, run.Failed} {
		for _, opts := range []*inmem.ExportOptions{nil, {Zstd: true}} {
			file := record(t, status, opts)
			w := work{cities: cities}
			for range 2 {
				replaytest.Run(t, file, func(ctx context.Context, r *inmem.Run) error {
					hint, err := r.KV().Get(ctx, "hint")
					require.NoError(t, err)
					require.Equal(t, "short", string(hint), "it was live then")
					return w.agent(ctx, r)
				})
			}
			require.Zero(t, w.done, "nothing is executed")
		}
	}
}

func TestRunFails(t *testing.T) {
	file := record(t, run.Completed, nil)
	for name, c := range map[string]struct {
		agent work
		want  []string
	}{
		"another input": {work{cities: []string{"Rome", "Paris", "Bern"}}, []string{"at step 2:", `expected: step "weather" of "Oslo"`, `actual:   step "weather" of "Paris"`}},
		"another name":  {work{cities: cities, another: "letter"}, []string{"at step 4:", `expected: step "report"`, `actual:   step "letter"`}},
		"a step more":   {work{cities: append(cities[:3:3], "Nice")}, []string{"at step 4:", `expected: step "report"`, `actual:   step "weather" of "Nice"`}},
		"a step less":   {work{cities: cities[:2]}, []string{"at step 3:", `expected: step "weather" of "Bern"`, `actual:   step "report"`}},
		"an error":      {work{cities: cities, fails: errors.New("rain")}, []string{"is completed, but the agent failed: rain"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := outcome(t, func(tb testing.TB) { replaytest.Run(tb, file, c.agent.agent) })
			for _, want := range c.want {
				require.Contains(t, got, want)
			}
			require.Zero(t, c.agent.done)
		})
	}
	nothing := func(context.Context, *inmem.Run) error { return nil }
	got := outcome(t, func(tb testing.TB) { replaytest.Run(tb, file, nothing) })
	require.Contains(t, got, `expected: step "weather" of "Rome"`)
	require.Contains(t, got, "actual:   the agent returned")
	got = outcome(t, func(tb testing.TB) {
		replaytest.Run(tb, file, func(ctx context.Context, r *inmem.Run) error {
			w := work{cities: cities}
			require.NoError(t, w.agent(ctx, r))
			return w.agent(ctx, r)
		})
	})
	require.Contains(t, got, "at step 5:\n\texpected: no more steps are recorded\n\tactual:   step \"weather\" of \"Rome\"")

	// A run that failed may do so again.
	failed := record(t, run.Failed, nil)
	w := work{cities: cities, fails: errors.New("rain")}
	require.Empty(t, outcome(t, func(tb testing.TB) { replaytest.Run(tb, failed, w.agent) }))
}

// An agent that goes on where it diverged has diverged all the same.
func TestRunFailsWhereTheErrorIsSwallowed(t *testing.T) {
	file := record(t, run.Completed, nil)
	got := outcome(t, func(tb testing.TB) {
		replaytest.Run(tb, file, func(ctx context.Context, r *inmem.Run) error {
			w := work{cities: []string{"Rome", "Oslo"}}
			for _, city := range []string{"Rome", "Oslo", "Paris"} {
				w.cities = []string{city}
				_, _ = inmem.Do(ctx, r, "weather", city, func(context.Context) (int, error) { return 0, nil })
			}
			w.cities = nil
			return w.agent(ctx, r)
		})
	})
	require.Contains(t, got, `at step 3:`)
	require.Contains(t, got, `expected: step "weather" of "Bern"`)
	require.Contains(t, got, `actual:   step "weather" of "Paris"`)
}

func TestRunOfNoExport(t *testing.T) {
	agent := func(context.Context, *inmem.Run) error { t.Error("called"); return nil }
	missing := filepath.Join(t.TempDir(), "none")
	require.Contains(t, outcome(t, func(tb testing.TB) { replaytest.Run(tb, missing, agent) }), "none")
	file := record(t, run.Completed, nil)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	damaged := filepath.Join(t.TempDir(), "damaged")
	changed := strings.Replace(string(content), `"value":"sun"`, `"value":"fun"`, 1)
	require.NotEqual(t, string(content), changed)
	require.NoError(t, os.WriteFile(damaged, []byte(changed), 0o600))
	require.Contains(t, outcome(t, func(tb testing.TB) { replaytest.Run(tb, damaged, agent) }), "checksum")
	require.NoError(t, os.WriteFile(damaged, content[:len(content)-5], 0o600))
	require.Contains(t, outcome(t, func(tb testing.TB) { replaytest.Run(tb, damaged, agent) }), "line")
}
