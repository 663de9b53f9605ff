package event_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/event"
	"inmem/op"
)

// streams is what the events of a run should be, by stream.
type streams map[string][]event.Event

func (s streams) clone() streams {
	all := maps.Clone(s)
	for name, list := range all {
		all[name] = slices.Clone(list)
	}
	return all
}

// append does to the model what one call does to the store.
func (s streams) append(stream string, in []event.New, expected, version uint64, now time.Time) (out []event.Event, err error) {
	list, appended := slices.Clip(s[stream]), false
	for _, e := range in {
		if e.Payload == nil {
			e.Payload = []byte("{}")
		}
		i := slices.IndexFunc(list, func(old event.Event) bool { return e.ID != "" && old.ID == e.ID })
		if i >= 0 {
			if old := list[i]; old.Type != e.Type || string(old.Payload) != string(e.Payload) {
				return nil, event.ErrDuplicateID
			}
			out = append(out, list[i])
			continue
		}
		if !appended && expected != anySequence && expected != uint64(len(list)) {
			return nil, event.ErrWrongSequence
		}
		appended = true
		next := event.Event{
			Stream: stream, Sequence: uint64(len(list) + 1), Type: e.Type, ID: e.ID, Time: now.UTC(), Payload: e.Payload, Version: version,
		}
		if len(list) > 0 {
			next.Prev = list[len(list)-1].Hash()
		}
		list, out = append(list, next), append(out, next)
	}
	if len(list) > 0 {
		s[stream] = list
	}
	return out, nil
}

const anySequence = 1 << 40

var modelStreams = []string{"a", "ab", "b"}

// model is a store beside what it should hold.
type model struct {
	*world
	now    streams
	past   map[uint64]streams
	latest uint64
}

func (m *model) clock() time.Time { return time.UnixMilli(m.ms.Load()) }

// committed is the model's commit.
func (m *model) committed(now streams) {
	if v := m.version(); v != m.latest {
		m.latest = v
		m.past[v] = now.clone()
	}
	m.now = now
}

func drawEvents(t *rapid.T) []event.New {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.New {
		return event.New{
			Type:    rapid.SampledFrom([]string{"x", "y"}).Draw(t, "type"),
			ID:      rapid.SampledFrom([]string{"", "", "", "1", "2", "3"}).Draw(t, "id"),
			Payload: rapid.SampledFrom([][]byte{nil, nil, []byte(`{"p":1}`)}).Draw(t, "payload"),
		}
	}), 1, 3).Draw(t, "events")
}

// append makes one call on the store and the same on the model.
func (m *model) append(t *rapid.T, s event.Store, now streams, version uint64) {
	stream := rapid.SampledFrom(modelStreams).Draw(t, "stream")
	in := drawEvents(t)
	var opts []event.WriteOption
	expected := uint64(anySequence)
	if rapid.IntRange(0, 3).Draw(t, "expect") == 0 {
		expected = uint64(max(0, len(now[stream])+rapid.IntRange(-1, 1).Draw(t, "difference")))
		opts = append(opts, event.ExpectSequence(expected))
	}
	want, wantErr := now.append(stream, in, expected, version, m.clock())
	got, err := s.AppendAll(ctx, stream, in, opts...)
	require.ErrorIs(t, err, wantErr)
	require.Equal(t, want, got)
}

func (m *model) one(t *rapid.T) {
	now := m.now.clone()
	m.append(t, m.run.Events(), now, m.latest+1)
	m.committed(now)
}

// transaction makes calls in a transaction, and maybe others outside of it.
func (m *model) transaction(t *rapid.T) {
	tx := m.begin()
	defer tx.Rollback()
	inside, before := m.now.clone(), m.latest
	for range rapid.IntRange(1, 4).Draw(t, "calls") {
		if rapid.IntRange(0, 4).Draw(t, "outside") == 0 {
			m.one(t)
		}
		m.append(t, tx.Events(), inside, op.Uncommitted)
		m.agree(t, tx.Events(), inside) // it has read every stream
	}
	if rapid.IntRange(0, 3).Draw(t, "roll back") == 0 {
		return
	}
	wrote := false
	for _, list := range inside {
		for i := range list {
			if list[i].Version == op.Uncommitted {
				list[i].Version, wrote = m.latest+1, true
			}
		}
	}
	_, err := tx.Commit(ctx)
	if wrote && m.latest != before {
		require.ErrorIs(t, err, inmem.ErrConflict)
		return
	}
	require.NoError(t, err)
	if wrote {
		m.committed(inside)
	}
}

