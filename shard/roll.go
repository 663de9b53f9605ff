package shard

import (
	"sync"
	"sync/atomic"

	"inmem/checkpoint"
	"inmem/ordered"
	"inmem/run"
)

// roll is where the runs of a shard are found. A run is *at rest* while its keys
// are only in its image and nobody has it in memory: then all that is known of it
// is its entry in the index of the newest checkpoint, and its handle, once somebody
// asked for one, says no more than that. There may be millions of such runs.
//
// The owner says which runs are at rest, readers make handles of those that are,
// and the imager replaces the index. A handle that was published stays the run's.
// After a deletion it stays until the index does not have the run any more: who
// finds the run there must not take it for one at rest.
type roll struct {
	handles sync.Map                         // run.ID → *Handle
	index   atomic.Pointer[checkpoint.Table] // nil = there is no checkpoint
}

// atRest is the snapshot in the handle of a run that is at rest.
var atRest = new(Snapshot)

// handle returns the handle of a run that is in the index.
func (ro *roll) handle(id run.ID) *Handle {
	if h, ok := ro.handles.Load(id); ok {
		return h.(*Handle)
	}
	h := &Handle{ID: id, roll: ro}
	h.snapshot.Store(atRest)
	found, _ := ro.handles.LoadOrStore(id, h)
	return found.(*Handle)
}

// find returns the handle of a run that is published, or nil.
func (ro *roll) find(id run.ID) *Handle {
	found, ok := ro.handles.Load(id)
	if !ok {
		if !ro.index.Load().Has(id) {
			return nil
		}
		found = ro.handle(id)
		if !ro.index.Load().Has(id) {
			// It was deleted meanwhile, and the handle that told so is gone.
			ro.handles.CompareAndDelete(id, found)
			return nil
		}
	}
	if h := found.(*Handle); h.snapshot.Load() != nil {
		return h
	}
	return nil
}

// head is Handle.Head of a run; nil where there is none. It makes no handle.
func (ro *roll) head(id run.ID) *Head {
	if h, ok := ro.handles.Load(id); ok {
		return h.(*Handle).Head()
	}
	if e, ok := ro.index.Load().Find(id); ok {
		if snap := resting(&e); snap != nil {
			return &snap.Head
		}
	}
	return nil
}

// infos calls fn with the metadata of all runs that are published, and perhaps of
// some that were deleted since it was called.
func (ro *roll) infos(fn func(*run.Info)) {
	var images *checkpoint.Table
	var heads map[run.ID]*Head
	for again := true; again; again = ro.index.Load() != images { // or handles that told of deletions may be gone
		images, heads = ro.index.Load(), map[run.ID]*Head{}
		for id, h := range ro.handles.Range {
			heads[id.(run.ID)] = h.(*Handle).Head()
		}
	}
	for _, head := range heads {
		if head != nil {
			fn(head.Info)
		}
	}
	for e := range images.All {
		if _, known := heads[e.Run]; known {
			continue
		}
		if snap := resting(e); snap != nil {
			fn(snap.Info)
		}
	}
}

// resting returns the snapshot of a run that is at rest, by its entry.
func resting(e *checkpoint.Entry) *Snapshot {
	info, err := run.DecodeRecord(e.Run, e.Info)
	if err != nil {
		return nil // never: each was looked at when the index was read, or made by us
	}
	return restingWith(e, info)
}

func restingWith(e *checkpoint.Entry, info *run.Info) *Snapshot {
	return &Snapshot{
		cold: &cold{counts: ordered.Counts(e.Counts), image: e.Size(), earliest: e.Earliest},
		Head: Head{
			ID: e.Run, Version: e.Version, Time: e.Time, Info: info, FirstSeq: e.FirstSeq, LastSeq: e.LastSeq,
			Deadlines: int(e.Deadlines), bytes: bytesAtRest(e),
		},
	}
}

// newest returns the newest published snapshot, nil once the run is deleted. That
// of a run at rest is made for the caller.
func (h *Handle) newest() *Snapshot {
	snap := h.snapshot.Load()
	if snap != atRest {
		return snap
	}
	e, ok := h.roll.index.Load().Find(h.ID)
	if !ok {
		return nil // deleted meanwhile, and a checkpoint has been taken since
	}
	if snap = resting(&e); snap != nil && h.told.Load() {
		snap.cold.earliest = 0
		snap.bytes += bytesPerHandle
	}
	return snap
}
