package run

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(ms int64) time.Time { return time.UnixMilli(ms) }

func TestFilterMatch(t *testing.T) {
	i := &Info{
		Meta: Meta{
			ID: ID{1}, Name: "n", Namespace: Namespace{"t", "a", "g"}, Parent: ID{2},
			Tags: map[string]string{"k": "v", "empty": ""},
		},
		Status: Paused, Created: 1000,
	}
	for name, f := range map[string]*Filter{
		"nil":         nil,
		"zero":        {},
		"status":      {Status: []Status{Active, Paused}},
		"tenant":      {Namespace: Namespace{Tenant: "t"}},
		"agent":       {Namespace: Namespace{Agent: "g"}},
		"namespace":   {Namespace: Namespace{"t", "a", "g"}},
		"parent":      {Parent: ID{2}},
		"tags":        {Tags: map[string]string{"k": "v", "empty": ""}},
		"name":        {Name: "n"},
		"from":        {From: at(1000)},
		"from within": {From: at(999).Add(time.Nanosecond)},
		"to":          {To: at(1001)},
		"to within":   {To: at(1000).Add(time.Nanosecond)},
		"limit":       {Limit: 1, Reverse: true, Spaces: true},
	} {
		assert.True(t, f.Match(i), name)
	}
	for name, f := range map[string]*Filter{
		"status":      {Status: []Status{Active}},
		"tenant":      {Namespace: Namespace{Tenant: "x"}},
		"app":         {Namespace: Namespace{App: "x"}},
		"agent":       {Namespace: Namespace{Agent: "x"}},
		"parent":      {Parent: ID{1}},
		"tag value":   {Tags: map[string]string{"k": "x"}},
		"tag absent":  {Tags: map[string]string{"k": "v", "none": ""}},
		"name":        {Name: "x"},
		"from":        {From: at(1001)},
		"from within": {From: at(1000).Add(time.Nanosecond)},
		"to":          {To: at(1000)},
		"nothing":     {From: at(2000), To: at(500)},
	} {
		assert.False(t, f.Match(i), name)
	}

	space := &Info{Space: true}
	assert.False(t, (*Filter)(nil).Match(space))
	assert.False(t, (&Filter{}).Match(space))
	assert.True(t, (&Filter{Spaces: true}).Match(space))
}

func TestBefore(t *testing.T) {
	info := func(created int64, id byte) *Info { return &Info{Meta: Meta{ID: ID{id}}, Created: created} }
	assert.True(t, Before(info(1, 9), info(2, 1)))
	assert.True(t, Before(info(1, 1), info(1, 2)))
	assert.False(t, Before(info(1, 1), info(1, 1)))
	assert.False(t, Before(info(1, 2), info(1, 1)))
	assert.False(t, Before(info(2, 1), info(1, 2)))
}

func scan(x *Index, f *Filter) (all []*Info) {
	x.Scan(f, func(i *Info) bool { all = append(all, i); return true })
	return all
}

func TestEmptyIndex(t *testing.T) {
	var x Index
	x.Remove(&Info{})
	assert.Zero(t, x.Len())
	assert.Empty(t, scan(&x, nil))
	assert.Empty(t, scan(&x, &Filter{Reverse: true}))
	s := x.Snapshot()
	x.Put(&Info{Meta: Meta{ID: ID{1}}})
	assert.Equal(t, 1, x.Len())
	assert.Zero(t, s.Len())
}

func TestIndexAtTheEndsOfTime(t *testing.T) {
	var x Index
	var want []*Info
	for _, created := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		for _, id := range []ID{{}, {1}, maxID} {
			i := &Info{Meta: Meta{ID: id}, Created: created}
			want = append(want, i)
			x.Put(i)
		}
	}
	assert.Equal(t, want, scan(&x, nil))
	assert.Equal(t, want[6:9], scan(&x, &Filter{From: at(0), To: at(1)}))
	assert.Equal(t, want[3:6], scan(&x, &Filter{From: at(-1), To: at(0)}))
	slices.Reverse(want)
	assert.Equal(t, want, scan(&x, &Filter{Reverse: true}))
	assert.Equal(t, want[6:9], scan(&x, &Filter{From: at(0), To: at(1), Reverse: true}))
}

func TestScanStops(t *testing.T) {
	var x Index
	for n := range 100 {
		x.Put(&Info{Meta: Meta{ID: ID{byte(n)}}, Created: int64(n)})
	}
	for _, f := range []*Filter{nil, {Reverse: true}, {Limit: 1}} {
		calls := 0
		x.Scan(f, func(*Info) bool { calls++; return calls < 3 })
		assert.Equal(t, 3, calls)
	}
}

// model is what an Index is meant to be, done in the plainest way.
type model map[ID]*Info

func (m model) scan(f *Filter) (all []*Info) {
	for _, i := range m {
		if f.Match(i) {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *Info) int {
		if Before(a, b) != f.Reverse {
			return -1
		}
		return 1
	})
	return all
}

func (m model) clone() model {
	c := make(model, len(m))
	for id, i := range m {
		c[id] = i
	}
	return c
}

