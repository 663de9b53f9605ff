package inmem_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// modelRun is a run as it should be.
type modelRun struct {
	run     *inmem.Run
	status  run.Status
	deleted bool
	keys    map[string]modelItem
	atLeast uint64 // its version, but for removals of expired keys
}

type modelItem struct {
	value    string
	version  uint64
	deadline int64
}

// model is a store beside a map that says what it should hold.
type model struct {
	opts inmem.Options
	disk *vfs.Mem
	wall *wall
	db   *inmem.DB
	runs []*modelRun
}

const modelDir = "/model"

var modelKeys = []string{"a", "aa", "ab", "b", "b\x00", "\xff", "\xff\xff", "c/1", "c/2"}

func newModel(t *rapid.T) *model {
	m := &model{disk: vfs.NewMem(), wall: &wall{}}
	m.wall.ms.Store(epoch)
	m.opts = inmem.Options{
		FS: m.disk, Now: m.wall.Now, Shards: rapid.IntRange(1, 3).Draw(t, "shards"),
		SegmentSize: 4 << 10, CheckpointBytes: rapid.SampledFrom([]int64{-1, 2 << 10}).Draw(t, "checkpoint bytes"),
		Durability: inmem.Durability(rapid.IntRange(1, 3).Draw(t, "durability")),
	}
	m.open(t)
	return m
}

func (m *model) open(t *rapid.T) {
	db, err := inmem.Open(modelDir, &m.opts)
	require.NoError(t, err)
	m.db = db
	for _, r := range m.runs {
		again, err := db.Run(r.run.ID())
		if r.deleted {
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
			continue
		}
		require.NoError(t, err)
		r.run = again
	}
}

func (m *model) close(t *rapid.T) {
	require.NoError(t, m.db.Close())
	checked, err := recovery.Check(m.disk, modelDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

// live drops what is past its deadline.
func (m *model) live(r *modelRun) {
	for key, it := range r.keys {
		if it.deadline != 0 && m.wall.ms.Load() >= it.deadline {
			delete(r.keys, key)
		}
	}
}

// any draws a run that is there.
func (m *model) any(t *rapid.T) *modelRun {
	there := slices.DeleteFunc(slices.Clone(m.runs), func(r *modelRun) bool { return r.deleted })
	if len(there) == 0 {
		t.Skip("no runs")
	}
	r := there[rapid.IntRange(0, len(there)-1).Draw(t, "run")]
	m.live(r)
	return r
}

// wrote takes over what a commit should have done, and checks its version.
func (r *modelRun) wrote(t *rapid.T, version uint64, err error) bool {
	if r.status != run.Active {
		require.ErrorIs(t, err, inmem.ErrRunNotActive)
		return false
	}
	require.NoError(t, err)
	require.GreaterOrEqual(t, version, r.atLeast)
	r.atLeast = version
	return true
}

func (m *model) item(value string, version uint64, ttl time.Duration) modelItem {
	it := modelItem{value: value, version: version}
	if ttl > 0 {
		it.deadline = m.wall.ms.Load() + ttl.Milliseconds()
	}
	return it
}

func drawTTL(t *rapid.T) (time.Duration, []kv.WriteOption) {
	ttl := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 10, 100}).Draw(t, "ttl")) * time.Millisecond
	if ttl == 0 {
		return 0, nil
	}
	return ttl, []kv.WriteOption{kv.TTL(ttl)}
}

func (m *model) put(t *rapid.T) {
	r, key := m.any(t), rapid.SampledFrom(modelKeys).Draw(t, "key")
	value := rapid.StringN(0, 5, 300).Draw(t, "value")
	ttl, opts := drawTTL(t)
	before := r.atLeast
	version, err := r.run.KV().Put(ctx, key, []byte(value), opts...)
	if r.wrote(t, version, err) {
		require.Greater(t, version, before)
		r.keys[key] = m.item(value, version, ttl)
	}
}

func (m *model) putIf(t *rapid.T) {
	r, key := m.any(t), rapid.SampledFrom(modelKeys).Draw(t, "key")
	actual := r.keys[key].version
	expected := rapid.SampledFrom([]uint64{0, actual, actual + 1}).Draw(t, "expected")
	version, err := r.run.KV().PutIf(ctx, key, []byte("if"), expected)
	if r.status == run.Active && expected != actual {
		var e *inmem.VersionError
		require.ErrorAs(t, err, &e)
		require.Equal(t, inmem.VersionError{Key: key, Expected: expected, Actual: actual}, *e)
		return
	}
	if r.wrote(t, version, err) {
		r.keys[key] = m.item("if", version, 0)
	}
}

func (m *model) delete(t *rapid.T) {
	r, key := m.any(t), rapid.SampledFrom(modelKeys).Draw(t, "key")
	old, err := r.run.KV().Delete(ctx, key)
	it, existed := r.keys[key]
	switch {
	case r.status != run.Active:
		require.ErrorIs(t, err, inmem.ErrRunNotActive)
	case !existed:
		require.ErrorIs(t, err, inmem.ErrNotFound)
	default:
		require.NoError(t, err)
		require.Equal(t, it.value, string(old))
		delete(r.keys, key)
	}
}

