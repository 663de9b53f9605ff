package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/bench/measure"
	"inmem/bench/store"
)

var small = Size{Keys: 1050, Runs: 10, Value: 32}

func loaded(t *testing.T) (*Data, *memory) {
	d, m := NewData(small, 1), newMemory()
	require.NoError(t, m.Begin(small.Runs))
	require.NoError(t, d.Load(t.Context(), m, 1))
	return d, m
}

func (m *memory) keys() int {
	n := 0
	for _, run := range m.data {
		n += len(run)
	}
	return n
}

func TestLoad(t *testing.T) {
	d, m := loaded(t)
	assert.Equal(t, small.Keys, m.keys())
	for n := range small.Keys {
		run, key := d.Key(n)
		assert.Len(t, m.data[run][key], small.Value)
		assert.Len(t, key, 16)
	}
	assert.Len(t, m.data[3], 105)
	before := bytes.Clone(m.data[0][d.names[0]])
	require.NoError(t, d.Overwrite(t.Context(), m, 2))
	assert.Equal(t, small.Keys, m.keys())
	assert.NotEqual(t, before, m.data[0][d.names[0]])

	ctx, stop := context.WithCancel(t.Context())
	stop()
	assert.ErrorIs(t, d.Load(ctx, m, 1), context.Canceled)
	assert.ErrorIs(t, d.Load(t.Context(), newMemory(), 1), errUnknownRun)
}

func TestDataIsTheSameForASeed(t *testing.T) {
	a, b, c := NewData(small, 1), NewData(small, 1), NewData(small, 2)
	assert.Equal(t, a.numbered(77), b.numbered(77))
	assert.NotEqual(t, a.numbered(77), c.numbered(77))
	assert.NotEqual(t, a.numbered(77), a.numbered(78))
	assert.True(t, slices.IsSorted(a.names))
	assert.NotEmpty(t, a.missing)
	assert.LessOrEqual(t, 10*(len(a.missing)-1), a.perRun())
	for i, name := range a.missing {
		assert.Len(t, name, 16)
		assert.NotContains(t, a.names, name, i)
		place, _ := slices.BinarySearch(a.names, name)
		assert.Equal(t, 10*i, place, "it lies among those that are there")
	}
	_, far := a.Key(10_000_000)
	assert.Equal(t, "key-000001000000", far)
}

// Every cell does what its name says to every key, and to no other.
func TestCells(t *testing.T) {
	wants := map[string][]string{
		Put: {"put"}, Get: {"get"}, Miss: {"get"}, Mostly: {"get", "put"}, Half: {"get", "put"}, Scan: {"scan"},
		Transaction: {"get", "put"}, "YCSB A": {"get", "put"}, "YCSB B": {"get", "put"}, "YCSB C": {"get"},
		"YCSB D": {"get", "put"}, "YCSB E": {"put", "scan"}, "YCSB F": {"get", "put"}, Agents: {"get", "scan", "write"},
	}
	shares := map[string]float64{Mostly: 0.05, Half: 0.5, Transaction: 0.5, "YCSB A": 0.5, "YCSB B": 0.05, "YCSB D": 0.05, "YCSB E": 0.05, "YCSB F": 1.0 / 3}
	seen := map[string]bool{}
	for _, c := range Cells() {
		if seen[c.ID()] {
			t.Errorf("%s is there twice", c.ID())
		}
		seen[c.ID()] = true
		t.Run(c.ID(), func(t *testing.T) {
			d, m := loaded(t)
			clear(m.calls)
			r, err := c.Run(t.Context(), measure.Plan{For: 20 * time.Millisecond}, d, transactions{m}, Synthetic(3), 5)
			require.NoError(t, err)
			assert.Positive(t, r.Ops)
			total := 0
			for call, n := range m.calls {
				assert.Contains(t, wants[c.Name], call)
				total += n
			}
			if share, ok := shares[c.Name]; ok && total > 1000 {
				assert.InDelta(t, share, float64(m.calls["put"])/float64(total), 0.05)
			}
			inserts := c.Name == "YCSB D" || c.Name == "YCSB E"
			assert.Equal(t, d.inserted.next.Load(), d.inserted.done.Load(), "what was inserted is read")
			if extra := m.keys() - small.Keys; inserts || c.Name == Agents {
				assert.Equal(t, inserts, int64(extra) == d.inserted.next.Load() && d.begun == small.Runs)
			} else {
				assert.Zero(t, extra)
			}
		})
	}
	assert.Len(t, actions, len(wants)-1, "each action has a cell")
}