// agree holds all that a store shows against a model.
func (m *model) agree(t *rapid.T, s event.Store, want streams) {
	var names []string
	for _, stream := range modelStreams {
		list := want[stream]
		if len(list) > 0 {
			names = append(names, stream)
		}
		n, err := s.Len(ctx, stream)
		require.NoError(t, err)
		require.Equal(t, uint64(len(list)), n)
		require.Equal(t, append([]event.Event{}, list...), collect(t, s.Read(ctx, stream)))
		require.NoError(t, s.Verify(ctx, stream))
		last, err := s.Last(ctx, stream)
		if len(list) == 0 {
			require.ErrorIs(t, err, inmem.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, list[len(list)-1], last)
		got, err := s.Get(ctx, stream, n/2+1)
		require.NoError(t, err)
		require.Equal(t, list[n/2], got)
	}
	require.Equal(t, append([]string{}, names...), collect(t, s.Streams(ctx)))
}

// read compares a reading with options with looking at all events one by one.
func (m *model) read(t *rapid.T) {
	s, want := m.run.Events(), m.now
	if len(m.past) > 0 && rapid.Bool().Draw(t, "past") {
		version := rapid.SampledFrom(slices.Sorted(maps.Keys(m.past))).Draw(t, "version")
		s, want = m.world.past(version), m.past[version]
	}
	stream := rapid.SampledFrom(modelStreams).Draw(t, "stream")
	list := slices.Clone(want[stream])
	var opts []event.ReadOption
	keep := func(f func(e event.Event) bool) {
		list = slices.DeleteFunc(list, func(e event.Event) bool { return !f(e) })
	}
	chance := func(what string) bool { return rapid.IntRange(0, 2).Draw(t, what) == 0 }
	seq := func(what string) uint64 { return uint64(rapid.IntRange(0, len(want[stream])+1).Draw(t, what)) }
	moment := func(what string) time.Time {
		return time.UnixMicro(1000*epoch + int64(rapid.IntRange(-500, int(1000*(m.ms.Load()-epoch)+1500)).Draw(t, what)))
	}
	if chance("after") {
		n := seq("n")
		opts = append(opts, event.After(n))
		keep(func(e event.Event) bool { return e.Sequence > n })
	}
	if chance("before") {
		n := seq("n")
		opts = append(opts, event.Before(n))
		keep(func(e event.Event) bool { return e.Sequence < n })
	}
	if chance("since") {
		at := moment("at")
		opts = append(opts, event.Since(at))
		keep(func(e event.Event) bool { return !e.Time.Before(at) })
	}
	if chance("until") {
		at := moment("at")
		opts = append(opts, event.Until(at))
		keep(func(e event.Event) bool { return e.Time.Before(at) })
	}
	if chance("types") {
		opts = append(opts, event.Types("y", "z"))
		keep(func(e event.Event) bool { return e.Type == "y" })
	}
	if chance("reverse") {
		opts = append(opts, event.Reverse())
		slices.Reverse(list)
	}
	if chance("limit") {
		n := rapid.IntRange(0, 5).Draw(t, "n")
		opts = append(opts, event.Limit(n))
		if n > 0 {
			list = list[:min(n, len(list))]
		}
	}
	require.Equal(t, append([]event.Event{}, list...), collect(t, s.Read(ctx, stream, opts...)))
}

// TestModel holds a store against a model: calls of all kinds, over the run, in
// transactions and of the past, with ends of all kinds in between.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{now: streams{}, past: map[uint64]streams{}}
		m.world = makeWorld(t, func(o *inmem.Options) { o.Durability, o.SegmentSize = inmem.Strict, 4<<10 })
		defer func() { require.NoError(t, m.db.Close()) }()
		m.latest = m.version()
		t.Repeat(map[string]func(*rapid.T){
			"append":      m.one,
			"transaction": m.transaction,
			"read":        m.read,
			"time":        func(*rapid.T) { m.ms.Add(3) },
			"reopen":      func(*rapid.T) { m.reopen() },
			"kill":        func(*rapid.T) { m.kill() },
			"power cut":   func(*rapid.T) { m.powerCut() },
			"":            func(t *rapid.T) { m.agree(t, m.run.Events(), m.now) },
		})
	})
}