func (m *model) batch(t *rapid.T) {
	r := m.any(t)
	var b kv.Batch
	var apply []func(version uint64)
	for range rapid.IntRange(0, 6).Draw(t, "operations") {
		key := rapid.SampledFrom(modelKeys).Draw(t, "key")
		if rapid.Bool().Draw(t, "put") {
			value := rapid.StringN(0, 5, 20).Draw(t, "value")
			ttl, opts := drawTTL(t)
			b.Put(key, []byte(value), opts...)
			apply = append(apply, func(v uint64) { r.keys[key] = m.item(value, v, ttl) })
		} else {
			b.Delete(key)
			apply = append(apply, func(uint64) { delete(r.keys, key) })
		}
	}
	version, err := r.run.KV().Write(ctx, &b)
	if r.wrote(t, version, err) {
		for _, fn := range apply {
			fn(version)
		}
	}
}

func (m *model) begin(t *rapid.T) {
	if len(m.runs) >= 8 {
		t.Skip("enough runs")
	}
	meta := run.Meta{Name: fmt.Sprint(len(m.runs)), Tags: map[string]string{"n": fmt.Sprint(len(m.runs) % 2)}}
	r, err := m.db.BeginRun(ctx, meta)
	require.NoError(t, err)
	m.runs = append(m.runs, &modelRun{run: r, status: run.Active, keys: map[string]modelItem{}, atLeast: 1})
}

func (m *model) status(t *rapid.T) {
	r := m.any(t)
	to := run.Status(rapid.IntRange(1, 6).Draw(t, "status"))
	var err error
	switch to {
	case run.Active:
		err = r.run.Resume(ctx)
	case run.Paused:
		err = r.run.Pause(ctx)
	case run.Archived:
		err = r.run.Archive(ctx)
	default:
		err = r.run.End(ctx, to)
	}
	if want := r.status.Become(to); want != nil {
		require.ErrorIs(t, err, inmem.ErrTransition)
		require.Equal(t, errors.Is(want, inmem.ErrRunEnded), errors.Is(err, inmem.ErrRunEnded))
		return
	}
	require.NoError(t, err)
	r.status = to
}

func (m *model) deleteRun(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "really") != 0 {
		t.Skip("not this time")
	}
	r := m.any(t)
	require.NoError(t, m.db.DeleteRun(ctx, r.run.ID()))
	r.deleted = true
	_, err := m.db.BeginRun(ctx, run.Meta{ID: r.run.ID()})
	require.ErrorIs(t, err, inmem.ErrRunDeleted)
	_, err = r.run.KV().Put(ctx, "a", nil)
	require.ErrorIs(t, err, inmem.ErrRunDeleted)
}

// agree compares all that can be seen with the model.
func (m *model) agree(t *rapid.T) {
	there := 0
	for _, r := range m.runs {
		if r.deleted {
			_, err := m.db.Run(r.run.ID())
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
			continue
		}
		there++
		m.live(r)
		seen := map[string]modelItem{}
		last := ""
		for it, err := range r.run.KV().List(ctx, "") {
			require.NoError(t, err)
			require.True(t, last == "" || last < it.Key, "out of order")
			last = it.Key
			got := modelItem{value: string(it.Value), version: it.Version}
			if !it.Deadline.IsZero() {
				got.deadline = it.Deadline.UnixMilli()
			}
			seen[it.Key] = got
		}
		require.Equal(t, r.keys, seen, "run %v", r.run.ID())
		info, err := r.run.Info()
		require.NoError(t, err)
		require.Equal(t, r.status, info.Status)
	}
	n := 0
	for _, err := range m.db.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, there, n)
}

// histories replays every run's history and compares it with what is there.
func (m *model) histories(t *rapid.T) {
	for _, r := range m.runs {
		if r.deleted {
			continue
		}
		m.live(r)
		replayed := map[string]modelItem{}
		next := uint64(1)
		for c, err := range r.run.History(ctx, 0) {
			require.NoError(t, err)
			require.Equal(t, next, c.Version)
			next++
			for _, o := range c.Ops {
				switch {
				case o.Tag == op.RunMetadata:
				case o.Kind == op.Put:
					replayed[o.Key] = modelItem{string(o.Value), c.Version, o.Deadline}
				default:
					delete(replayed, o.Key)
				}
			}
		}
		for key, it := range replayed {
			if it.deadline != 0 && m.wall.ms.Load() >= it.deadline {
				delete(replayed, key)
			}
		}
		require.Equal(t, r.keys, replayed)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer func() { assert.NoError(t, m.db.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"":          m.agree,
			"put":       m.put,
			"putif":     m.putIf,
			"delete":    m.delete,
			"batch":     m.batch,
			"begin":     m.begin,
			"status":    m.status,
			"deleteRun": m.deleteRun,
			"history":   m.histories,
			"time": func(t *rapid.T) {
				m.wall.move(time.Duration(rapid.IntRange(0, 60).Draw(t, "ms")) * time.Millisecond)
			},
			"flush":      func(t *rapid.T) { require.NoError(t, m.db.Flush(ctx)) },
			"checkpoint": func(t *rapid.T) { require.NoError(t, m.db.Checkpoint(ctx)) },
			"reopen": func(t *rapid.T) {
				m.close(t)
				m.open(t)
			},
		})
	})
}
