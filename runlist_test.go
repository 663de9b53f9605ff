package inmem_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

func names(t testing.TB, s *store, f run.Filter) []string {
	t.Helper()
	out := []string{}
	for info, err := range s.Runs(ctx, f) {
		require.NoError(t, err)
		out = append(out, info.Name)
	}
	return out
}

// Runs of several shards come in one order, that of their creation.
func TestRunsFiltered(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Shards = 4 })
	at := func(ms int64) time.Time { return time.UnixMilli(epoch + ms) }
	parent := s.begin(metaNamed("r0"))
	for i := 1; i < 12; i++ {
		s.wall.ms.Store(epoch + int64(i)*10)
		m := run.Meta{Name: fmt.Sprint("r", i), Tags: map[string]string{"mod": fmt.Sprint(i % 3)}}
		if i%2 == 0 {
			m.Parent = parent.ID()
			m.Namespace = run.Namespace{Tenant: "t", App: "even"}
			m.Tags["even"] = ""
		}
		r := s.begin(m)
		if i%4 == 0 {
			require.NoError(t, r.End(ctx, run.Completed))
		}
	}
	_, err := s.Space(ctx, someNamespace)
	require.NoError(t, err)
	check := func() {
		t.Helper()
		for _, c := range []struct {
			f    run.Filter
			want []string
		}{
			{run.Filter{}, []string{"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11"}},
			{run.Filter{Reverse: true, Limit: 3}, []string{"r11", "r10", "r9"}},
			{run.Filter{Limit: 2}, []string{"r0", "r1"}},
			{run.Filter{Limit: 100, Status: []run.Status{run.Completed}}, []string{"r4", "r8"}},
			{run.Filter{Status: []run.Status{run.Failed, run.Paused}}, []string{}},
			{run.Filter{Tags: map[string]string{"mod": "1"}}, []string{"r1", "r4", "r7", "r10"}},
			{run.Filter{Tags: map[string]string{"mod": "1", "even": ""}}, []string{"r4", "r10"}},
			{run.Filter{Namespace: run.Namespace{App: "even"}}, []string{"r2", "r4", "r6", "r8", "r10"}},
			{run.Filter{Parent: parent.ID(), Reverse: true}, []string{"r10", "r8", "r6", "r4", "r2"}},
			{run.Filter{Name: "r7"}, []string{"r7"}},
			{run.Filter{From: at(30), To: at(60)}, []string{"r3", "r4", "r5"}},
			{run.Filter{From: at(60), To: at(30)}, []string{}},
			{run.Filter{From: at(90), Spaces: true}, []string{"r9", "r10", "r11", ""}},
		} {
			got := names(t, s, c.f)
			if c.f.Spaces {
				assert.ElementsMatch(t, c.want, got) // the space is as old as the last run
				continue
			}
			assert.Equal(t, c.want, got, "%+v", c.f)
		}
	}
	check()
	s.reopen()
	check()
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
	check()
}

func TestRunsEndsEarlyAndOwnsNothing(t *testing.T) {
	s := newStore(t)
	for i := range 5 {
		s.begin(run.Meta{Name: fmt.Sprint(i), Tags: map[string]string{"k": "v"}})
	}
	for info, err := range s.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		info.Tags["k"] = "changed"
		info.Status = run.Archived
		break
	}
	for info, err := range s.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		assert.Equal(t, "v", info.Tags["k"])
		assert.Equal(t, run.Active, info.Status)
		assert.Equal(t, uint64(1), info.LastVersion)
	}
}

// What a loop yields is what the filter chooses, whatever happens to the runs
// while it goes on.
func TestRunsWhileTheyChange(t *testing.T) {
	s := newStore(t)
	var runs []*inmem.Run
	for i := range 10 {
		runs = append(runs, s.begin(metaNamed(fmt.Sprint(i))))
	}
	seen := 0
	for info, err := range s.Runs(ctx, run.Filter{Status: []run.Status{run.Active}}) {
		require.NoError(t, err)
		if seen == 0 {
			for i, r := range runs[1:] {
				switch i % 3 {
				case 0:
					require.NoError(t, r.End(ctx, run.Failed))
				case 1:
					require.NoError(t, s.DeleteRun(ctx, r.ID()))
				case 2:
					put(t, r, "k", "v")
				}
			}
			s.begin(metaNamed("too late"))
		}
		assert.Equal(t, run.Active, info.Status)
		assert.NotEqual(t, "too late", info.Name)
		seen++
	}
	assert.Equal(t, 7, seen, "all but the deleted ones")
}

func TestRunsWhileRunsComeAndGo(t *testing.T) {
	s := newStore(t)
	stays := map[string]bool{}
	for i := range 20 {
		stays[fmt.Sprint("stays", i)] = true
		s.begin(metaNamed(fmt.Sprint("stays", i)))
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for range 4 {
		churn.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := s.BeginRun(ctx, metaNamed("goes"))
				if assert.NoError(t, err) {
					assert.NoError(t, s.DeleteRun(ctx, r.ID()))
				}
			}
		})
	}
	for range 50 {
		n := 0
		for _, name := range names(t, s, run.Filter{}) {
			if stays[name] {
				n++
			}
		}
		require.Equal(t, len(stays), n)
	}
	close(stop)
	churn.Wait()
}
