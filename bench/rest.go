package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"inmem"
	"inmem/bench/report"
	"inmem/bench/workload"
	"inmem/event"
	"inmem/kv"
	inrun "inmem/run"
)

// restData writes something into a store, and returns the bytes of the keys and
// values.
type restData struct {
	name  string
	write func(context.Context, *inmem.DB) (int64, error)
}

// restWrites is how many keys are put.
func (b *bench) restWrites() int { return max(b.cfg.Keys/10, 100) }

// restTime is how long it takes.
func (b *bench) restTime() time.Duration {
	if !b.oursWanted(report.Rest) {
		return 0
	}
	return 2*time.Second + time.Duration(b.restWrites())*30*time.Microsecond
}

// rest tells how large a log is that holds whole histories.
func (b *bench) rest(ctx context.Context) error {
	if !b.oursWanted(report.Rest) {
		return nil
	}
	b.progress.step(b.restTime(), "%s", report.Rest)
	for _, data := range []restData{
		{fmt.Sprintf("puts of %d B", b.cfg.Value), func(ctx context.Context, db *inmem.DB) (int64, error) { return b.restPuts(ctx, db, 1) }},
		{fmt.Sprintf("commits of 10 keys of %d B", b.cfg.Value), func(ctx context.Context, db *inmem.DB) (int64, error) { return b.restPuts(ctx, db, 10) }},
		{"agents, a commit a turn", b.restAgents},
	} {
		if err := b.problem(ctx, report.Rest, b.restOf(ctx, data)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) restOf(ctx context.Context, data restData) (err error) {
	dir := filepath.Join(b.dir, "rest")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	figure := func(name, unit string, value float64) {
		b.coldFigure(report.Rest, data.name+": "+name, unit, value)
	}
	db, err := inmem.Open(dir, nil)
	if err != nil {
		return err
	}
	written, err := data.write(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	figure("written", "MB", float64(written)/1e6)
	for _, how := range []struct {
		name string
		inmem.Compression
	}{{"as logged", inmem.NoCompression}, {"compressed", inmem.Zstd}} {
		log, images, err := atRest(ctx, dir, how.Compression)
		if err != nil {
			return err
		}
		figure("log, "+how.name, "× of that", float64(log)/float64(written))
		figure("images, "+how.name, "× of that", float64(images)/float64(written))
	}
	return nil
}

// atRest returns what the log and the images of a store take, when all of it has
// been compressed, where it is to be.
func atRest(ctx context.Context, dir string, compression inmem.Compression) (log, images int64, err error) {
	db, err := inmem.Open(dir, &inmem.Options{Compression: compression})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if compression != inmem.NoCompression {
		if err := touchRuns(ctx, db); err != nil { // an image is compressed when it is written
			return 0, 0, err
		}
	}
	if _, err := db.Prune(ctx, &inmem.PruneOptions{Everything: true}); err != nil {
		return 0, 0, err
	}
	r, err := db.Prune(ctx, &inmem.PruneOptions{DryRun: true})
	if err != nil {
		return 0, 0, err
	}
	return r.LogBytes, r.ImageBytes - r.ImageDead, nil
}

// touchRuns makes a small commit in each run.
func touchRuns(ctx context.Context, db *inmem.DB) error {
	for info, err := range db.Runs(ctx, inrun.Filter{}) {
		if err != nil {
			return err
		}
		r, err := db.Run(info.ID)
		if err == nil {
			err = r.SetKeep(ctx, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restPuts writes each key of some runs once, so many in a commit.
func (b *bench) restPuts(ctx context.Context, db *inmem.DB, together int) (written int64, err error) {
	const perRun = 100
	rng := rand.NewChaCha8([32]byte{byte(b.cfg.seed)})
	for range b.restWrites() / perRun {
		r, err := db.BeginRun(ctx, inrun.Meta{})
		if err != nil {
			return 0, err
		}
		for k := 0; k < perRun; k += together {
			var batch kv.Batch
			for i := range together {
				value := make([]byte, b.cfg.Value) // the batch lends it
				_, _ = rng.Read(value)             // never fails
				key := coldKey(k + i)
				batch.Put(key, value)
				written += int64(len(key) + len(value))
			}
			if _, err := r.KV().Write(ctx, &batch); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

// restAgents writes down what agents said: each message is an event, and a turn
// one commit with a record of the agent's state.
func (b *bench) restAgents(ctx context.Context, db *inmem.DB) (written int64, err error) {
	agents := workload.Synthetic(100)
	if b.agents != "" {
		if agents, err = workload.ReadTranscripts(b.agents); err != nil {
			return 0, err
		}
	}
	b.results.Transcripts = agents.Source
	for _, turns := range agents.Agents {
		r, err := db.BeginRun(ctx, inrun.Meta{})
		if err != nil {
			return 0, err
		}
		for n, turn := range turns {
			state := []byte(`{"turn":` + strconv.Itoa(n) + `,"role":"` + turn.Role + `"}`)
			err := r.Update(ctx, func(tx *inmem.Tx) error {
				for _, m := range turn.Messages {
					if _, err := tx.Events().Append(ctx, event.Main, event.New{Type: "message", Payload: m}); err != nil {
						return err
					}
				}
				_, err := tx.KV().Put(ctx, "state", state)
				return err
			})
			if err != nil {
				return 0, err
			}
			written += int64(len("state") + len(state))
			for _, m := range turn.Messages {
				written += int64(len(m))
			}
		}
		if err := r.End(ctx, inrun.Completed); err != nil {
			return 0, err
		}
	}
	return written, nil
}
