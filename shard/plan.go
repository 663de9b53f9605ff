package shard

import (
	"context"
	"encoding/binary"
	"fmt"

	"inmem/retention"
	"inmem/run"
	"inmem/wal"
)

// keptRun is what a plan has to know of a run that is there.
type keptRun struct {
	version uint64             // its image has it as of this version …
	image   int64              // … and takes so many bytes
	history retention.Versions // how much of its history is kept
}

// plan says what of the segments of a log is kept, by the numbers of the
// segments, the oldest first. Bytes are those of frames.
type plan struct {
	segments []*wal.Contents
	cuts     map[run.ID]*cut // of runs of which something is not kept
	kept     []int64         // bytes that are
	must     []bool          // a base is to be made in it, on which older ones depend
}

// cut says what of a run's history is not kept.
type cut struct {
	all  bool   // nothing of it is; otherwise …
	base uint64 // … what led to this version, for which there is a base …
	make bool   // … once it is made
}

// fate is what becomes of a record.
type fate uint8

const (
	stays fate = iota
	goes
	rebased // a base takes its place
)

// of says what becomes of a version, as a record or as a base.
func (c *cut) of(version uint64, kind wal.Kind) fate {
	switch {
	case c == nil:
		return stays
	case c.all || version < c.base:
		return goes
	case version == c.base && c.make && kind == wal.Record:
		return rebased
	}
	return stays
}

// tail is a run of which the last versions are kept: where its history is.
type tail struct {
	id    run.ID
	floor uint64 // the versions behind this one are kept
	image int64
	parts []part // the newest first
}

// part is what a segment has of a tail.
type part struct {
	segment     int
	first, last uint64 // versions
	bytes       int64
	base        bool // the first is one
}

// planner makes a plan.
type planner struct {
	cfg  *Config
	runs func(run.ID) (keptRun, bool) // false: it was deleted
	plan
	dead  []int64 // by segment
	tails map[run.ID]*tail
	clean map[run.ID]bool // all is kept of these
}

// newPlan looks what of the segments is kept, where runs says what is there.
func newPlan(ctx context.Context, cfg *Config, segments []*wal.Contents, runs func(run.ID) (keptRun, bool)) (*plan, error) {
	n := len(segments)
	p := &planner{
		cfg: cfg, runs: runs, dead: make([]int64, n), tails: map[run.ID]*tail{}, clean: map[run.ID]bool{},
		plan: plan{segments: segments, cuts: map[run.ID]*cut{}, kept: make([]int64, n), must: make([]bool, n)},
	}
	for i := n - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for k := range segments[i].Streams {
			if err := p.stream(i, &segments[i].Streams[k]); err != nil {
				return nil, err
			}
		}
	}
	p.chooseBases()
	for _, t := range p.tails {
		p.count(t)
	}
	for i := range p.kept {
		p.kept[i] -= p.dead[i]
	}
	return &p.plan, nil
}

// stream takes what a segment has of a run into account.
func (p *planner) stream(i int, s *wal.StreamPart) error {
	p.kept[i] += s.Bytes
	id := run.ID(s.Stream)
	if p.clean[id] {
		return nil
	}
	c, t := p.cuts[id], p.tails[id]
	if c == nil && t == nil {
		r, there := p.runs(id)
		switch {
		case !there || r.history == retention.NoVersions:
			c = &cut{all: true}
			p.cuts[id] = c
		case r.history == retention.AllVersions || r.version <= uint64(r.history):
			p.clean[id] = true
			return nil
		default:
			t = &tail{id: id, floor: r.version - uint64(r.history), image: r.image}
			p.tails[id] = t
		}
	}
	if c != nil {
		p.dead[i] += s.Bytes
		return nil
	}
	first, err := wal.FirstOf(p.cfg.FS, p.segments[i].Path, p.cfg.identity(), s.Stream, s.First)
	if err != nil {
		return err
	}
	v := versionOfRecord(first.Payload)
	t.parts = append(t.parts, part{
		segment: i, first: v, last: v + uint64(s.Count) - 1, bytes: s.Bytes, base: first.Kind == wal.Base,
	})
	return nil
}

// versionOfRecord is the version of a commit as logged.
func versionOfRecord(payload []byte) uint64 {
	v, _ := binary.Uvarint(payload[len(run.ID{}):])
	return v
}

