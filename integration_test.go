package inmem_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
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

// restartable is a store on the real disk that a test closes and opens again.
type restartable struct {
	t    *testing.T
	dir  string
	opts inmem.Options
	now  atomic.Int64 // Unix ms
	*inmem.DB
}

func newRestartable(t *testing.T, opts inmem.Options) *restartable {
	s := &restartable{t: t, dir: t.TempDir(), opts: opts}
	s.now.Store(scriptTime)
	s.opts.FS, s.opts.Now = vfs.OS, func() time.Time { return time.UnixMilli(s.now.Load()) }
	s.open()
	t.Cleanup(s.finish)
	return s
}

func (s *restartable) open() {
	db, err := inmem.Open(s.dir, &s.opts)
	require.NoError(s.t, err)
	s.DB = db
}

// digests returns the fingerprint of every run, each held against a replay of
// the run's history.
func (s *restartable) digests() map[run.ID]inmem.Digest {
	s.t.Helper()
	all := map[run.ID]inmem.Digest{}
	for info, err := range s.Runs(bg, run.Filter{Spaces: true}) {
		require.NoError(s.t, err)
		r, err := s.Run(info.ID)
		require.NoError(s.t, err)
		digest, version, err := r.Digest()
		require.NoError(s.t, err)
		model := newState(historyOf(s.t, s.DB, info.ID))
		require.Equal(s.t, model.version, version)
		require.Equal(s.t, model.digest(), digest)
		all[info.ID] = digest
	}
	return all
}

// restart closes, checks every byte, opens, and wants the same.
func (s *restartable) restart() {
	s.t.Helper()
	before := s.digests()
	require.NoError(s.t, s.Close())
	checked, err := inmem.Check(s.dir)
	require.NoError(s.t, err)
	require.Empty(s.t, checked.Problems)
	s.open()
	require.Equal(s.t, recovery.Clean, s.Recovery().Verdict)
	require.Equal(s.t, before, s.digests())
}

func (s *restartable) finish() {
	if !s.t.Failed() {
		s.restart()
	}
	require.NoError(s.t, s.Close())
}

func (s *restartable) begin(meta run.Meta) *inmem.Run {
	s.t.Helper()
	r, err := s.BeginRun(bg, meta)
	require.NoError(s.t, err)
	return r
}

// again finds a run after a restart.
func (s *restartable) again(r *inmem.Run) *inmem.Run {
	s.t.Helper()
	r, err := s.Run(r.ID())
	require.NoError(s.t, err)
	return r
}

func (s *restartable) put(r *inmem.Run, key, value string, opts ...kv.WriteOption) uint64 {
	s.t.Helper()
	v, err := r.KV().Put(bg, key, []byte(value), opts...)
	require.NoError(s.t, err)
	return v
}

func (s *restartable) wants(r *inmem.Run, key, value string) {
	s.t.Helper()
	got, err := r.KV().Get(bg, key)
	require.NoError(s.t, err)
	require.Equal(s.t, value, string(got))
}

func listing(t *testing.T, r *inmem.Run, prefix string, opts ...kv.ListOption) (keys []string) {
	t.Helper()
	for it, err := range r.KV().List(bg, prefix, opts...) {
		require.NoError(t, err)
		keys = append(keys, it.Key+"="+string(it.Value))
	}
	return keys
}

func TestIntegrationWriteRestartRead(t *testing.T) {
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newRestartable(t, inmem.Options{Shards: 2, Durability: mode})
			r := s.begin(run.Meta{})
			require.Equal(t, uint64(2), s.put(r, "plan", "draft"))
			require.Equal(t, uint64(3), s.put(r, "plan", "final"))
			require.Equal(t, uint64(4), s.put(r, "empty", ""))
			require.Equal(t, uint64(5), s.put(r, "\x00\xff", "any bytes \x00"))
			old, err := r.KV().Delete(bg, "empty")
			require.NoError(t, err)
			require.Empty(t, old)
			for range 3 {
				s.restart()
				r = s.again(r)
				s.wants(r, "plan", "final")
				s.wants(r, "\x00\xff", "any bytes \x00")
				_, err = r.KV().Get(bg, "empty")
				require.ErrorIs(t, err, inmem.ErrNotFound)
				it, err := r.KV().GetItem(bg, "plan")
				require.NoError(t, err)
				require.Equal(t, uint64(3), it.Version)
			}
			require.Equal(t, uint64(7), s.put(r, "more", "v"), "versions go on where they were")
		})
	}
}

