package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"

	"inmem"
	"inmem/bench/measure"
	inrun "inmem/run"
)

// serveBehind is what the process of a behindTask does.
func serveBehind(spec string, out io.Writer) error {
	var task behindTask
	if err := json.Unmarshal([]byte(spec), &task); err != nil {
		return err
	}
	db, err := inmem.Open(task.Dir, task.options())
	if err != nil {
		return err
	}
	reply, err := task.measure(db)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(reply)
}

func (t *behindTask) options() *inmem.Options {
	switch t.Mode {
	case behindNothing:
		return &inmem.Options{CheckpointBytes: -1, PruneInterval: -1}
	case behindRetention:
		return &inmem.Options{Retention: inmem.Retention{Limits: inmem.RetentionLimits{History: inmem.NoVersions}}}
	}
	return nil
}

// measure fills the store, and has its keys overwritten: as fast as the callers
// can, and at a fixed rate.
func (t *behindTask) measure(db *inmem.DB) (reply behindReply, err error) {
	ctx := context.Background()
	runs, err := t.begin(ctx, db)
	if err != nil {
		return reply, err
	}
	pool := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(pool) // never fails
	perRun := t.Keys / t.Runs
	put := func(rng *rand.Rand, run, key int) error {
		at := rng.IntN(len(pool) - t.Value)
		_, err := runs[run].KV().Put(ctx, coldKey(key), pool[at:at+t.Value])
		return err
	}
	rng := rand.New(rand.NewPCG(t.Seed, 0))
	for n := range perRun * t.Runs {
		if err := put(rng, n%t.Runs, n/t.Runs); err != nil {
			return reply, err
		}
	}
	ops := make([]measure.Op, behindCallers)
	for i := range ops {
		rng := rand.New(rand.NewPCG(t.Seed, uint64(i)+1))
		ops[i] = func() error { return put(rng, rng.IntN(t.Runs), rng.IntN(perRun)) }
	}
	plan := measure.Plan{For: t.For, WarmUp: t.For / 4}
	free, err := measure.Run(ctx, plan, ops)
	if err != nil {
		return reply, err
	}
	reply.Rate, reply.Service = free.Rate(), free.Service.At(99)
	plan.Rate = t.Rate
	fixed, err := measure.Run(ctx, plan, ops)
	if err != nil {
		return reply, err
	}
	reply.Latency = fixed.Latency.At(99)
	for _, s := range db.Metrics().Shards {
		reply.Checkpoints += s.Checkpoints
		reply.Swept += s.SegmentsRemoved + s.SegmentsCompacted
	}
	return reply, nil
}

func (t *behindTask) begin(ctx context.Context, db *inmem.DB) (runs []*inmem.Run, err error) {
	for n := range t.Runs {
		meta := inrun.Meta{Name: strconv.Itoa(n)}
		if t.Mode == behindCompaction && n%4 != 0 {
			meta.Tags = map[string]string{inmem.TagHistory: inmem.NoVersions.String()}
		}
		r, err := db.BeginRun(ctx, meta)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}
