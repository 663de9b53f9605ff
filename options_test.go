package inmem_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/vfs"
)

func TestOptionsOutOfBoundsAreRefused(t *testing.T) {
	for _, c := range []struct {
		field string
		bad   inmem.Options
	}{
		{"Shards", inmem.Options{Shards: -1}},
		{"Shards", inmem.Options{Shards: 1025}},
		{"Durability", inmem.Options{Durability: 4}},
		{"BatchInterval", inmem.Options{BatchInterval: -1}},
		{"BatchInterval", inmem.Options{BatchInterval: time.Millisecond - 1}},
		{"BatchInterval", inmem.Options{BatchInterval: 24*time.Hour + 1}},
		{"BatchCommits", inmem.Options{BatchCommits: -1}},
		{"BatchCommits", inmem.Options{BatchCommits: 1<<30 + 1}},
		{"MaxKeySize", inmem.Options{MaxKeySize: -1}},
		{"MaxKeySize", inmem.Options{MaxKeySize: 1<<20 + 1}},
		{"MaxKeySize", inmem.Options{MaxKeySize: math.MaxInt}},
		{"MaxValueSize", inmem.Options{MaxValueSize: -1}},
		{"MaxValueSize", inmem.Options{MaxValueSize: 512<<20 + 1}},
		{"MaxValueSize", inmem.Options{MaxValueSize: math.MaxInt}},
		{"MaxCommitSize", inmem.Options{MaxCommitSize: -1}},
		{"MaxCommitSize", inmem.Options{MaxCommitSize: 64 << 20}},
		{"MaxCommitSize", inmem.Options{MaxCommitSize: 1<<30 + 1}},
		{"SegmentSize", inmem.Options{SegmentSize: -1}},
		{"SegmentSize", inmem.Options{SegmentSize: 4<<10 - 1}},
		{"SegmentSize", inmem.Options{SegmentSize: 1<<30 + 1}},
	} {
		t.Run(fmt.Sprintf("%s %+v", c.field, c.bad), func(t *testing.T) {
			disk := vfs.NewMem()
			c.bad.FS = disk
			_, err := inmem.Open("/store", &c.bad)
			require.ErrorIs(t, err, inmem.ErrInvalidOption)
			assert.ErrorContains(t, err, "Options."+c.field+" is ")
			assert.Zero(t, disk.Ops(), "nothing was made")
		})
	}
}

// The bounds themselves are in order, as far as a machine has the memory.
func TestOptionsAtTheirBounds(t *testing.T) {
	for _, good := range []inmem.Options{
		{Shards: 1, BatchInterval: time.Millisecond, BatchCommits: 1, MaxKeySize: 1, MaxValueSize: 1, MaxCommitSize: 40, SegmentSize: 4 << 10},
		{Shards: 8, BatchInterval: 24 * time.Hour, BatchCommits: 1 << 30, MaxKeySize: 1 << 20, MaxValueSize: 512 << 20, SegmentSize: 1 << 30},
		{Durability: inmem.Strict, CheckpointBytes: -1}, {Durability: inmem.Async, CheckpointBytes: 1},
	} {
		s := newStore(t, func(o *inmem.Options) {
			good.FS, good.Now = o.FS, o.Now
			*o = good
		})
		put(t, s.begin(), "k", "v")
		if good.Durability != 0 {
			assert.Equal(t, good.Durability, s.Durability())
		}
	}
}

func TestOptionsAreCopied(t *testing.T) {
	s := newStore(t)
	s.opts.MaxKeySize = 1
	s.opts.Durability = inmem.Strict
	put(t, s.begin(), "long", "v")
	assert.Equal(t, inmem.Batched, s.Durability())
	s.opts.MaxKeySize, s.opts.Durability = 0, 0
}

// A machine that believes it is before 1970 works, and goes on when it knows better.
func TestClockBefore1970(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Now = func() time.Time { return time.UnixMilli(-1e12) } })
	r := s.begin()
	put(t, r, "k", "v")
	s.opts.Now = time.Now
	s.reopen()
	put(t, s.run(r.ID()), "k", "w")
}