func TestIntegrationRunIsolation(t *testing.T) {
	s := newRestartable(t, inmem.Options{Shards: 3})
	var runs []*inmem.Run
	for i := range 20 {
		r := s.begin(run.Meta{Name: fmt.Sprint(i)})
		runs = append(runs, r)
		s.put(r, "shared key", fmt.Sprint("of run ", i))
		s.put(r, fmt.Sprint("own key ", i), "x")
	}
	require.NoError(t, s.DeleteRun(bg, runs[7].ID()))
	_, err := runs[8].KV().Delete(bg, "shared key")
	require.NoError(t, err)
	s.restart()
	for i, r := range runs {
		if i == 7 {
			_, err := s.Run(r.ID())
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
			_, err = s.BeginRun(bg, run.Meta{ID: r.ID()})
			require.ErrorIs(t, err, inmem.ErrRunDeleted)
			continue
		}
		want := []string{fmt.Sprint("own key ", i, "=x"), fmt.Sprint("shared key=of run ", i)}
		if i == 8 {
			want = want[:1]
		}
		require.Equal(t, want, listing(t, s.again(r), ""))
	}
}

func TestIntegrationLargeDataSet(t *testing.T) {
	s := newRestartable(t, inmem.Options{Shards: 2, SegmentSize: 1 << 20, CheckpointBytes: 2 << 20})
	const runs, batches, size = 8, 25, 100
	model := map[run.ID]map[string]string{}
	var list []*inmem.Run
	for range runs {
		r := s.begin(run.Meta{})
		list = append(list, r)
		model[r.ID()] = map[string]string{}
	}
	for b := range batches {
		for i, r := range list {
			var batch kv.Batch
			for k := range size {
				key, value := fmt.Sprintf("key %05d", (b*size*3/4)+k), fmt.Sprint(i, b, k, strings.Repeat("·", k))
				batch.Put(key, []byte(value))
				model[r.ID()][key] = value
			}
			_, err := r.KV().Write(bg, &batch)
			require.NoError(t, err)
		}
	}
	big := strings.Repeat("a large value ", 200_000)
	s.put(list[0], "zz big", big)
	model[list[0].ID()]["zz big"] = big
	s.restart()
	for _, r := range list {
		var want []string
		for _, key := range slices.Sorted(maps.Keys(model[r.ID()])) {
			want = append(want, key+"="+model[r.ID()][key])
		}
		if !slices.Equal(want, listing(t, s.again(r), "")) { // a diff of megabytes helps nobody
			t.Fatalf("run %v does not have what was written", r.ID())
		}
	}
}

func TestIntegrationTTLAcrossRestart(t *testing.T) {
	s := newRestartable(t, inmem.Options{Shards: 1})
	r := s.begin(run.Meta{})
	s.put(r, "short", "v", kv.TTL(time.Second))
	s.put(r, "long", "v", kv.TTL(time.Hour))
	s.put(r, "for ever", "v")
	s.put(r, "was short", "v", kv.TTL(time.Second))
	s.put(r, "was short", "now for ever")
	s.restart()
	r = s.again(r)
	s.wants(r, "short", "v")
	it, err := r.KV().GetItem(bg, "short")
	require.NoError(t, err)
	require.Equal(t, scriptTime+1000, it.Deadline.UnixMilli(), "a deadline is absolute")
	s.now.Add(999)
	s.wants(r, "short", "v")

	// The deadline passes while nobody has the store open.
	require.NoError(t, s.Close())
	s.now.Add(1)
	s.open()
	r = s.again(r)
	_, err = r.KV().Get(bg, "short")
	require.ErrorIs(t, err, inmem.ErrNotFound)
	require.Equal(t, []string{"for ever=v", "long=v", "was short=now for ever"}, listing(t, r, ""))

	// It is removed for good, by a commit of its own, which the history shows.
	require.Eventually(t, func() bool {
		last := lastCommit(t, s, r)
		return len(last.Ops) == 1 && last.Ops[0].Kind == op.Expire && last.Ops[0].Key == "short"
	}, 10*time.Second, time.Millisecond)

	// A clock that was set back does not bring anything back to life.
	require.NoError(t, s.Close())
	s.now.Store(scriptTime - 1e6)
	s.open()
	r = s.again(r)
	require.Equal(t, []string{"for ever=v", "long=v", "was short=now for ever"}, listing(t, r, ""))
	s.put(r, "again", "v", kv.TTL(time.Minute))
	it, err = r.KV().GetItem(bg, "again")
	require.NoError(t, err)
	require.Equal(t, scriptTime+1000+60_000, it.Deadline.UnixMilli())
}

func lastCommit(t *testing.T, s *restartable, r *inmem.Run) op.Commit {
	t.Helper()
	list := historyOf(t, s.DB, r.ID())
	return list[len(list)-1]
}

