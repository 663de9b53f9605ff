package inmem_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

func metaNamed(name string) run.Meta { return run.Meta{Name: name} }

var someNamespace = run.Namespace{Tenant: "acme", App: "mail", Agent: "writer"}

func TestBeginRun(t *testing.T) {
	s := newStore(t)
	id, err := run.NewID()
	require.NoError(t, err)
	tags := map[string]string{"a": "b"}
	parent := s.begin()
	meta := run.Meta{ID: id, Name: "name", Namespace: someNamespace, Parent: parent.ID(), Tags: tags}
	r, err := s.BeginRun(ctx, meta)
	require.NoError(t, err)
	tags["a"] = "changed" // the caller's again
	want := run.Info{Meta: meta, Status: run.Active, Created: epoch, FirstVersion: 1, LastVersion: 1}
	want.Tags = map[string]string{"a": "b"}
	info, err := r.Info()
	require.NoError(t, err)
	assert.Equal(t, want, *info)
	info.Tags["a"] = "changed too"
	info, err = r.Info()
	require.NoError(t, err)
	assert.Equal(t, want, *info, "infos belong to the caller")

	_, err = s.BeginRun(ctx, run.Meta{ID: id})
	assert.ErrorIs(t, err, inmem.ErrRunExists)
	a, b := s.begin(), s.begin()
	assert.NotEqual(t, a.ID(), b.ID())
	_, err = s.Run(run.ID{1})
	assert.ErrorIs(t, err, inmem.ErrRunNotFound)
	_, err = s.Run(run.ID{})
	assert.ErrorIs(t, err, inmem.ErrRunNotFound)
}

func TestBeginRunRefusesBadMetadata(t *testing.T) {
	s := newStore(t)
	id := run.ID{5}
	for field, meta := range map[string]run.Meta{
		"name":      {Name: strings.Repeat("n", run.MaxName+1)},
		"namespace": {Namespace: run.Namespace{App: "a/b"}},
		"parent":    {ID: id, Parent: id},
		"tags":      {Tags: map[string]string{"": "x"}},
	} {
		_, err := s.BeginRun(ctx, meta)
		var e *run.MetaError
		require.ErrorAs(t, err, &e, field)
		assert.Equal(t, field, e.Field)
	}
	_, err := s.Space(ctx, run.Namespace{App: "a/b"})
	assert.ErrorIs(t, err, run.ErrInvalidNamespace)
	for range s.Runs(ctx, run.Filter{Spaces: true}) {
		t.Error("a refused run is there")
	}
}

// Every step of the lifecycle, by what the API allows.
func TestLifecycle(t *testing.T) {
	s := newStore(t)
	to := map[run.Status]func(*inmem.Run) error{
		run.Active:    func(r *inmem.Run) error { return r.Resume(ctx) },
		run.Paused:    func(r *inmem.Run) error { return r.Pause(ctx) },
		run.Completed: func(r *inmem.Run) error { return r.End(ctx, run.Completed) },
		run.Failed:    func(r *inmem.Run) error { return r.End(ctx, run.Failed) },
		run.Cancelled: func(r *inmem.Run) error { return r.End(ctx, run.Cancelled) },
		run.Archived:  func(r *inmem.Run) error { return r.Archive(ctx) },
	}
	allowed := map[run.Status]string{
		run.Active: "paused completed failed cancelled archived", run.Paused: "active cancelled archived",
		run.Completed: "archived", run.Failed: "archived", run.Cancelled: "archived", run.Archived: "",
	}
	for from, list := range allowed {
		for next, call := range to {
			r := s.begin()
			put(t, r, "k", "v")
			if from != run.Active {
				require.NoError(t, to[from](r))
			}
			err := call(r)
			info, infoErr := r.Info()
			require.NoError(t, infoErr)
			if strings.Contains(list, next.String()) {
				require.NoError(t, err, "%v to %v", from, next)
				assert.Equal(t, next, info.Status)
				assert.Equal(t, next.Ended(), info.Ended != 0)
			} else {
				var e *run.TransitionError
				require.ErrorAs(t, err, &e, "%v to %v", from, next)
				assert.Equal(t, run.TransitionError{ID: r.ID(), From: from, To: next}, *e)
				assert.ErrorIs(t, err, inmem.ErrTransition)
				assert.Equal(t, from, info.Status)
			}
			assert.Equal(t, "v", get(t, r, "k"), "reads go on in every status")
			writesAsStatus(t, r, info.Status)
		}
	}
	var e *run.TransitionError
	for _, bad := range []run.Status{0, run.Active, run.Paused, run.Archived, 77} {
		assert.ErrorAs(t, s.begin().End(ctx, bad), &e, bad)
	}
}

