package inmem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// scenario is what a process does before it crashes, and what must be true
// after it, beyond what the ledger says.
type scenario struct {
	opts inmem.Options
	do   func(s *script)
	// kill is the verdict after a kill; "" = Interrupted.
	kill recovery.Verdict
	// after looks at the recovery of a killed process.
	after func(t *testing.T, l *ledger, report *inmem.RecoveryReport)
	// cuts is the number of power cuts; 0 = 40.
	cuts int
}

// idle keeps the background from syncing in between: what is not synced by the
// mode or by the window of commits is not synced.
func idle(opts inmem.Options) inmem.Options {
	opts.BatchInterval = time.Hour
	return opts
}

var scenarios = map[string]scenario{
	"after begin only": {
		opts: idle(inmem.Options{Shards: 2}),
		do:   func(s *script) { s.begin() },
	},
	"after begin and write": {
		opts: idle(inmem.Options{Shards: 2}),
		do: func(s *script) {
			s.put(s.begin(), "plan", "draft", op.Default)
		},
	},
	"after a Strict commit": {
		opts: idle(inmem.Options{Shards: 2, Durability: inmem.Strict}),
		do: func(s *script) {
			r := s.begin()
			for i := range 20 {
				s.put(r, fmt.Sprint("k", i), "v", inmem.Strict)
			}
		},
	},
	"Batched tail": {
		opts: idle(inmem.Options{Shards: 1, BatchCommits: 50}),
		do: func(s *script) {
			r := s.begin()
			for i := range 337 {
				s.put(r, fmt.Sprint("k", i%40), strings.Repeat("v", i), op.Default)
			}
		},
	},
	"several incomplete": {
		opts:  idle(inmem.Options{Shards: 3}),
		do:    severalIncomplete,
		after: orphansAreTheActive,
	},
	"mixed": {
		opts:  idle(inmem.Options{Shards: 3, SegmentSize: 8 << 10, BatchCommits: 30}),
		do:    mixed,
		after: orphansAreTheActive,
	},
	"clean shutdown": {
		opts: idle(inmem.Options{Shards: 2}),
		kill: recovery.Clean,
		do: func(s *script) {
			r := s.begin()
			for i := range 30 {
				s.put(r, fmt.Sprint("k", i), "v", op.Default)
			}
			s.close()
		},
	},
	"large WAL": {
		opts:  idle(inmem.Options{Shards: 2, SegmentSize: 256 << 10, CheckpointBytes: -1}),
		do:    largeWAL,
		after: replaysEverything,
		cuts:  2,
	},
	"aborted": {
		opts: idle(inmem.Options{Shards: 1}),
		do:   aborted,
	},
	"many writes in one commit": {
		opts: idle(inmem.Options{Shards: 1, SegmentSize: 64 << 10}),
		do:   manyWrites,
		cuts: 8,
	},
	"uncommitted delete": {
		opts: idle(inmem.Options{Shards: 1}),
		do:   uncommittedDelete,
	},
	"interleaved runs": {
		opts: idle(inmem.Options{Shards: 2, BatchCommits: 64, SegmentSize: 16 << 10}),
		do: func(s *script) {
			var runs []*inmem.Run
			for range 10 {
				runs = append(runs, s.begin())
			}
			for i := range 500 {
				r := runs[i*7%10]
				mode := []inmem.Durability{op.Default, op.Default, op.Default, op.Default, inmem.Strict}[i%5]
				s.put(r, fmt.Sprint("k", i%23), fmt.Sprint("value ", i), mode)
			}
		},
	},
}

func severalIncomplete(s *script) {
	for i := range 8 {
		r := s.begin()
		for k := range i {
			s.put(r, fmt.Sprint("k", k), "v", op.Default)
		}
	}
}

func mixed(s *script) {
	var runs []*inmem.Run
	for i := range 12 {
		r := s.begin()
		runs = append(runs, r)
		for k := range 10 {
			mode := []inmem.Durability{inmem.Strict, inmem.Batched, op.Default}[(i+k)%3]
			s.put(r, fmt.Sprint("k", k%7), strings.Repeat("x", 10*k), mode)
		}
		s.del(r, "k3", op.Default)
	}
	s.end(runs[0], run.Completed)
	s.end(runs[1], run.Failed)
	s.drop(runs[2])
	s.drop(runs[0])
	must(s.db.Checkpoint(bg))
	s.emit(note{What: "flush"})
	s.put(runs[3], "late", "v", op.Default)
	s.end(runs[4], run.Cancelled)
	s.drop(runs[5])
}

func largeWAL(s *script) {
	var runs []*inmem.Run
	for range 6 {
		runs = append(runs, s.begin())
	}
	for i := range 12_000 {
		s.put(runs[i%6], fmt.Sprint("k", i%500), fmt.Sprint("value ", i), op.Default)
		if i == 9000 {
			s.flush()
		}
	}
}

