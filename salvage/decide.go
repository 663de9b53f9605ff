package salvage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"inmem/checkpoint"
	"inmem/run"
)

// runFound is what there is of a run, and what is made of it.
type runFound struct {
	id      run.ID
	commits []commit
	images  []image
	deleted []deletion
	ghosts  []uint64 // commits of which only the place is left: about where in the log

	// The decision.
	keep  []commit // in order of the version, without gaps, up to the version that is kept
	image *image   // the state to go on from; nil = keep begins as the run did
	dead  bool     // the run was deleted, and its history does not say so from its beginning

	first, last uint64 // sequences of the commits kept, in the new log, up to the image
}

// commit is a commit of a run in the log.
type commit struct {
	in *segment
	*frame
}

// image is a run's image in a checkpoint.
type image struct {
	number int // of the shard
	entry  *checkpoint.Entry
	from   *images
	flaw   string // why it cannot be used
}

// deletion is what a checkpoint knows of a run that was deleted.
type deletion struct {
	number   int
	sequence uint64 // of the log that the checkpoint covers
}

// decide decides for every run what can be made of it, and reports what cannot.
func (inv *inventory) decide() []*runFound {
	ids := slices.SortedFunc(maps.Keys(inv.runs), run.ID.Compare)
	var list []*runFound
	for _, id := range ids {
		r := inv.runs[id]
		if len(r.commits)+len(r.images)+len(r.deleted)+len(r.ghosts) == 0 {
			continue // all there was of it is of another past
		}
		list = append(list, r)
		inv.order(r)
		if !inv.decideDeleted(r) {
			inv.decideLive(r)
		}
		inv.badImages(r)
	}
	return list
}

// order puts the commits in order of the version, each once.
func (inv *inventory) order(r *runFound) {
	slices.SortStableFunc(r.commits, func(a, b commit) int { return cmp.Compare(a.version, b.version) })
	kept := r.commits[:0]
	for _, c := range r.commits {
		n := len(kept) - 1
		if n < 0 || kept[n].version != c.version {
			kept = append(kept, c)
			continue
		}
		if kept[n].hash != c.hash {
			inv.damaged(Damage{File: c.in.Path, Offset: c.offset, Lost: true, Reason: fmt.Sprintf(
				"version %d of run %v is another one in %s, and was left out", c.version, r.id, kept[n].in.Path)})
		}
	}
	r.commits = kept
}

// follows reports whether b can be the commit behind a.
func follows(a, b commit) bool {
	return b.version == a.version+1 && b.in.number == a.in.number && b.sequence > a.sequence && !a.drop
}

// upTo returns the commits without a gap that end with the i-th.
func (r *runFound) upTo(i int) []commit {
	from := i
	for from > 0 && follows(r.commits[from-1], r.commits[from]) {
		from--
	}
	return r.commits[from : i+1]
}

// from returns the index of the last commit that follows, without a gap, on
// the i-th.
func (r *runFound) from(i int) int {
	for i+1 < len(r.commits) && follows(r.commits[i], r.commits[i+1]) {
		i++
	}
	return i
}

// decideDeleted decides on a run that is known to be deleted. Whatever else is
// missing of it, it stays deleted.
func (inv *inventory) decideDeleted(r *runFound) bool {
	n := len(r.commits)
	at := -1
	for i := range r.commits {
		if r.commits[i].drop {
			at = i
		}
	}
	if at < 0 && !slices.ContainsFunc(r.deleted, r.isLast) {
		return false
	}
	r.dead = true
	if n == 0 {
		return true // its history is in the gaps of the shard
	}
	reason := "the commit that deleted it is gone"
	if at >= 0 {
		r.keep = r.upTo(at)
		r.dead = !r.keep[0].begins
		reason = fmt.Sprintf("its history before version %d is gone", r.keep[0].version)
	} else {
		r.keep = r.upTo(n - 1)
	}
	if r.dead && !inv.trimmed(r) {
		known := r.known()
		inv.lost(Loss{Run: r.id, Known: known, From: r.keep[0].version, Deleted: true, Reason: reason})
	}
	return true
}

// isLast reports whether nothing happened to the run after the checkpoint that
// says that it was deleted. Otherwise that checkpoint never counted.
func (r *runFound) isLast(d deletion) bool {
	for _, c := range r.commits {
		if c.in.number == d.number && c.sequence > d.sequence {
			return false
		}
	}
	return true
}