// writesAsStatus checks that only an active run takes writes.
func writesAsStatus(t *testing.T, r *inmem.Run, status run.Status) {
	t.Helper()
	_, err := r.KV().Put(ctx, "k", []byte("v"))
	if status == run.Active {
		assert.NoError(t, err)
		return
	}
	var e *run.StatusError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, run.StatusError{ID: r.ID(), Status: status}, *e)
	assert.ErrorIs(t, err, inmem.ErrRunNotActive)
	if status.Ended() {
		assert.ErrorIs(t, err, inmem.ErrRunEnded)
	} else {
		assert.NotErrorIs(t, err, inmem.ErrRunEnded)
	}
	_, err = r.KV().Delete(ctx, "k")
	assert.ErrorIs(t, err, inmem.ErrRunNotActive)
}

func TestDeleteRun(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		s := newStore(t)
		r, other := s.begin(), s.begin()
		for i := range 50 {
			put(t, r, key(i), "v")
		}
		put(t, other, "k", "v")
		before := s.Metrics().Shards
		require.NoError(t, s.DeleteRun(ctx, r.ID()))
		assert.ErrorIs(t, s.DeleteRun(ctx, r.ID()), inmem.ErrRunDeleted)
		assert.ErrorIs(t, s.DeleteRun(ctx, run.ID{9}), inmem.ErrRunNotFound)
		requireAll(t, s.everyCall(r), inmem.ErrRunNotFound)
		_, err := s.Run(r.ID())
		assert.ErrorIs(t, err, inmem.ErrRunNotFound)
		assert.Equal(t, "v", get(t, other, "k"))
		assert.Equal(t, keysOf(before)-51, keysOf(s.Metrics().Shards))
		if checkpoint {
			require.NoError(t, s.DB.Checkpoint(ctx))
		}
		for range 3 {
			_, err = s.BeginRun(ctx, run.Meta{ID: r.ID()})
			assert.ErrorIs(t, err, inmem.ErrRunDeleted)
			_, err = s.Run(r.ID())
			assert.ErrorIs(t, err, inmem.ErrRunNotFound)
			s.reopen()
		}
	}
}

func keysOf(list []inmem.ShardMetrics) (n int64) {
	for _, m := range list {
		n += m.Keys
	}
	return n
}

// Writers that race with the deletion of their run either come before it or
// get ErrRunDeleted; nothing of the run comes back.
func TestDeleteRunFencesCommitsInFlight(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	var writers sync.WaitGroup
	var written atomic.Int64
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				if _, err := r.KV().Put(ctx, key(w*1000+i), []byte("v")); err != nil {
					assert.ErrorIs(t, err, inmem.ErrRunDeleted)
					return
				}
				written.Add(1)
			}
		})
	}
	soon(t, "writes", func() bool { return written.Load() > 200 })
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	ends(t, "writers", writers.Wait)
	assert.Equal(t, int64(0), keysOf(s.Metrics().Shards))
	s.reopen()
	assert.Equal(t, int64(0), keysOf(s.Metrics().Shards))
}