// chooseBases decides for each tail from which version on it is kept: from the
// last floor but where the base that this needs would cost more than it gives
// back. The newest segments come first, because what is older depends on them.
func (p *planner) chooseBases() {
	in := map[int][]*tail{} // the segment in which a base may be made
	for _, t := range p.tails {
		t.floor = min(t.floor, t.parts[0].last)
		for _, part := range t.parts {
			if part.base && p.cuts[t.id] == nil {
				p.cuts[t.id] = &cut{base: part.first} // the one there is
			}
			if part.first <= t.floor && t.floor <= part.last {
				in[part.segment] = append(in[part.segment], t)
			}
		}
	}
	for i := len(p.segments) - 1; i >= 0; i-- {
		gain := p.dead[i]
		var worth []*tail
		for _, t := range in[i] {
			if g := t.gain(i, p.cuts[t.id]); g > 2*t.image {
				gain += g
				worth = append(worth, t)
			}
		}
		if len(worth) == 0 || gain*2 <= p.segments[i].Bytes {
			continue
		}
		p.must[i] = true
		for _, t := range worth {
			p.cuts[t.id] = &cut{base: t.floor, make: true}
		}
	}
}

// gain is what a base at the floor, in segment i, would give back.
func (t *tail) gain(i int, now *cut) (bytes int64) {
	if now != nil && now.base >= t.floor {
		return 0
	}
	for _, part := range t.parts {
		if part.segment <= i {
			bytes += part.below(t.floor)
		}
	}
	return bytes
}

// below is about what the versions below one take.
func (p *part) below(version uint64) int64 {
	switch {
	case version > p.last:
		return p.bytes
	case version <= p.first:
		return 0
	}
	return p.bytes / int64(p.last-p.first+1) * int64(version-p.first)
}

// count adds what is not kept of a tail.
func (p *planner) count(t *tail) {
	c := p.cuts[t.id]
	if c == nil {
		return
	}
	for i := range t.parts {
		p.dead[t.parts[i].segment] += t.parts[i].below(c.base)
	}
}

// group is segments that follow one another and are made one.
type group struct{ first, last int }

// poor reports whether a segment is worth to be compacted: if more than half of it
// is not kept.
func (p *plan) poor(i int, opts *SweepOptions) bool {
	kept := p.kept[i]
	if !opts.Full {
		kept *= 2
	}
	return p.must[i] || kept < p.segments[i].Bytes || opts.Zstd && !p.segments[i].Compacted
}

// groups returns which segments are to be compacted, the newest first, and how
// many of the oldest can go as they are.
func (p *plan) groups(opts *SweepOptions) (list []group, trim int) {
	for trim < len(p.segments) && p.kept[trim] == 0 {
		trim++
	}
	for i := len(p.segments) - 1; i >= trim; {
		g, bytes, worth := group{i, i}, int64(0), false
		for ; g.first >= trim; g.first-- {
			rewrite := p.poor(g.first, opts)
			small := p.segments[g.first].Size < opts.SegmentSize/smallPart
			bytes += p.kept[g.first]
			if !rewrite && !small || g.first < i && bytes > opts.SegmentSize {
				break
			}
			worth = worth || rewrite
		}
		g.first++
		if worth || g.last-g.first+1 >= manySmall {
			list = append(list, g)
		}
		i = min(g.first, i) - 1
	}
	return list, trim
}

const (
	// smallPart of a segment's full size is small: such segments are made one …
	smallPart = 8
	// … with others that are compacted, or when there are so many.
	manySmall = 8
)

// freed is what carrying the plan out gives back, about.
func (p *plan) freed(list []group, trim int) (bytes int64) {
	for i := range trim {
		bytes += p.segments[i].Size
	}
	for _, g := range list {
		for i := g.first; i <= g.last; i++ {
			bytes += max(p.segments[i].Bytes-p.kept[i], 0)
		}
	}
	return bytes
}

// deadBytes is what the segments have that is not kept.
func (p *plan) deadBytes() (bytes int64) {
	for i := range p.segments {
		bytes += max(p.segments[i].Bytes-p.kept[i], 0)
	}
	return bytes
}

// noBaseError says that a base cannot be made of what is kept.
type noBaseError struct {
	id      run.ID
	version uint64
}

func (e *noBaseError) Error() string {
	return fmt.Sprintf("the history of run %v does not lead to version %d", e.id, e.version)
}
