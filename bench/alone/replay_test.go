package alone

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/vfs"
)

// note appends an event.
func note(b *testing.B, r *inmem.Run) {
	b.Helper()
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "tool.called", Payload: object}, event.Durability(inmem.Async))
	must(b, err)
}

// history makes a store with two runs, of which the first has so many events and
// nothing between them.
func history(b *testing.B) *store {
	b.Helper()
	s := openStore(b, options(inmem.Batched), 2)
	for range sized().replay {
		note(b, s.runs[0])
	}
	must(b, s.Flush(ctx))
	return s
}

// surround appends as many events to the second run, and between each two of them
// others to other runs.
func surround(b *testing.B, s *store) {
	b.Helper()
	var others []*inmem.Run
	for range 16 {
		other, err := s.BeginRun(ctx, run.Meta{})
		must(b, err)
		others = append(others, other)
	}
	for n := range sized().grown * sized().replay {
		to := others[n%len(others)]
		if n%sized().grown == 0 {
			to = s.runs[1]
		}
		note(b, to)
	}
	must(b, s.Flush(ctx))
}

// BenchmarkReplay replays a run that is alone in its store, the same run when the
// log is 100 times as long, and one whose commits lie that far apart.
func BenchmarkReplay(b *testing.B) {
	s := history(b)
	replay := func(name string, r *inmem.Run) {
		b.Run(fmt.Sprintf("events=%d/%s", sized().replay, name), func(b *testing.B) {
			for b.Loop() {
				replayAll(b, s, r)
			}
		})
	}
	replay("alone", s.runs[0])
	surround(b, s)
	replay(fmt.Sprintf("log=%dx", sized().grown), s.runs[0])
	replay(fmt.Sprintf("apart=%d", sized().grown), s.runs[1])
}

// replayAll replays a run, and wants its events to be there in the end.
func replayAll(b *testing.B, s *store, r *inmem.Run) {
	var last *inmem.Replayed
	for rp, err := range s.Replay(ctx, r.ID(), nil) {
		must(b, err)
		last = rp
	}
	p, err := last.Past(ctx)
	must(b, err)
	n, err := p.Events().Len(ctx, event.Main)
	must(b, err)
	if n != uint64(sized().replay) {
		b.Fatalf("a replay has %d events", n)
	}
}

// BenchmarkHistory does what else is done with a whole history.
func BenchmarkHistory(b *testing.B) {
	s := history(b)
	id := s.runs[0].ID()
	var file bytes.Buffer
	must(b, s.Export(ctx, id, &file, nil))
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"verify", func() error { _, err := s.Verify(ctx, id, 0); return err }},
		{"verify-each-100th", func() error { _, err := s.Verify(ctx, id, 100); return err }},
		{"export", func() error { return s.Export(ctx, id, io.Discard, nil) }},
		{"export-zstd", func() error { return s.Export(ctx, id, io.Discard, &inmem.ExportOptions{Zstd: true}) }},
		{"import", func() error { return importFile(file.Bytes()) }},
	} {
		b.Run(fmt.Sprintf("%s/events=%d", part.name, sized().replay), func(b *testing.B) {
			for b.Loop() {
				must(b, part.do())
			}
		})
	}
}

// importFile imports a run into a new store in memory.
func importFile(file []byte) error {
	db, err := inmem.Open("import", &inmem.Options{FS: vfs.NewMem(), Shards: 1})
	if err != nil {
		return err
	}
	if _, err := db.Import(ctx, bytes.NewReader(file)); err != nil {
		return err
	}
	return db.Close()
}
