package checkpoint

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
	"inmem/run"
)

func drawEntry(t *rapid.T, id run.ID) *Entry {
	number := rapid.Uint64Range(1, 1<<40)
	e := &Entry{
		Run: id, Version: number.Draw(t, "version"), Time: 7, FirstSeq: 1, LastSeq: number.Draw(t, "last"),
		Digest: op.Digest{byte(number.Draw(t, "digest"))}, Info: rapid.SliceOfN(rapid.Byte(), 1, 1000).Draw(t, "info"),
		Location: Location{File: number.Draw(t, "file"), Offset: fileHeader, Length: 100},
	}
	if e.bare = rapid.IntRange(0, 9).Draw(t, "bare") == 0; e.bare {
		return e
	}
	e.Keys, e.Counts[op.KV], e.Counts[op.Vector] = 5, 2, 3
	if rapid.Bool().Draw(t, "deadlines") {
		e.Deadlines, e.Earliest = 2, 99
	}
	for range rapid.IntRange(0, 2).Draw(t, "files") {
		e.Values = append(e.Values, Holding{File: uint64(len(e.Values)) + 1, Bytes: int64(number.Draw(t, "bytes"))})
	}
	return e
}

// A table has what was put into it, whatever it came from, and does not change
// when others are made of it.
func TestTableAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[run.ID]*Entry{}
		ids := rapid.Custom(func(t *rapid.T) run.ID { return run.ID{1, byte(rapid.IntRange(0, 60).Draw(t, "run"))} })
		ordered := func() (list []*Entry) {
			for _, id := range slices.SortedFunc(maps.Keys(model), run.ID.Compare) {
				list = append(list, model[id])
			}
			return list
		}
		var table *Table
		is := func(table *Table, want []*Entry) {
			var have []*Entry
			for e := range table.All {
				e := *e
				have = append(have, &e)
			}
			require.Equal(t, want, have)
			require.Equal(t, len(want), table.Len())
		}
		before, had := table, ordered()
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				before, had = table, ordered()
				changed := map[run.ID]*Entry{}
				for _, id := range rapid.SliceOfNDistinct(ids, 0, 30, rapid.ID).Draw(t, "changed") {
					changed[id] = drawEntry(t, id)
				}
				gone := rapid.SliceOfNDistinct(ids, 0, 10, rapid.ID).Draw(t, "gone")
				slices.SortFunc(gone, run.ID.Compare)
				var list []*Entry
				for _, id := range slices.SortedFunc(maps.Keys(changed), run.ID.Compare) {
					list = append(list, changed[id])
				}
				table = table.With(list, gone)
				maps.Copy(model, changed)
				for _, id := range gone {
					delete(model, id)
				}
				require.LessOrEqual(t, table.dead, table.live)
			},
			"copy": func(t *rapid.T) {
				x := &Index{Sequence: 3, Time: 4, Deleted: []run.ID{{9}}}
				for _, e := range ordered() {
					x.Entries = append(x.Entries, *e)
				}
				table = x.Table()
				require.Equal(t, []any{x.Sequence, x.Time, x.Deleted}, []any{table.Sequence, table.Time, table.Deleted})
			},
			"": func(t *rapid.T) {
				is(table, ordered())
				is(before, had)
				id := ids.Draw(t, "wanted")
				e, found := table.Find(id)
				require.Equal(t, model[id] != nil, found)
				require.Equal(t, found, table.Has(id))
				if found {
					require.Equal(t, *model[id], e)
				}
			},
		})
	})
}

// A table that is read from a file is the one that the index would make.
func TestTableOfAFile(t *testing.T) {
	m := newDisk(t)
	require.NoError(t, write(m, 1, larger(), id(9)))
	files := OpenFiles(m, dir, store, shard)
	defer func() { require.NoError(t, files.Close()) }()
	x, err := files.Index(1)
	require.NoError(t, err)
	table, err := files.Table(1)
	require.NoError(t, err)
	require.Equal(t, x.Table(), table)
	_, err = files.Table(2)
	require.ErrorIs(t, err, op.ErrCorrupt)
}
