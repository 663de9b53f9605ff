package shard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/ttl"
)

var someID = run.ID{1, 2, 3}

// decided applies what the state decided, as the shard does.
func decided(t testing.TB, s *State, c *op.Commit, err error) *op.Commit {
	t.Helper()
	require.NoError(t, err)
	if c == nil {
		return nil
	}
	require.NoError(t, s.Apply(c, uint64(len(s.dirty)+1)))
	return c
}

func stateWithRun(t testing.TB) *State {
	s := NewState()
	c, err := s.Begin(&run.Info{Meta: run.Meta{ID: someID, Name: "n"}}, 10)
	decided(t, s, c, err)
	return s
}

func commit(t testing.TB, s *State, now int64, writes ...op.Write) op.Result {
	t.Helper()
	c, res, err := s.Commit(someID, &op.Request{Writes: writes}, now)
	decided(t, s, c, err)
	return res
}

func kvPut(key, value string) op.Write {
	return op.Write{Kind: op.Put, Tag: op.KV, Key: key, Value: []byte(value)}
}

func kvDelete(key string) op.Write { return op.Write{Kind: op.Delete, Tag: op.KV, Key: key} }

func with(w op.Write, ttl time.Duration) op.Write { w.TTL = ttl; return w }
func at(w op.Write, version uint64) op.Write      { w.Expect = op.AtVersion(version); return w }

func TestStateBegin(t *testing.T) {
	s := stateWithRun(t)
	_, err := s.Begin(&run.Info{Meta: run.Meta{ID: someID}}, 11)
	assert.ErrorIs(t, err, run.ErrExists)
	_, err = s.Begin(&run.Info{Meta: run.Meta{ID: someID}, Space: true}, 11)
	assert.ErrorIs(t, err, run.ErrExists, "a run is not taken for a space")

	space := &run.Info{Meta: run.Meta{ID: run.ID{7}}, Space: true}
	c, err := s.Begin(space, 12)
	require.NotNil(t, decided(t, s, c, err))
	c, err = s.Begin(space.Clone(), 13)
	assert.Nil(t, decided(t, s, c, err), "a space exists already: nothing to do")
	_, err = s.Begin(&run.Info{Meta: run.Meta{ID: run.ID{7}}}, 13)
	assert.ErrorIs(t, err, run.ErrExists)

	c, err = s.Drop(someID, 14)
	decided(t, s, c, err)
	_, err = s.Begin(&run.Info{Meta: run.Meta{ID: someID}}, 15)
	assert.ErrorIs(t, err, run.ErrDeleted)
	runs, keys := s.Len()
	assert.Equal(t, [2]int{1, 1}, [2]int{runs, keys}, "the space and its metadata")
}

func TestStateStatus(t *testing.T) {
	s := stateWithRun(t)
	c, err := s.SetStatus(someID, run.Completed, op.Expect{}, 20)
	decided(t, s, c, err)
	assert.Equal(t, int64(20), s.runs[someID].info.Ended)
	c, err = s.SetStatus(someID, run.Archived, op.Expect{}, 30)
	decided(t, s, c, err)
	assert.Equal(t, int64(20), s.runs[someID].info.Ended, "it ended when it ended, not when it was put away")

	_, err = s.SetStatus(someID, run.Active, op.Expect{}, 40)
	var refused *run.TransitionError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, run.TransitionError{ID: someID, From: run.Archived, To: run.Active}, *refused)
	_, err = s.SetStatus(run.ID{5}, run.Paused, op.Expect{}, 40)
	assert.ErrorIs(t, err, run.ErrNotFound)
	_, err = s.Drop(run.ID{5}, 40)
	assert.ErrorIs(t, err, run.ErrNotFound)
	_, _, err = s.Commit(run.ID{5}, &op.Request{}, 40)
	assert.ErrorIs(t, err, run.ErrNotFound)
	_, _, err = s.Commit(someID, &op.Request{}, 40)
	assert.ErrorIs(t, err, run.ErrEnded)
	assert.Empty(t, s.Active())
}