func TestIntegrationRunMetadata(t *testing.T) {
	s := newRestartable(t, inmem.Options{Shards: 2})
	parent := s.begin(run.Meta{Name: "parent"})
	meta := run.Meta{
		Name: "child · ünïcode", Parent: parent.ID(), Tags: map[string]string{"model": "m1", "empty": ""},
		Namespace: run.Namespace{Tenant: "acme", App: "support", Agent: "triage"},
	}
	child := s.begin(meta)
	meta.ID = child.ID()
	s.put(child, "k", "v")
	s.now.Add(5000)
	require.NoError(t, child.Pause(bg))
	require.NoError(t, child.Resume(bg))
	require.NoError(t, child.End(bg, run.Failed))
	space, err := s.Space(bg, meta.Namespace)
	require.NoError(t, err)
	s.put(space, "memory", "long-term")
	s.restart()
	want := &run.Info{
		Meta: meta, Status: run.Failed, Created: scriptTime, Ended: scriptTime + 5000, FirstVersion: 1, LastVersion: 5,
	}
	got, err := s.again(child).Info()
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = s.again(child).KV().Put(bg, "k", nil)
	require.ErrorIs(t, err, inmem.ErrRunEnded)
	for info, err := range s.Runs(bg, run.Filter{Parent: parent.ID(), Status: []run.Status{run.Failed}, Tags: map[string]string{"model": "m1"}}) {
		require.NoError(t, err)
		require.Equal(t, want, info)
	}
	require.Equal(t, []run.ID{parent.ID()}, s.Recovery().Orphans)
	space, err = s.Space(bg, meta.Namespace)
	require.NoError(t, err)
	s.wants(space, "memory", "long-term")
	info, err := space.Info()
	require.NoError(t, err)
	require.True(t, info.Space)
}

func TestIntegrationListAcrossRestart(t *testing.T) {
	s := newRestartable(t, inmem.Options{Shards: 1, SegmentSize: 4 << 10})
	r := s.begin(run.Meta{})
	for i := range 300 {
		s.put(r, fmt.Sprintf("%c/%03d", 'a'+i%3, i), fmt.Sprint(i))
	}
	for i := 0; i < 300; i += 7 {
		_, err := r.KV().Delete(bg, fmt.Sprintf("%c/%03d", 'a'+i%3, i))
		require.NoError(t, err)
	}
	look := func() (all [][]string) {
		r := s.again(r)
		all = append(all, listing(t, r, ""), listing(t, r, "b/"), listing(t, r, "b/", kv.Reverse()),
			listing(t, r, "c/1", kv.Limit(5)), listing(t, r, "none"))
		var ranged []string
		for it, err := range r.KV().Range(bg, "a/100", "b/050") {
			require.NoError(t, err)
			ranged = append(ranged, it.Key)
		}
		return append(all, ranged)
	}
	before := look()
	require.Len(t, before[0], 300-43)
	require.True(t, slices.IsSorted(before[0]))
	require.Len(t, before[3], 5)
	s.restart()
	require.Equal(t, before, look())
	require.NoError(t, s.Checkpoint(bg))
	s.restart()
	require.Equal(t, before, look())
}

// TestIntegrationWorkflow is an agent's whole story: runs that work side by
// side, share a memory, fail and are begun anew, over three restarts.
func TestIntegrationWorkflow(t *testing.T) {
	s := newRestartable(t, inmem.Options{Shards: 2, SegmentSize: 8 << 10})
	ns := run.Namespace{Tenant: "acme", App: "research", Agent: "writer"}
	memory, err := s.Space(bg, ns)
	require.NoError(t, err)
	s.put(memory, "style", "brief")
	first := s.begin(run.Meta{Name: "first try", Namespace: ns})
	s.put(first, "step", "1")
	s.put(first, "scratch", "thoughts", kv.TTL(time.Minute))
	s.restart()

	require.Equal(t, []run.ID{first.ID()}, s.Recovery().Orphans, "the interrupted run is found")
	first = s.again(first)
	s.wants(first, "step", "1")
	require.NoError(t, first.End(bg, run.Failed))
	second := s.begin(run.Meta{Name: "second try", Namespace: ns, Parent: first.ID()})
	for i := range 100 {
		it, err := second.KV().GetItem(bg, "step")
		if i > 0 {
			require.NoError(t, err)
		}
		_, err = second.KV().PutIf(bg, "step", []byte(fmt.Sprint(i)), it.Version)
		require.NoError(t, err)
	}
	_, err = second.KV().PutIf(bg, "step", []byte("late"), 3)
	require.ErrorIs(t, err, inmem.ErrWrongVersion)
	require.NoError(t, s.Checkpoint(bg))
	s.restart()

	second = s.again(second)
	s.wants(second, "step", "99")
	var b kv.Batch
	b.Put("result", []byte("done"))
	b.Delete("step")
	version, err := second.KV().Write(bg, &b, kv.Durability(inmem.Strict))
	require.NoError(t, err)
	require.Equal(t, uint64(102), version)
	require.NoError(t, second.End(bg, run.Completed))
	require.NoError(t, second.Archive(bg))
	require.NoError(t, s.DeleteRun(bg, first.ID()))
	memory, err = s.Space(bg, ns)
	require.NoError(t, err)
	s.put(memory, "lesson", "try twice")
	s.restart()

	require.Empty(t, s.Recovery().Orphans)
	require.Len(t, historyOf(t, s.DB, second.ID()), 104)
	require.Equal(t, []string{"result=done"}, listing(t, s.again(second), ""))
	require.Equal(t, []string{"lesson=try twice", "style=brief"}, listing(t, s.again(memory), ""))
}