// decideLive decides on a run that was not deleted: all its commits from the
// first one on, or an image and the commits behind it, whichever gets further.
func (inv *inventory) decideLive(r *runFound) {
	kept := uint64(0)
	if len(r.commits) > 0 && r.commits[0].begins {
		r.keep = r.commits[:r.from(0)+1]
		kept = r.keep[len(r.keep)-1].version
	}
	for k := range r.images {
		im := &r.images[k]
		if im.flaw != "" {
			continue
		}
		if keep, version := r.behind(im); version > kept {
			r.keep, r.image, kept = keep, im, version
		}
	}
	known := r.known()
	begins, whole := uint64(0), false
	if len(r.keep) > 0 {
		begins, whole = r.keep[0].version, r.keep[0].begins
	}
	if kept == known && (whole || inv.trimmed(r)) {
		return
	}
	inv.lost(Loss{Run: r.id, Kept: kept, Known: known, From: begins, Reason: r.reason(kept, begins, known)})
}

// behind returns the commits that lead to an image and on from it without a
// gap, and the version that they end with.
func (r *runFound) behind(im *image) (keep []commit, version uint64) {
	v := im.entry.Version
	i, found := slices.BinarySearchFunc(r.commits, v, func(c commit, v uint64) int { return cmp.Compare(c.version, v) })
	switch {
	case found && r.commits[i].sequence != im.entry.LastSeq:
		return nil, 0 // it never counted, or its end of the log was cut off
	case found:
	case i < len(r.commits) && r.commits[i].version == v+1 && r.commits[i].sequence > im.entry.LastSeq && r.commits[i].in.number == im.number:
	default:
		return nil, v
	}
	last := r.from(i)
	return r.upTo(last), r.commits[last].version
}

// known returns the highest version of the run that anything knows of.
func (r *runFound) known() uint64 {
	known := uint64(0)
	for k := range r.images {
		known = max(known, r.images[k].entry.Version)
	}
	if n := len(r.commits); n > 0 {
		known = max(known, r.commits[n-1].version)
	}
	// A commit of which only the place is left has the version behind that of
	// the commit before it.
	slices.Sort(r.ghosts)
	version, next := uint64(0), 0
	for _, sequence := range r.ghosts {
		for next < len(r.commits) && r.commits[next].sequence < sequence {
			version = r.commits[next].version
			next++
		}
		version++
	}
	return max(known, version)
}

// trimmed reports whether what is missing at the beginning of the run's history
// was removed by the store itself, which says so in its manifest and in segments.
func (inv *inventory) trimmed(r *runFound) bool {
	number := 0
	switch {
	case len(r.keep) > 0:
		number = r.keep[0].in.number
	case r.image != nil:
		number = r.image.number
	}
	sh := inv.shards[number]
	compacted := func(s *segment) bool { return s.Compacted }
	if inv.manifest == nil || sh == nil || sh.first == 1 && !slices.ContainsFunc(sh.segments, compacted) {
		return false
	}
	below := sh.end
	if len(r.keep) > 0 {
		below = r.keep[0].sequence
	}
	return !sh.missing(span{1, below})
}

// reason says why a run is not what it was.
func (r *runFound) reason(kept, begins, known uint64) string {
	if kept == 0 {
		return "its beginning is gone, and there is no image of it"
	}
	if kept == known && begins == 0 {
		return "its history is gone, its state is from an image"
	}
	if kept == known {
		return fmt.Sprintf("its history before version %d is gone", begins)
	}
	next := known + 1
	for _, c := range r.commits {
		if c.version > kept+1 {
			next = min(next, c.version)
		}
	}
	gone, it := fmt.Sprintf("versions %d to %d are gone", kept+1, next-1), "them"
	if next == kept+2 {
		gone, it = fmt.Sprintf("version %d is gone", kept+1), "it"
	}
	if next <= known {
		gone += fmt.Sprintf("; those from %d on cannot do without %s", next, it)
	}
	return gone
}

func (inv *inventory) lost(l Loss) { inv.report.Losses = append(inv.report.Losses, l) }

// badImages reports the images of a run that cannot be used.
func (inv *inventory) badImages(r *runFound) {
	kept := uint64(len(r.keep))
	if len(r.keep) > 0 {
		kept = r.keep[len(r.keep)-1].version
	}
	if r.image != nil {
		kept = max(kept, r.image.entry.Version)
	}
	for k := range r.images {
		im := &r.images[k]
		if im.flaw == "" {
			continue
		}
		at := im.entry.Location
		d := Damage{Offset: at.Offset, Length: at.Length, Lost: kept < im.entry.Version && !r.dead}
		d.Reason = fmt.Sprintf("the image of run %v: %s", r.id, im.flaw)
		if s := im.from.surveys[at.File]; s != nil {
			d.File = s.Path
		} else {
			d.File, d.Offset, d.Length = checkpoint.Name(im.from.dir, at.File), 0, 0
		}
		inv.damaged(d)
	}
}