func TestClassesOfCells(t *testing.T) {
	strict, batched := Cell{Name: Put, Class: store.Strict}, Cell{Name: Put, Class: store.Batched}
	assert.True(t, strict.On(store.Strict) && batched.On(store.Batched) && batched.On(store.Volatile))
	assert.False(t, strict.On(store.Batched) || strict.On(store.Volatile) || batched.On(store.Strict))
	assert.Equal(t, "put batched at 20000/s, 16", Cell{Name: Put, Class: store.Batched, Rate: 20_000, Callers: 16}.ID())
}

// A store that is wrong is found out by the cell.
func TestCellsFindWhatIsWrong(t *testing.T) {
	short := func(_ string, value []byte) ([]byte, bool) { return value[:1], true }
	gone := func(key string, value []byte) ([]byte, bool) { return value, key[len(key)-1] != '7' }
	run := func(name string, callers int, d *Data, st store.Store) error {
		_, err := Cell{Name: name, Class: store.Batched, Callers: callers}.
			Run(t.Context(), measure.Plan{For: 20 * time.Millisecond}, d, st, Synthetic(3), 1)
		return err
	}
	for _, name := range []string{Get, Half, Scan, Transaction, "YCSB A", "YCSB E", "YCSB F", Agents} {
		for what, wrong := range map[string]func(string, []byte) ([]byte, bool){"short": short, "gone": gone} {
			d, m := loaded(t)
			m.wrong = wrong
			err := run(name, 4, d, transactions{m})
			assert.Error(t, err, "%s, %s", name, what)
			if name == Agents {
				assert.ErrorContains(t, err, "read back")
			}
		}
	}
	d, m := loaded(t)
	m.backwards = true
	assert.ErrorContains(t, run(Scan, 4, d, m), "has as number")
	d, m = loaded(t)
	m.data[3][d.missing[4]] = []byte("x")
	assert.ErrorContains(t, run(Miss, 4, d, m), "which is not there")
	assert.ErrorIs(t, run(Transaction, 1, d, m), errors.ErrUnsupported)
	assert.ErrorContains(t, run("nothing", 1, d, m), "no cell")
}

func TestZipf(t *testing.T) {
	const n, draws = 1000, 400_000
	probability := func(item int) float64 { // by the definition, with the constant of YCSB
		all := 0.0
		for i := range n {
			all += math.Pow(float64(i+1), -0.99)
		}
		return math.Pow(float64(item+1), -0.99) / all
	}
	z, rng := newZipf(n), newRand(1, 1)
	counts := make([]int, n)
	for range draws {
		counts[z.next(rng)]++
	}
	for _, i := range []int{0, 1} { // these are exact in the method, the rest is near
		assert.InEpsilon(t, probability(i), float64(counts[i])/draws, 0.05, "item %d", i)
	}
	for _, up := range []int{10, 100, 500} {
		got, want := 0, 0.0
		for i, c := range counts[:up] {
			got, want = got+c, want+probability(i)
		}
		assert.InEpsilon(t, want, float64(got)/draws, 0.06, "the first %d", up)
	}
	assert.Positive(t, counts[n-1]+counts[n-2]+counts[n-3])

	scrambled := make([]int, n)
	for range draws {
		scrambled[z.scrambled(rng)]++
	}
	hot := slices.Index(scrambled, slices.Max(scrambled))
	assert.Equal(t, int(fnv(0)%n), hot)
	assert.Same(t, zipfOf(77), zipfOf(77))
}

func TestFNV(t *testing.T) {
	// The hash of eight zero bytes, by the definition.
	want := uint64(14695981039346656037)
	for range 8 {
		want *= 1099511628211
	}
	assert.Equal(t, want, fnv(0))
}

func TestSequence(t *testing.T) {
	var s sequence
	for i := range int64(4) {
		assert.Equal(t, i, s.take())
	}
	for _, step := range []struct{ finish, done int64 }{{2, 0}, {0, 1}, {1, 3}, {3, 4}} {
		s.finish(step.finish)
		assert.Equal(t, step.done, s.done.Load())
	}
}

