package shard

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"inmem/wal"
)

// segmentsOf makes a plan of segments with so many bytes, and so many that are kept.
func segmentsOf(size, kept []int64, compacted ...int) *plan {
	p := &plan{kept: kept, must: make([]bool, len(size))}
	for i := range size {
		p.segments = append(p.segments, &wal.Contents{Bytes: size[i], Sealed: wal.Sealed{Size: size[i]}})
	}
	for _, i := range compacted {
		p.segments[i].Compacted = true
	}
	return p
}

func TestGroups(t *testing.T) {
	for name, c := range map[string]struct {
		size, kept []int64
		compacted  []int
		must       []int
		zstd, full bool
		want       []group
		trim       int
	}{
		"all is kept":                    {size: []int64{100, 100}, kept: []int64{100, 100}},
		"half is kept":                   {size: []int64{100, 100}, kept: []int64{50, 50}},
		"less than half":                 {size: []int64{100, 100, 100}, kept: []int64{100, 49, 100}, want: []group{{1, 1}}},
		"for the sake of a base":         {size: []int64{100, 100}, kept: []int64{100, 90}, must: []int{1}, want: []group{{1, 1}}},
		"the newest first":               {size: []int64{100, 100, 100}, kept: []int64{40, 100, 40}, want: []group{{2, 2}, {0, 0}}},
		"what is left fits into one":     {size: []int64{100, 100, 100}, kept: []int64{30, 30, 30}, want: []group{{0, 2}}},
		"or into two":                    {size: []int64{100, 100, 100, 100}, kept: []int64{40, 40, 40, 40}, want: []group{{2, 3}, {0, 1}}},
		"small ones beside it":           {size: []int64{5, 100, 5, 100}, kept: []int64{5, 40, 5, 100}, want: []group{{0, 2}}},
		"small ones by themselves":       {size: []int64{5, 5, 100}, kept: []int64{5, 5, 100}},
		"many small ones":                {size: []int64{5, 5, 5, 5, 5, 5, 5, 5}, kept: []int64{5, 5, 5, 5, 5, 5, 5, 5}, want: []group{{0, 7}}},
		"trimmed":                        {size: []int64{100, 100, 100}, kept: []int64{0, 0, 100}, trim: 2},
		"in the middle":                  {size: []int64{100, 100, 100}, kept: []int64{100, 0, 100}, want: []group{{1, 1}}},
		"all of it":                      {size: []int64{100, 100}, kept: []int64{0, 0}, trim: 2},
		"full: anything":                 {size: []int64{100, 100}, kept: []int64{99, 100}, full: true, want: []group{{0, 0}}},
		"zstd: what is not yet":          {size: []int64{100, 100, 100}, kept: []int64{100, 100, 100}, compacted: []int{0}, zstd: true, want: []group{{2, 2}, {1, 1}}},
		"an empty one that is compacted": {size: []int64{100, 0, 100}, kept: []int64{100, 0, 100}, compacted: []int{1}},
	} {
		p := segmentsOf(c.size, c.kept, c.compacted...)
		for _, i := range c.must {
			p.must[i] = true
		}
		list, trim := p.groups(&SweepOptions{SegmentSize: 100, Zstd: c.zstd, Full: c.full})
		assert.Equal(t, c.want, list, name)
		assert.Equal(t, c.trim, trim, name)
	}
}

func TestFate(t *testing.T) {
	var none *cut
	assert.Equal(t, stays, none.of(1, wal.Record))
	assert.Equal(t, goes, (&cut{all: true}).of(9, wal.Record))
	based := &cut{base: 5}
	assert.Equal(t, goes, based.of(4, wal.Record))
	assert.Equal(t, stays, based.of(5, wal.Base))
	assert.Equal(t, stays, based.of(6, wal.Record))
	made := &cut{base: 5, make: true}
	assert.Equal(t, rebased, made.of(5, wal.Record))
	assert.Equal(t, goes, made.of(3, wal.Base), "an older base")
	assert.Equal(t, stays, made.of(6, wal.Record))
}