func TestSpace(t *testing.T) {
	s := newStore(t)
	spaces := make([]*inmem.Run, 20)
	var all sync.WaitGroup
	for i := range spaces {
		all.Go(func() {
			var err error
			spaces[i], err = s.Space(ctx, someNamespace)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	for _, sp := range spaces {
		assert.Equal(t, someNamespace.SpaceID(), sp.ID())
	}
	sp := spaces[0]
	put(t, sp, "memory", "v")
	other, err := s.Space(ctx, run.Namespace{})
	require.NoError(t, err)
	assert.NotEqual(t, sp.ID(), other.ID())
	assert.Equal(t, "-", get(t, other, "memory"))
	for name, err := range map[string]error{
		"pause": sp.Pause(ctx), "resume": sp.Resume(ctx), "archive": sp.Archive(ctx), "end": sp.End(ctx, run.Completed),
	} {
		assert.ErrorIs(t, err, inmem.ErrSpace, name)
	}
	_, err = s.BeginRun(ctx, run.Meta{ID: sp.ID()})
	assert.ErrorIs(t, err, inmem.ErrRunExists)
	s.reopen()
	assert.Empty(t, s.Recovery().Orphans, "a space is nobody's orphan")
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen()
	sp, err = s.Space(ctx, someNamespace)
	require.NoError(t, err)
	assert.Equal(t, "v", get(t, sp, "memory"))
	info, err := sp.Info()
	require.NoError(t, err)
	assert.True(t, info.Space)
	require.NoError(t, s.DeleteRun(ctx, sp.ID()))
	_, err = s.Space(ctx, someNamespace)
	assert.ErrorIs(t, err, inmem.ErrRunDeleted)
}

// A run that somebody began with a space's ID is not handed out as the space.
func TestSpaceIsNotTakenFromARun(t *testing.T) {
	s := newStore(t)
	_, err := s.BeginRun(ctx, run.Meta{ID: someNamespace.SpaceID()})
	require.NoError(t, err)
	_, err = s.Space(ctx, someNamespace)
	assert.ErrorIs(t, err, inmem.ErrRunExists)
}

func TestOrphans(t *testing.T) {
	s := newStore(t)
	assert.Empty(t, s.Recovery().Orphans)
	var active []run.ID
	for i := range 9 {
		r := s.begin()
		switch i % 3 {
		case 0:
			require.NoError(t, r.End(ctx, run.Failed))
		case 1:
			require.NoError(t, r.Pause(ctx))
		default:
			active = append(active, r.ID())
		}
		s.wall.ms.Add(1)
	}
	s.reopen()
	assert.Equal(t, active, s.Recovery().Orphans, "the active ones, by creation")
}

// fullMeta is metadata that uses everything to its bounds.
func fullMeta() run.Meta {
	m := run.Meta{Name: strings.Repeat("ä", run.MaxName/2), Namespace: someNamespace, Parent: run.ID{1}, Tags: map[string]string{}}
	for i := range run.MaxTags {
		m.Tags[fmt.Sprintf("%d%s", i, strings.Repeat("k", run.MaxTagKey-2))] = strings.Repeat("v", run.MaxTagValue)
	}
	return m
}

func TestMetadataSurvivesRestarts(t *testing.T) {
	s := newStore(t)
	r := s.begin(fullMeta())
	s.wall.ms.Add(100)
	require.NoError(t, r.End(ctx, run.Cancelled))
	want, err := r.Info()
	require.NoError(t, err)
	assert.Equal(t, []int64{epoch, epoch + 100}, []int64{want.Created, want.Ended})
	s.reopen() // from the log
	require.NoError(t, s.DB.Checkpoint(ctx))
	s.reopen() // from the checkpoint
	got, err := s.run(r.ID()).Info()
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, time.UnixMilli(epoch+100).UTC(), got.EndedAt())
}

func TestCancelledContexts(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	face := r.KV()
	errs := map[string]error{"flush": s.Flush(gone), "checkpoint": s.DB.Checkpoint(gone), "end": r.End(gone, run.Failed)}
	_, errs["begin"] = s.BeginRun(gone, run.Meta{})
	_, errs["space"] = s.Space(gone, someNamespace)
	errs["delete run"] = s.DeleteRun(gone, r.ID())
	_, errs["put"] = face.Put(gone, "k", nil)
	_, errs["delete"] = face.Delete(gone, "k")
	_, errs["get"] = face.Get(gone, "k")
	_, errs["item"] = face.GetItem(gone, "k")
	_, errs["exists"] = face.Exists(gone, "k")
	for _, err := range face.List(gone, "") {
		errs["list"] = err
	}
	for _, err := range r.History(gone, 0) {
		errs["history"] = err
	}
	for _, err := range s.Runs(gone, run.Filter{}) {
		errs["runs"] = err
	}
	assert.Len(t, errs, 14)
	requireAll(t, errs, context.Canceled)
	info, err := r.Info()
	require.NoError(t, err)
	assert.Equal(t, uint64(1), info.LastVersion, "nothing happened")
}
