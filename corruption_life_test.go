package inmem_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
	"inmem/wal"
)

// story is the life of a store, told in chapters: after each the files are others.
type story struct {
	t      testing.TB
	opts   inmem.Options
	disk   *vfs.Mem
	ledger *ledger
	script *script
	of     [][]*inmem.Run // the runs of each shard
	// chapters are copies of the disk, in order; the last one was closed, the
	// last but one was not.
	chapters []chapter
}

// chapter is what there was at a moment of the story.
type chapter struct {
	what  string
	disk  *vfs.Mem
	acked map[run.ID]uint64
}

// end is how the store ended: closed, or killed before.
func (s *story) end(ending string) *chapter {
	if ending == closedStore {
		return &s.chapters[len(s.chapters)-1]
	}
	return &s.chapters[len(s.chapters)-2]
}

func (s *story) patient(ending string) *patient {
	s.t.Helper()
	return newPatient(s.t, s.end(ending).disk, s.ledger, s.opts)
}

// newStory lets a small store live, with so many shards. The same store comes
// out each time, but for its ID and the salts of its segments.
func newStory(t testing.TB, shards int, mode inmem.Durability) *story {
	t.Helper()
	return tell(t, inmem.Options{Shards: shards, SegmentSize: 4 << 10, PruneInterval: -1, Durability: mode}, (*story).smallLife)
}

// tell lets a store live and end.
func tell(t testing.TB, opts inmem.Options, live func(*story)) *story {
	t.Helper()
	s := &story{t: t, opts: idle(opts), disk: vfs.NewMem(), ledger: scriptLedger()}
	s.opts.CheckpointBytes, s.opts.BatchCommits, s.opts.Now = -1, 1<<20, scriptClock
	s.script = &script{mode: opts.Durability, emit: s.ledger.take, versions: map[run.ID]uint64{}}
	s.open()
	s.note("created")
	live(s)
	s.note("killed")
	s.script.close()
	s.note("closed")
	s.ledger.settle(t)
	return s
}

// modeOf is the durability of a store that is to end so.
func modeOf(ending string) inmem.Durability {
	if ending == strictStore {
		return inmem.Strict
	}
	return inmem.Batched
}

func (s *story) open() {
	s.t.Helper()
	opts := s.opts
	opts.FS = s.disk
	db, err := inmem.Open(storeDir, &opts)
	require.NoError(s.t, err)
	s.script.db = db
}

// note keeps the moment, once the background has come to rest.
func (s *story) note(what string) {
	s.t.Helper()
	for i := range s.opts.Shards {
		list := filesLike(s.disk, i, ".wal")
		for _, name := range list[:len(list)-1] {
			soon(s.t, "the index of "+name, func() bool {
				d, err := wal.ReadSegment(s.disk, name, func(wal.Frame) error { return nil })
				return err == nil && d.Indexed && d.Flaw == ""
			})
		}
	}
	s.chapters = append(s.chapters, chapter{what, s.disk.Clone(), s.ledger.promises().acked})
}

// beginAs begins a run whose ID is known, so that a store is the same each time.
func (s *script) beginAs(name string) *inmem.Run {
	meta := run.Meta{Name: name, Namespace: run.Namespace{Tenant: "t", App: "a"}}
	meta.ID = meta.Namespace.DeriveID(name)
	r, err := s.db.BeginRun(bg, meta)
	must(err)
	s.emit(note{What: "ack", Info: &run.Info{Meta: meta, Status: run.Active, Created: scriptTime, FirstVersion: 1}, Mode: s.mode})
	s.versions[meta.ID] = 1
	return r
}

// beginIn begins runs in every shard.
func (s *story) beginIn(perShard int) {
	s.of = make([][]*inmem.Run, s.opts.Shards)
	for i, full := 0, 0; full < s.opts.Shards; i++ {
		name := fmt.Sprint("run ", i)
		at := shard.Place(run.Namespace{Tenant: "t", App: "a"}.DeriveID(name), s.opts.Shards)
		if len(s.of[at]) == perShard {
			continue
		}
		s.of[at] = append(s.of[at], s.script.beginAs(name))
		if len(s.of[at]) == perShard {
			full++
		}
	}
}

// each does something in every shard.
func (s *story) each(do func(runs []*inmem.Run)) {
	for _, runs := range s.of {
		do(runs)
	}
}

func (s *story) checkpoint(what string) {
	must(s.script.db.Checkpoint(bg))
	s.note(what)
}

// reopen closes the store and opens it again.
func (s *story) reopen() {
	s.script.close()
	s.note("closed in between")
	s.open()
	for i := range s.of {
		for k, r := range s.of[i] {
			again, err := s.script.db.Run(r.ID())
			must(err)
			s.of[i][k] = again
		}
	}
}

// smallLife is that of a small store: several segments; checkpoints, of which
// later ones leave images in earlier ones, until they are gone; ends that are
// sealed and ends that are not.
func (s *story) smallLife() {
	put := s.script.put
	s.beginIn(3)
	s.each(func(r []*inmem.Run) {
		for i := range 4 {
			put(r[0], fmt.Sprint("a", i), "value", op.Default)
			put(r[1], fmt.Sprint("b", i), strings.Repeat("long ", 90), op.Default)
		}
		put(r[2], "c", "gone soon", op.Default)
	})
	s.note("written")
	s.checkpoint("checkpoint 1")
	s.each(func(r []*inmem.Run) {
		for i := range 5 {
			put(r[0], "a", strings.Repeat("again ", 25*i), op.Default)
		}
	})
	s.checkpoint("checkpoint 2, images in 1")
	s.reopen()
	s.each(func(r []*inmem.Run) {
		put(r[0], "a", "x", op.Default)
		put(r[1], "b", strings.Repeat("much longer ", 60), op.Default)
		s.script.drop(r[2])
	})
	s.note("a run deleted")
	s.checkpoint("checkpoint 3, all images")
	s.each(func(r []*inmem.Run) { put(r[0], "late", "x", op.Default) })
	s.checkpoint("checkpoint 4, images in 3")
	s.each(func(r []*inmem.Run) {
		for i := range 4 {
			put(r[0], fmt.Sprint("tail ", i), strings.Repeat("t", 150), op.Default)
			put(r[1], fmt.Sprint("tail ", i), strings.Repeat("t", 200*i), op.Default)
		}
		s.script.del(r[0], "late", op.Default)
	})
	s.script.flush()
	s.note("flushed")
	s.each(func(r []*inmem.Run) {
		put(r[1], "last", "words", op.Default)
		s.script.end(r[0], run.Completed)
	})
}