// aborted does what is refused, among what is not.
func aborted(s *script) {
	r := s.begin()
	s.put(r, "a", "1", inmem.Strict)
	_, err := r.KV().PutIf(bg, "a", []byte("never"), 99)
	mustRefuse(err, inmem.ErrWrongVersion)
	var b kv.Batch
	b.Put("b", []byte("never"))
	b.PutIf("a", []byte("never"), 99)
	_, err = r.KV().Write(bg, &b)
	mustRefuse(err, inmem.ErrWrongVersion)
	cancelled, cancel := context.WithCancel(bg)
	cancel()
	_, err = r.KV().Put(cancelled, "c", []byte("never"))
	mustRefuse(err, context.Canceled)
	_, err = r.KV().Delete(cancelled, "a")
	mustRefuse(err, context.Canceled)
	_, err = s.db.BeginRun(cancelled, run.Meta{Name: "never"})
	mustRefuse(err, context.Canceled)
	_, err = r.KV().Delete(bg, "absent")
	mustRefuse(err, inmem.ErrNotFound)
	s.put(r, "d", "2", inmem.Strict)
}

func manyWrites(s *script) {
	r := s.begin()
	s.put(r, "before", "v", inmem.Strict)
	var b kv.Batch
	var ops []op.Op
	for i := range 5000 {
		o := putOp(fmt.Sprintf("key %04d", i), fmt.Sprint("value ", i))
		b.Put(o.Key, o.Value)
		ops = append(ops, o)
	}
	_, err := r.KV().Write(bg, &b)
	must(err)
	s.ack(r.ID(), op.Default, ops...)
}

// uncommittedDelete leaves one delete that nobody may lose, one that a power
// cut may undo, and some that never happened.
func uncommittedDelete(s *script) {
	r := s.begin()
	for _, key := range []string{"a", "b", "c", "d"} {
		s.put(r, key, "value of "+key, op.Default)
	}
	s.del(r, "a", inmem.Strict)
	cancelled, cancel := context.WithCancel(bg)
	cancel()
	_, err := r.KV().Delete(cancelled, "b")
	mustRefuse(err, context.Canceled)
	var b kv.Batch
	b.Delete("c")
	b.PutIf("d", nil, 1)
	_, err = r.KV().Write(bg, &b)
	mustRefuse(err, inmem.ErrWrongVersion)
	s.del(r, "d", inmem.Batched)
}

func orphansAreTheActive(t *testing.T, l *ledger, report *inmem.RecoveryReport) {
	var active []run.ID
	for _, id := range l.order {
		e := l.runs[id]
		ended := false
		for _, a := range e.acks {
			o := a.commit.Ops[0]
			ended = ended || o.Kind == op.Drop || a.commit.Version > 1 && o.Tag == op.RunMetadata
		}
		if !ended {
			active = append(active, id)
		}
	}
	require.ElementsMatch(t, active, report.Orphans)
}

func replaysEverything(t *testing.T, l *ledger, report *inmem.RecoveryReport) {
	var commits, known uint64
	for _, s := range report.Shards {
		commits += s.Commits
	}
	for _, e := range l.runs {
		known += e.last
	}
	require.Equal(t, known, commits)
	require.Greater(t, commits, uint64(10_000))
}

// TestCrash lets processes and disks crash after each scenario.
func TestCrash(t *testing.T) {
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Run("killed", func(t *testing.T) { killed(t, name, sc) })
			t.Run("power cut", func(t *testing.T) { powerCut(t, sc) })
		})
	}
}

// killed runs the scenario in a process of its own and kills that: everything
// that was acknowledged is there, and not one commit more.
func killed(t *testing.T, name string, sc scenario) {
	dir := t.TempDir()
	l := scriptLedger()
	cmd, lines := startChild(t, "scenario", scenarioEnv+"="+name, dirEnv+"="+dir)
	ready := false
	for !ready && lines.Scan() {
		var n note
		require.NoError(t, json.Unmarshal(lines.Bytes(), &n))
		ready = n.What == "ready"
		l.take(n)
	}
	require.True(t, ready, "the child did not get to the end of the scenario")
	kill(t, cmd, lines, l.take)
	l.settle(t)
	opts := sc.opts
	opts.FS, opts.Now = vfs.OS, scriptClock
	all := map[run.ID]uint64{}
	for id, e := range l.runs {
		all[id] = e.last
	}
	report, got := l.verify(t, dir, opts, all)
	for id, n := range got.kept {
		require.Equal(t, int(all[id]), n)
	}
	want := sc.kill
	if want == "" {
		want = recovery.Interrupted
	}
	require.Equal(t, want, report.Verdict)
	if sc.after != nil {
		sc.after(t, l, report)
	}
}

// powerCut runs the scenario on a memory disk and cuts the power, many ways.
func powerCut(t *testing.T, sc scenario) {
	disk := vfs.NewMem()
	l := scriptLedger()
	db := runScenario(sc, storeDir, disk, l.take)
	defer func() { require.NoError(t, db.Close()) }()
	l.settle(t)
	promised := l.promises()
	cuts := sc.cuts
	if cuts == 0 {
		cuts = 40
	}
	limit := sc.opts.BatchCommits
	if limit == 0 {
		limit = 1000
	}
	for _, seed := range crashSeeds(t, cuts) {
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("repeat with %s=%d", seedEnv, seed)
				}
			}()
			opts := sc.opts
			opts.FS, opts.Now = disk.Crash(rand.New(rand.NewPCG(seed, 3))), scriptClock
			_, got := l.verify(t, storeDir, opts, promised.power)
			require.LessOrEqual(t, l.lost(got, promised, opts.Shards), limit)
		}()
	}
}