func TestStateCommit(t *testing.T) {
	s := stateWithRun(t)
	assert.Equal(t, uint64(2), commit(t, s, 20, kvPut("a", "1"), kvPut("b", "2"), kvPut("a", "3")).Version)
	it, _ := s.runs[someID].keys.Get(op.MapKey(op.KV, "a"))
	assert.Equal(t, "3", string(it.Value), "later operations win")

	res := commit(t, s, 21, kvDelete("a"))
	assert.True(t, res.Existed)
	assert.Equal(t, "3", string(res.Previous.Value))
	assert.Equal(t, uint64(2), res.Previous.Version)
	res = commit(t, s, 22, kvDelete("a"), kvDelete("zz"))
	assert.Equal(t, op.Result{Version: 3}, res, "nothing to delete, no commit")
	assert.Equal(t, op.Result{Version: 3}, commit(t, s, 22))

	commit(t, s, 23, kvDelete("c"), kvPut("c", "x"))
	_, ok := s.runs[someID].keys.Get(op.MapKey(op.KV, "c"))
	assert.True(t, ok, "delete, then put: the key is there")
	commit(t, s, 24, kvPut("d", "x"), kvDelete("d"))
	_, ok = s.runs[someID].keys.Get(op.MapKey(op.KV, "d"))
	assert.False(t, ok, "put, then delete: the key is gone")
	_, keys := s.Len()
	assert.Equal(t, 3, keys, "metadata, b and c")
	assert.Len(t, s.dirty, 1, "once, however often it changed")
	assert.Len(t, s.changed, 1)
}

func TestStateExpectations(t *testing.T) {
	s := stateWithRun(t)
	commit(t, s, 20, kvPut("a", "1"))
	refused := func(want op.VersionError, writes ...op.Write) {
		t.Helper()
		_, _, err := s.Commit(someID, &op.Request{Writes: writes}, 20)
		var e *op.VersionError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, want, *e)
	}
	refused(op.VersionError{Key: "a", Expected: 0, Actual: 2}, at(kvPut("a", "x"), 0))
	refused(op.VersionError{Key: "a", Expected: 9, Actual: 2}, kvPut("b", "x"), at(kvPut("a", "x"), 9))
	refused(op.VersionError{Key: "b", Expected: 1}, at(kvPut("b", "x"), 1))
	// All conditions are about the state before the request.
	refused(op.VersionError{Key: "a", Expected: 3, Actual: 2}, kvPut("a", "x"), at(kvPut("a", "y"), 3))
	assert.Equal(t, uint64(3), commit(t, s, 20, kvPut("b", "x"), at(kvPut("b", "y"), 0)).Version)
	assert.Equal(t, uint64(4), commit(t, s, 20, at(kvPut("a", "x"), 2), at(kvDelete("b"), 3)).Version)
}

