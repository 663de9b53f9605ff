package salvage

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/wal"
)

// merge makes one log of what the segments of each shard hold, finds out what
// is missing in it, and hands what is there to the runs.
func (inv *inventory) merge() error {
	if inv.manifest != nil {
		inv.dirs = inv.dirs[:0]
		for i := range inv.manifest.Shards {
			inv.dirs = append(inv.dirs, i)
		}
	}
	for _, n := range inv.dirs {
		inv.shard(n) // it was there, whatever is left of it
	}
	for _, sh := range inv.ordered() {
		rank(sh.segments)
		for i, s := range sh.segments {
			inv.reconcile(s, sh.segments[:i])
		}
		inv.limits(sh)
		inv.gaps(sh)
		for _, s := range sh.segments {
			for i := range s.frames {
				if r := s.frames[i].run; r != nil {
					r.commits = append(r.commits, commit{s, &s.frames[i]})
				}
			}
		}
		inv.judge(sh)
		if err := inv.verifyImages(sh); err != nil {
			return err
		}
	}
	return nil
}

// ordered returns the shards in order.
func (inv *inventory) ordered() []*shardFiles {
	var list []*shardFiles
	for _, sh := range inv.shards {
		list = append(list, sh)
	}
	slices.SortFunc(list, func(a, b *shardFiles) int { return cmp.Compare(a.number, b.number) })
	return list
}

// regular reports whether the log itself would look for the segment where it is.
func (s *segment) regular() bool {
	return s.dir == s.number && s.Named != 0 && (s.HeaderFlaw != "" || s.Named == s.First)
}

// rank puts the segments first that the log itself would use, then copies, the
// one that goes furthest first.
func rank(segments []*segment) {
	slices.SortFunc(segments, func(a, b *segment) int {
		switch {
		case a.regular() && b.regular():
			return cmp.Compare(a.Named, b.Named)
		case a.regular():
			return -1
		case b.regular():
			return 1
		}
		return cmp.Or(cmp.Compare(b.Last, a.Last), cmp.Compare(a.Path, b.Path))
	})
}

// at returns the frame with a sequence, or nil.
func (s *segment) at(sequence uint64) *frame {
	n := len(s.frames)
	if n == 0 || sequence < s.frames[0].sequence || sequence > s.frames[n-1].sequence {
		return nil
	}
	i, found := slices.BinarySearchFunc(s.frames, sequence, func(f frame, q uint64) int { return cmp.Compare(f.sequence, q) })
	if !found {
		return nil
	}
	return &s.frames[i]
}

// reconcile takes those frames out of a segment that better ones have too. From
// where it differs from them it is of another past, such as that of an older
// copy of the store: nothing that follows there may be mixed with theirs.
func (inv *inventory) reconcile(s *segment, better []*segment) {
	kept := s.frames[:0]
	for i := range s.frames {
		f := s.frames[i]
		double := false
		for _, b := range better {
			other := b.at(f.sequence)
			if other == nil {
				continue
			}
			if other.hash != f.hash {
				inv.damaged(Damage{File: s.Path, Offset: f.offset, Length: s.End - f.offset, Lost: true, Reason: fmt.Sprintf(
					"from sequence %d on it is another log than in %s, and was left out", f.sequence, b.Path)})
				s.frames, s.Last, s.Indexed, s.Bad = kept, f.sequence-1, false, nil
				return
			}
			double = true
			break
		}
		if !double {
			kept = append(kept, f)
		}
	}
	s.frames = kept
}

// limits finds out how far the log went.
func (inv *inventory) limits(sh *shardFiles) {
	if m := inv.manifest; m != nil && sh.number < len(m.Shards) {
		sh.end = max(m.Shards[sh.number].Synced, m.Shards[sh.number].Checkpoint)
	}
	for _, s := range sh.segments {
		sh.end = max(sh.end, s.Last, s.First-min(s.First, 1))
		if s.Indexed {
			sh.end = max(sh.end, s.IndexLast)
		}
		if s.regular() {
			sh.end = max(sh.end, s.Named-1)
		}
	}
	if inv.manifest != nil {
		return
	}
	// Without a manifest nobody says which checkpoints counted.
	for _, im := range sh.images {
		for sequence := range im.surveys {
			sh.end = max(sh.end, sequence)
		}
	}
}