func TestTranscripts(t *testing.T) {
	const lines = `{"name":"a","messages":[{"role":"system"},{"role":"user"},{"role":"assistant","content":"x"},{"role":"tool"},{"role":"assistant"},{"role":"user"}]}
{"messages":[{"role":"assistant"}]}
`
	file := filepath.Join(t.TempDir(), "agents.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(lines), 0o644))
	got, err := ReadTranscripts(file)
	require.NoError(t, err)
	require.Len(t, got.Agents, 2)
	turns := got.Agents[0]
	require.Len(t, turns, 3)
	assert.Len(t, turns[0].Messages, 3)
	assert.Equal(t, `{"role":"assistant","content":"x"}`, string(turns[0].Messages[2]))
	assert.Len(t, turns[1].Messages, 2)
	assert.Equal(t, "assistant", turns[1].Role)
	assert.Equal(t, "user", turns[2].Role)
	assert.Equal(t, 4, got.Turns())

	for _, bad := range []string{"", "{", `{"messages":[1]}`} {
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o644))
		_, err := ReadTranscripts(file)
		assert.Error(t, err, bad)
	}
	_, err = ReadTranscripts(file + "-missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestRecordedTranscripts(t *testing.T) {
	const file = "../../../shared/data/airline-agent.jsonl"
	if _, err := os.Stat(file); err != nil {
		t.Skip("the recorded agents are not there: put them into ", file)
	}
	got, err := ReadTranscripts(file)
	require.NoError(t, err)
	assert.Len(t, got.Agents, 100)
	assert.Equal(t, 1329, got.Turns())
}

func TestSyntheticTranscripts(t *testing.T) {
	a := Synthetic(20)
	assert.Equal(t, a, Synthetic(20))
	for _, turns := range a.Agents {
		assert.True(t, len(turns) >= 6 && len(turns) <= 18, len(turns))
		for _, turn := range turns {
			assert.Equal(t, "assistant", turn.Role)
			for _, m := range turn.Messages {
				assert.True(t, json.Valid(m))
			}
		}
	}
}

// Each pass is of fresh runs, and all that was said is there in the end.
func TestAgents(t *testing.T) {
	d, m := loaded(t)
	transcripts := Synthetic(3)
	cell := Cell{Name: Agents, Class: store.Batched, Callers: AgentRuns}
	turns := 0
	for i := range AgentRuns {
		turns += len(transcripts.Agents[i%3])
	}
	for pass := 1; pass <= 2; pass++ {
		r, err := cell.Run(t.Context(), measure.Plan{For: 1}, d, m, transcripts, 1)
		require.NoError(t, err)
		assert.EqualValues(t, turns, r.Ops)
		assert.Equal(t, small.Runs+pass*AgentRuns, m.runs)
	}
	for i := range AgentRuns {
		require.NoError(t, check(m, small.Runs+i, transcripts.Agents[i%3]))
	}
	run := m.data[small.Runs]
	run["msg-00000001"] = []byte("{}")
	assert.ErrorContains(t, check(m, small.Runs, transcripts.Agents[0]), "msg-00000001")
	delete(m.data[small.Runs+1], "msg-00000003")
	assert.Error(t, check(m, small.Runs+1, transcripts.Agents[1]))
	m.data[small.Runs+2][stateKey] = nil
	assert.ErrorContains(t, check(m, small.Runs+2, transcripts.Agents[2]), "state")
}

// list is a ledger in memory.
type list [Writers]int

func (l *list) Acknowledge(w int)      { l[w]++ }
func (l *list) Acknowledged(w int) int { return l[w] }

func TestCommitsAndWhatIsMissing(t *testing.T) {
	d, m := NewData(small, 1), newMemory()
	require.NoError(t, m.Begin(small.Runs))
	var l list
	require.NoError(t, d.Commit(t.Context(), m, &l, 500))
	assert.Equal(t, 500, m.keys())
	acked, missing, err := d.Missing(m, &l)
	require.NoError(t, err)
	assert.Equal(t, []int{500, 0}, []int{acked, missing})

	run, key := d.Key(123)
	delete(m.data[run], key)
	run, key = d.Key(456)
	m.data[run][key][0]++
	l.Acknowledge(0) // never put
	acked, missing, err = d.Missing(m, &l)
	require.NoError(t, err)
	assert.Equal(t, []int{501, 3}, []int{acked, missing})

	ready := 0
	require.NoError(t, d.First(m, 500, func() { ready++ }))
	assert.Equal(t, 1, ready)
}