func TestStateDeadlines(t *testing.T) {
	s := stateWithRun(t)
	commit(t, s, 100, with(kvPut("a", "1"), 50*time.Millisecond))
	key := op.MapKey(op.KV, "a")
	assert.Equal(t, []ttl.Change{{Run: someID, Key: key, Version: 2, Deadline: 150}}, s.timers)
	assert.Equal(t, 1, s.runs[someID].deadlines)

	assert.True(t, commit(t, s, 149, at(kvPut("x", ""), 0)).Version > 0)
	_, _, err := s.Commit(someID, &op.Request{Writes: []op.Write{at(kvPut("a", "2"), 0)}}, 149)
	assert.ErrorIs(t, err, op.ErrWrongVersion, "a millisecond before the deadline it is there")
	res := commit(t, s, 150, kvDelete("a"))
	assert.Equal(t, op.Result{Version: 3}, res, "at the deadline it counts as absent")

	assert.Nil(t, s.Expire(someID, []ttl.Due{{Key: key, Version: 2}}, 149), "not due")
	assert.Nil(t, s.Expire(someID, []ttl.Due{{Key: key, Version: 1}}, 150), "another version")
	assert.Nil(t, s.Expire(run.ID{9}, []ttl.Due{{Key: key, Version: 2}}, 150), "no such run")
	s.timers = nil
	c := decided(t, s, s.Expire(someID, []ttl.Due{{Key: key, Version: 2}, {Key: "\x01no", Version: 1}}, 150), nil)
	assert.Equal(t, []op.Op{{Kind: op.Expire, Tag: op.KV, Key: "a"}}, c.Ops)
	assert.Equal(t, []ttl.Change{{Run: someID, Key: key, Version: 4}}, s.timers, "the deadline is taken back")
	assert.Zero(t, s.runs[someID].deadlines)

	// An expired key counts as absent for a put, which takes the deadline away.
	commit(t, s, 200, with(kvPut("b", "1"), time.Millisecond))
	commit(t, s, 300, at(kvPut("b", "2"), 0))
	assert.Nil(t, s.Expire(someID, []ttl.Due{{Key: op.MapKey(op.KV, "b"), Version: 5}}, 300))
	assert.Zero(t, s.runs[someID].deadlines)
}

// A log that does not follow from itself is damage, each way of it.
func TestReplayRefusesWhatDoesNotFit(t *testing.T) {
	dead := run.ID{8}
	record := (&run.Info{Meta: run.Meta{ID: run.ID{4}}, Status: run.Active}).AppendRecord(nil)
	meta := []op.Op{{Kind: op.Put, Tag: op.RunMetadata, Value: record}}
	bad := func(value string) []op.Op {
		return []op.Op{{Kind: op.Put, Tag: op.RunMetadata, Value: []byte(value)}}
	}
	for name, c := range map[string]struct {
		commit op.Commit
		want   string
	}{
		"deleted":     {op.Commit{Run: dead, Version: 1, Ops: meta}, "which was deleted before"},
		"late begin":  {op.Commit{Run: run.ID{4}, Version: 2, Ops: meta}, "begins with version 2"},
		"no metadata": {op.Commit{Run: run.ID{4}, Version: 1, Ops: []op.Op{{Kind: op.Put, Tag: op.KV, Key: "k"}}}, "without metadata"},
		"drop first":  {op.Commit{Run: run.ID{4}, Version: 1, Ops: []op.Op{{Kind: op.Drop}}}, "without metadata"},
		"gap":         {op.Commit{Run: someID, Version: 3, Ops: meta}, "from version 1 to 3"},
		"again":       {op.Commit{Run: someID, Version: 1, Ops: meta}, "from version 1 to 1"},
		"new format":  {op.Commit{Run: run.ID{4}, Version: 1, Ops: bad("?")}, "format 63"},
		"cut short":   {op.Commit{Run: someID, Version: 2, Ops: bad("\x01")}, "record"},
	} {
		s := stateWithRun(t)
		s.Forget([]run.ID{dead})
		assert.ErrorContains(t, s.Replay(&c.commit, 9), c.want, name)
	}
	s := stateWithRun(t)
	_, err := s.Load(&checkpoint.Entry{Run: someID, Info: []byte("?")})
	assert.Error(t, err)
	_, ok := s.Digest(run.ID{44})
	assert.False(t, ok)
}

// Whatever a commit gave out stays as it was: callers and readers hold it.
func TestPreviousValueNeverChanges(t *testing.T) {
	s := stateWithRun(t)
	commit(t, s, 20, kvPut("a", "first"))
	res := commit(t, s, 21, kvDelete("a"))
	for i := range 1000 {
		commit(t, s, 22, kvPut("a", string(rune('A'+i%26))))
	}
	assert.Equal(t, "first", string(res.Previous.Value))
}
