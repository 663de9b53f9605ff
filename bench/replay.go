package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/vfs"
)

// replaying measures what it takes to replay, verify, export and import a run,
// and that it does not depend on how much else is in the store: other runs make
// the log so many times longer, and the same run is replayed again, and one of
// the same length whose commits lie as far apart.
func replaying(cfg *config, table *table) error {
	name := fmt.Sprintf("of a run of %d events", cfg.sizes.replay)
	if !cfg.wants("replay " + name) {
		return nil
	}
	return scratch(cfg, "replay", 2, func(s *store) error {
		near, far := s.runs[0], s.runs[1]
		payload := cfg.callers(1)[0].object
		for range cfg.sizes.replay {
			if err := note(near, payload); err != nil {
				return err
			}
		}
		if err := replayRounds(cfg, table, s, name); err != nil {
			return err
		}
		alone, err := replayCell(cfg, table, s, near, "replay "+name)
		if err != nil {
			return err
		}
		if err := s.surround(far, payload); err != nil {
			return err
		}
		text := fmt.Sprintf("replay %s, in a log %d times as long", name, grown)
		among, err := replayCell(cfg, table, s, near, text)
		if err != nil {
			return err
		}
		table.add(fmt.Sprintf("replay %s, log of %d / log of 1", name, grown), 0, among/alone)
		apart, err := replayCell(cfg, table, s, far, fmt.Sprintf("%s, each commit %d behind the one before", text, grown))
		table.add(fmt.Sprintf("replay %s, commits %d apart / 1 apart", name, grown), 0, apart/alone)
		return err
	})
}

// grown is how many times as long the log gets.
const grown = 100

// replayCell measures the replay of a run, and returns the median round.
func replayCell(cfg *config, table *table, s *store, r *inmem.Run, name string) (float64, error) {
	var rounds []float64
	for round := range cfg.rounds {
		progress("round %d of %d: %s", round+1, cfg.rounds, name)
		took, err := median(20, func() error { return replayAll(s.db, r.ID(), cfg.sizes.replay) })
		if err != nil {
			return 0, err
		}
		rounds = append(rounds, milliseconds(took))
		table.add(name+", ms", 0, milliseconds(took))
	}
	slices.Sort(rounds)
	return rounds[len(rounds)/2], nil
}

// note appends an event.
func note(r *inmem.Run, payload []byte) error {
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "tool.called", Payload: payload}, event.Durability(inmem.Async))
	return err
}

// surround appends events to a run, and between each two of them so many others
// to other runs.
func (s *store) surround(r *inmem.Run, payload []byte) error {
	var others []*inmem.Run
	for range 16 {
		other, err := s.db.BeginRun(ctx, run.Meta{})
		if err != nil {
			return err
		}
		others = append(others, other)
	}
	for n := range grown * s.cfg.sizes.replay {
		to := others[n%len(others)]
		if n%grown == 0 {
			to = r
		}
		if err := note(to, payload); err != nil {
			return err
		}
	}
	return s.db.Flush(ctx)
}

// replayAll replays a run, and wants so many events in it at the end.
func replayAll(db *inmem.DB, id run.ID, events int) error {
	var last *inmem.Replayed
	for rp, err := range db.Replay(ctx, id, nil) {
		if err != nil {
			return err
		}
		last = rp
	}
	p, err := last.Past(ctx)
	if err != nil {
		return err
	}
	n, err := p.Events().Len(ctx, event.Main)
	if err == nil && n != uint64(events) {
		err = fmt.Errorf("a replay has %d events", n)
	}
	return err
}

// replayRounds measures what else is done with a whole history.
func replayRounds(cfg *config, table *table, s *store, name string) error {
	id := s.runs[0].ID()
	var file bytes.Buffer
	if err := s.db.Export(ctx, id, &file, nil); err != nil {
		return err
	}
	for range cfg.rounds {
		for _, m := range []struct {
			what string
			fn   func() error
		}{
			{"verify", func() error { _, err := s.db.Verify(ctx, id, 0); return err }},
			{"verify at each 100th version", func() error { _, err := s.db.Verify(ctx, id, 100); return err }},
			{"export", func() error { return s.db.Export(ctx, id, io.Discard, nil) }},
			{"export, compressed,", func() error { return s.db.Export(ctx, id, io.Discard, &inmem.ExportOptions{Zstd: true}) }},
			{"import", func() error { return importFile(file.Bytes()) }},
		} {
			took, err := median(10, m.fn)
			if err != nil {
				return err
			}
			table.add(m.what+" "+name+", ms", 0, milliseconds(took))
		}
	}
	return nil
}

// importFile imports a run into a new store in memory.
func importFile(file []byte) error {
	db, err := inmem.Open("import", &inmem.Options{FS: vfs.NewMem(), Shards: 1})
	if err != nil {
		return err
	}
	if _, err := db.Import(context.Background(), bytes.NewReader(file)); err != nil {
		return err
	}
	return db.Close()
}