// gaps finds out which sequences are missing.
func (inv *inventory) gaps(sh *shardFiles) {
	var there []span
	for _, s := range sh.segments {
		there = append(there, spansOf(s.frames)...)
		there = append(there, sh.onlySeals(s)...)
		if s.Compacted && s.Indexed && len(s.Bad) == 0 && len(s.Missing) == 0 {
			there = append(there, span{s.First, s.IndexLast}) // what is not there is not kept
		}
	}
	slices.SortFunc(there, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	next := sh.first
	for _, sp := range append(there, span{sh.end + 1, sh.end + 1}) {
		if sp.first > next {
			sh.gaps = append(sh.gaps, span{next, sp.first - 1})
		}
		next = max(next, sp.last+1)
	}
	for _, g := range sh.gaps {
		inv.report.Gaps = append(inv.report.Gaps, Gap{Shard: sh.number, First: g.first, Last: g.last})
	}
	for _, s := range sh.segments {
		inv.remember(sh, s)
	}
}

// spansOf returns the sequences of frames that are in order.
func spansOf(frames []frame) []span {
	var list []span
	for i := range frames {
		q := frames[i].sequence
		if n := len(list) - 1; n >= 0 && list[n].last+1 == q {
			list[n].last = q
		} else {
			list = append(list, span{q, q})
		}
	}
	return list
}

// missing reports whether some of the sequences are missing.
func (sh *shardFiles) missing(sp span) bool {
	return slices.ContainsFunc(sh.gaps, func(g span) bool { return max(g.first, sp.first) <= min(g.last, sp.last) })
}

// successor returns the sequence with which the segment behind s begins; 0 =
// there is none.
func (sh *shardFiles) successor(s *segment) uint64 {
	next := uint64(0)
	for _, other := range sh.segments {
		begins := max(other.First, other.Named)
		if begins > max(s.Last, s.First-min(s.First, 1)) && other != s && (next == 0 || begins < next) {
			next = begins
		}
	}
	return next
}

// between is the range of sequences that a bad range had, at most.
func (sh *shardFiles) between(s *segment, b wal.BadRange) span {
	sp := span{b.After + 1, b.Before - 1}
	if b.After == 0 {
		sp.first = max(s.First, s.Named, 1)
	}
	if b.Before > 0 {
		return sp
	}
	next := sh.successor(s)
	switch {
	case s.Indexed:
		sp.last = s.IndexLast
	case next > 0:
		sp.last = next - 1
	default:
		sp.last = sh.end
	}
	return sp
}

// lostIn returns the records that the index has in a bad range.
func (s *segment) lostIn(b wal.BadRange) []wal.Missing {
	from, _ := slices.BinarySearchFunc(s.Missing, b.Offset, func(m wal.Missing, off int64) int { return cmp.Compare(m.Offset, off) })
	to := from
	for to < len(s.Missing) && s.Missing[to].Offset < b.Offset+b.Length {
		to++
	}
	return s.Missing[from:to]
}

// onlySeals returns the sequences in bad ranges that had no records, by the
// index or for lack of room: what was lost there are seals, and nobody misses
// them.
func (sh *shardFiles) onlySeals(s *segment) []span {
	var list []span
	if s.Mixed {
		return nil
	}
	for _, b := range s.Bad {
		sp := sh.between(s, b)
		named := s.Indexed && s.IndexFlaw == "" && len(s.lostIn(b)) == 0
		if named && sp.first <= sp.last || b.SealOnly && sp.first == sp.last {
			list = append(list, sp)
		}
	}
	return list
}

// remember notes for the runs which of their commits the index of a segment
// knows, though nothing else of them is left.
func (inv *inventory) remember(sh *shardFiles, s *segment) {
	for _, b := range s.Bad {
		sp, lost := sh.between(s, b), s.lostIn(b)
		if s.Mixed || !sh.missing(sp) || uint64(len(lost)) > sp.last-sp.first+1 {
			continue // others have them, or nobody can tell which they are
		}
		for i, m := range lost {
			if sh.remembered(s, m.Offset) {
				continue
			}
			sh.ghosts[place{s.Salt, m.Offset}] = true
			r := inv.run(run.ID(m.Stream))
			r.ghosts = append(r.ghosts, sp.first+uint64(i))
		}
	}
}

// remembered reports whether a copy of the segment has the frame, or has said
// already that it is missing.
func (sh *shardFiles) remembered(s *segment, offset int64) bool {
	for _, other := range sh.segments {
		if other != s && other.Salt == s.Salt && slices.ContainsFunc(other.frames, func(f frame) bool { return f.offset == offset }) {
			return true
		}
	}
	return sh.ghosts[place{s.Salt, offset}]
}

// judge reports what is wrong with a shard's segments, and whether anything was
// lost with it.
func (inv *inventory) judge(sh *shardFiles) {
	sh.whole = inv.manifest != nil && sh.number < len(inv.manifest.Shards) && len(sh.gaps) == 0 && len(sh.segments) > 0
	inv.unwitnessed(sh)
	for _, s := range sh.segments {
		if s.HeaderFlaw != "" {
			inv.damaged(Damage{File: s.Path, Length: min(64, s.Size), Reason: s.HeaderFlaw,
				Lost: s.Good == 0 && (inv.manifest == nil || len(sh.gaps) > 0)})
		}
		for _, b := range s.Bad {
			inv.damaged(inv.badRange(sh, s, b))
		}
		if s.Indexed && sh.successor(s) == 0 {
			sh.whole = false
			inv.damaged(Damage{File: s.Successor(), Reason: "the segment is missing", Lost: true})
		}
		if s.IndexFlaw != "" {
			inv.damaged(Damage{File: s.Path, Offset: s.IndexEnd, Length: s.Size - s.IndexEnd, Reason: s.IndexFlaw})
		}
	}
}

// unwitnessed reports a log of which nobody can say whether it went on.
func (inv *inventory) unwitnessed(sh *shardFiles) {
	if len(sh.segments) == 0 {
		inv.damaged(Damage{File: recovery.Dir(inv.dir, sh.number), Reason: "nothing is left of the shard's log", Lost: true})
		return
	}
	if inv.manifest != nil {
		return
	}
	for _, s := range sh.segments {
		if n := len(s.frames) - 1; n >= 0 && s.frames[n].sequence == sh.end && s.frames[n].run != nil {
			inv.damaged(Damage{File: s.Path, Offset: s.End, Lost: true,
				Reason: "the log ends without a seal, and without a manifest nobody knows whether it went on"})
		}
	}
}

// badRange says what a bad range of a segment means.
func (inv *inventory) badRange(sh *shardFiles, s *segment, b wal.BadRange) Damage {
	d := Damage{File: s.Path, Offset: b.Offset, Length: b.Length, Reason: b.Reason, Lost: sh.missing(sh.between(s, b))}
	if d.Lost || b.Before > 0 || s.Indexed {
		return d
	}
	if sh.successor(s) > 0 {
		d.Reason += "; all frames are there, so it was their index"
		return d
	}
	if b.SealOnly {
		d.Reason += "; there is no room for a commit, so it was a seal"
		return d
	}
	// Only the manifest could know that it was more than that.
	d.Reason += "; a write that a crash cut short, as far as anything tells"
	d.Lost = inv.manifest == nil
	return d
}

// counted returns the indexes that are to be believed. Where the log is whole
// that is the one the manifest names: others are of no use, or never counted.
func (inv *inventory) counted(sh *shardFiles, im *images) []*checkpoint.Index {
	if !sh.whole {
		return im.indexes
	}
	for _, x := range im.indexes {
		if x.Sequence == inv.manifest.Shards[sh.number].Checkpoint {
			return []*checkpoint.Index{x}
		}
	}
	if sh.first == 1 {
		return nil
	}
	return im.indexes
}

// verifyImages reads the images of a shard, and hands them to the runs.
func (inv *inventory) verifyImages(sh *shardFiles) error {
	inv.missingCheckpoint(sh)
	for _, im := range sh.images {
		inv.flaws(sh, im)
		seen := map[imageKey]bool{}
		for _, x := range inv.counted(sh, im) {
			for _, id := range x.Deleted {
				r := inv.run(id)
				r.deleted = append(r.deleted, deletion{sh.number, x.Sequence})
			}
			for k := range x.Entries {
				e := &x.Entries[k]
				if key := (imageKey{e.Run, e.Version, e.Location}); !seen[key] {
					seen[key] = true
					if err := inv.verifyImage(sh, im, e); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// imageKey tells images apart: most are in several indexes.
type imageKey struct {
	run     run.ID
	version uint64
	at      checkpoint.Location
}

func (inv *inventory) verifyImage(sh *shardFiles, im *images, e *checkpoint.Entry) error {
	inv.time = max(inv.time, e.Time)
	found := image{number: sh.number, entry: e, from: im}
	var corrupt *op.CorruptError
	if err := im.files.Check(e); errors.As(err, &corrupt) {
		found.flaw = corrupt.Reason
	} else if err != nil {
		return err
	}
	if found.flaw == "" && sh.contradicts(e) {
		return nil // it never counted, or its end of the log was cut off
	}
	if found.flaw == "" {
		sh.verified++
	}
	r := inv.run(e.Run)
	r.images = append(r.images, found)
	return nil
}

// contradicts reports whether the log has something else where it should have
// the commit that an image ends with.
func (sh *shardFiles) contradicts(e *checkpoint.Entry) bool {
	for _, s := range sh.segments {
		if f := s.at(e.LastSeq); f != nil {
			return f.run == nil || f.run.id != e.Run || f.version != e.Version
		}
	}
	return false
}

// flaws reports what is wrong with checkpoint files. What was in a file without
// an index nobody knows, unless the log is whole.
func (inv *inventory) flaws(sh *shardFiles, im *images) {
	for _, sequence := range descending(im.flaws) {
		flaw, s := im.flaws[sequence], im.surveys[sequence]
		d := Damage{File: s.Path, Offset: min(flaw.Offset, s.Size), Reason: flaw.Reason}
		d.Length = s.Size - d.Offset
		d.Lost = !sh.whole || sh.first > 1 && sequence == inv.manifest.Shards[sh.number].Checkpoint
		inv.damaged(d)
	}
}

// missingCheckpoint reports the checkpoint that the manifest names, where it is
// not there.
func (inv *inventory) missingCheckpoint(sh *shardFiles) {
	if inv.manifest == nil || sh.number >= len(inv.manifest.Shards) {
		return
	}
	sequence := inv.manifest.Shards[sh.number].Checkpoint
	there := func(im *images) bool { return im.surveys[sequence] != nil }
	if sequence != 0 && !slices.ContainsFunc(sh.images, there) {
		inv.damaged(Damage{File: checkpoint.Name(recovery.Dir(inv.dir, sh.number), sequence),
			Reason: "the checkpoint is missing", Lost: !sh.whole || sh.first > 1})
	}
}