func genFilter() *rapid.Generator[*Filter] {
	return rapid.Custom(func(t *rapid.T) *Filter {
		f := &Filter{
			Spaces:  rapid.Bool().Draw(t, "spaces"),
			Reverse: rapid.Bool().Draw(t, "reverse"),
			Limit:   rapid.IntRange(0, 2).Draw(t, "limit"),
			Status:  rapid.SliceOfN(rapid.SampledFrom([]Status{Active, Failed, Archived}), 0, 2).Draw(t, "status"),
		}
		when := rapid.Map(rapid.Int64Range(-2000, 22_000), func(us int64) time.Time { return time.UnixMicro(us) })
		if rapid.Bool().Draw(t, "has from") {
			f.From = when.Draw(t, "from")
		}
		if rapid.Bool().Draw(t, "has to") {
			f.To = when.Draw(t, "to")
		}
		if rapid.Bool().Draw(t, "has namespace") {
			f.Namespace.App = genText().Draw(t, "app")
		}
		return f
	})
}

// The bounds in milliseconds say the same as the times they come from.
func TestFilterSpanIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFilter().Draw(t, "filter")
		i := genInfo().Draw(t, "info")
		f.Status, f.Namespace, f.Spaces = nil, Namespace{}, true
		created := i.CreatedAt()
		want := (f.From.IsZero() || !created.Before(f.From)) && (f.To.IsZero() || created.Before(f.To))
		require.Equal(t, want, f.Match(i))
	})
}

// An index and each of its snapshots behave as the model and its copies,
// whatever the owner does afterwards.
func TestIndexBehavesAsTheModel(t *testing.T) {
	type pair struct {
		x *Index
		m model
	}
	infos := rapid.SliceOfN(genInfo(), 1, 150)
	rapid.Check(t, func(t *rapid.T) {
		owner := pair{new(Index), model{}}
		var snapshots []pair
		for n, i := range infos.Draw(t, "infos") {
			old, exists := owner.m[i.ID]
			switch {
			case exists && n%3 == 0:
				owner.x.Remove(old)
				delete(owner.m, i.ID)
			case exists:
				i.Created = old.Created
				fallthrough
			default:
				owner.x.Put(i)
				owner.m[i.ID] = i
			}
			if n%10 == 0 {
				snapshots = append(snapshots, pair{owner.x.Snapshot(), owner.m.clone()})
			}
		}
		f := genFilter().Draw(t, "filter")
		for _, p := range append(snapshots, owner) {
			require.Equal(t, len(p.m), p.x.Len())
			require.Equal(t, p.m.scan(f), scan(p.x, f))
		}
	})
}

// Readers of a snapshot and its owner do not meet; the race detector watches.
func TestSnapshotsAreReadWhileTheOwnerGoesOn(t *testing.T) {
	const runs = 500
	var x Index
	put := func(n int, s Status) {
		x.Put(&Info{Meta: Meta{ID: ID{byte(n), byte(n >> 8), 1}}, Status: s, Created: int64(n)})
	}
	for n := range runs {
		put(n, Active)
	}
	var readers sync.WaitGroup
	for range 4 {
		s := x.Snapshot()
		for range 2 {
			readers.Go(func() {
				for range 20 {
					assert.Len(t, scan(s, &Filter{Status: []Status{Active}}), runs)
				}
			})
		}
	}
	for n := range runs {
		if n%2 == 0 {
			put(n, Paused)
		} else {
			x.Remove(&Info{Meta: Meta{ID: ID{byte(n), byte(n >> 8), 1}}, Created: int64(n)})
		}
	}
	readers.Wait()
	assert.Equal(t, runs/2, x.Len())
}

// TestIndexLoad: many at once are as many one by one, into an empty index or not.
func TestIndexLoad(t *testing.T) {
	var list []*Info
	for n := range 500 {
		i := &Info{Meta: Meta{ID: ID{0: byte(n >> 8), 1: byte(n), 15: 1}, Namespace: Namespace{Tenant: "t"}}, Created: int64(n * 7919 % 100)}
		i.Status = []Status{Active, Paused, Completed}[n%3]
		i.Tags = map[string]string{"k": string(rune('a' + n%5)), "all": ""}
		list = append(list, i)
	}
	var one, all, some Index
	for n, i := range list {
		one.Put(i)
		if n < 100 {
			some.Put(i)
		}
	}
	all.Load(slices.Clone(list))
	some.Load(list[100:])
	for _, x := range []*Index{&all, &some} {
		x.Put(list[7].Clone()) // goes on as any other
		x.Remove(list[8])
	}
	one.Remove(list[8])
	for _, f := range []*Filter{{}, {Reverse: true}, {Status: []Status{Active, Completed}}, {Tags: map[string]string{"k": "c", "all": ""}}} {
		found := func(x *Index) (ids []ID) {
			x.Scan(f, func(i *Info) bool { ids = append(ids, i.ID); return true })
			return ids
		}
		require.NotEmpty(t, found(&one))
		require.Equal(t, found(&one), found(&all))
		require.Equal(t, found(&one), found(&some))
	}
	require.Equal(t, one.Len(), all.Len())
	var empty Index
	empty.Load(nil)
	require.Zero(t, empty.Len())
}
