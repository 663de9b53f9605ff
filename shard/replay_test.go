package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
	"inmem/run"
	"inmem/ttl"
)

// twins is a state that decides and applies, and one that replays what the
// first logged. They must be equal after every commit, by digest.
type twins struct {
	live, replayed *State
	seq            uint64
	now            int64
	due            []ttl.Change
}

func (w *twins) ids() []run.ID {
	var ids []run.ID
	for i := range 4 {
		ids = append(ids, run.ID{byte(i + 1)})
	}
	return ids
}

// log takes a decided commit through its encoding into both states.
func (w *twins) log(t *rapid.T, c *op.Commit, err error) bool {
	if err != nil || c == nil {
		return false
	}
	b := op.AppendCommit(nil, c)
	require.LessOrEqual(t, len(b), c.Size())
	w.seq++
	require.NoError(t, w.live.Apply(c, w.seq))
	read, err := op.DecodeCommit(b)
	require.NoError(t, err)
	require.NoError(t, w.replayed.Replay(&read, w.seq))
	w.due = append(w.due, w.live.timers...)
	w.live.timers = w.live.timers[:0]
	return true
}

func (w *twins) writes(t *rapid.T) []op.Write {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op.Write {
		wr := kvPut(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key"), rapid.StringN(0, 4, 8).Draw(t, "value"))
		if rapid.Bool().Draw(t, "delete") {
			wr = kvDelete(wr.Key)
		} else {
			wr.TTL = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 50}).Draw(t, "ttl")) * time.Millisecond
		}
		if rapid.IntRange(0, 4).Draw(t, "conditional") == 0 {
			wr.Expect = op.AtVersion(rapid.Uint64Range(0, 3).Draw(t, "version"))
		}
		return wr
	}), 0, 5).Draw(t, "writes")
}

func (w *twins) equal(t *rapid.T) {
	require.Equal(t, len(w.live.runs), len(w.replayed.runs))
	runs, keys := w.live.Len()
	_, replayedKeys := w.replayed.Len()
	require.Equal(t, keys, replayedKeys)
	sum, deadlines := 0, 0
	for id, r := range w.live.runs {
		a, _ := w.live.Digest(id)
		b, ok := w.replayed.Digest(id)
		require.True(t, ok)
		require.Equal(t, a, b, "run %v", id)
		twin := w.replayed.runs[id]
		require.Equal(t, r.info, twin.info)
		require.Equal(t, []uint64{r.version, r.firstSeq, r.lastSeq, uint64(r.deadlines)},
			[]uint64{twin.version, twin.firstSeq, twin.lastSeq, uint64(twin.deadlines)})
		require.Equal(t, r.time, twin.time)
		sum += r.keys.Len()
		deadlines = 0
		for _, it := range r.snapshot().All() {
			if it.Deadline != 0 {
				deadlines++
			}
		}
		require.Equal(t, deadlines, r.deadlines, "the count of deadlines")
	}
	require.Equal(t, sum, keys, "the count of keys of %d runs", runs)
	require.Equal(t, len(w.live.deleted), len(w.replayed.deleted))
	for _, st := range []*State{w.live, w.replayed} {
		require.Equal(t, infos(st), catalogued(st.listed), "what is listed of the runs")
	}
}

// infos returns the metadata of a state's runs.
func infos(st *State) map[run.ID]*run.Info {
	all := map[run.ID]*run.Info{}
	for id, r := range st.runs {
		all[id] = r.info
	}
	return all
}

// catalogued returns what a catalog makes of changes.
func catalogued(changes []listed) map[run.ID]*run.Info {
	c := &catalog{}
	c.active.Store(true)
	c.note(changes)
	all := map[run.ID]*run.Info{}
	c.snapshot(nil).Scan(&run.Filter{Spaces: true}, func(info *run.Info) bool {
		all[info.ID] = info
		return true
	})
	return all
}

func TestReplayEqualsWhatHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &twins{live: NewState(), replayed: NewState(), now: 100}
		anyRun := rapid.SampledFrom(w.ids())
		t.Repeat(map[string]func(*rapid.T){
			"": w.equal,
			"begin": func(t *rapid.T) {
				id := anyRun.Draw(t, "run")
				c, err := w.live.Begin(&run.Info{Meta: run.Meta{ID: id, Name: fmt.Sprint(w.seq)}, Space: id[0] == 1}, w.now)
				w.log(t, c, err)
			},
			"commit": func(t *rapid.T) {
				c, res, err := w.live.Commit(anyRun.Draw(t, "run"), &op.Request{Writes: w.writes(t)}, w.now)
				if c != nil {
					require.Equal(t, c.Version, res.Version)
				}
				w.log(t, c, err)
			},
			"status": func(t *rapid.T) {
				to := run.Status(rapid.Uint8Range(1, 6).Draw(t, "status"))
				c, err := w.live.SetStatus(anyRun.Draw(t, "run"), to, op.Expect{}, w.now)
				w.log(t, c, err)
			},
			"drop": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "really") != 0 {
					t.Skip()
				}
				c, err := w.live.Drop(anyRun.Draw(t, "run"), w.now)
				w.log(t, c, err)
			},
			"time":   func(t *rapid.T) { w.now += rapid.Int64Range(0, 30).Draw(t, "ms") },
			"expire": func(t *rapid.T) { w.expire(t) },
		})
	})
}

// expire sends whatever deadline was ever set, as a late message may.
func (w *twins) expire(t *rapid.T) {
	if len(w.due) == 0 {
		t.Skip()
	}
	d := rapid.SampledFrom(w.due).Draw(t, "due")
	c := w.live.Expire(d.Run, []ttl.Due{{Key: d.Key, Version: d.Version}}, w.now)
	if c != nil { // only ever what nobody can see any more
		it, ok := w.live.runs[d.Run].keys.Get(d.Key)
		require.True(t, ok && it.Version == d.Version && it.Deadline != 0 && it.Deadline <= w.now)
	}
	w.log(t, c, nil)
}
