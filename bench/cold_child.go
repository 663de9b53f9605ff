package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"inmem"
	"inmem/bench/measure"
	inrun "inmem/run"
)

// serveCold is what the process of a coldTask does.
func serveCold(spec string, out io.Writer) error {
	var task coldTask
	if err := json.Unmarshal([]byte(spec), &task); err != nil {
		return err
	}
	begun := time.Now()
	db, err := inmem.Open(task.Dir, &inmem.Options{MemoryBudget: task.Budget})
	if err != nil {
		return err
	}
	reply := coldReply{Opening: time.Since(begun), Resident: measure.Resident(os.Getpid())}
	switch task.Do {
	case "fill":
		err = task.profiled(true, func() error { return task.fill(db) })
		if err == nil && task.Killed {
			err = killSelf()
		}
	case "warm":
		err = db.Warm(context.Background(), inrun.Filter{})
		reply.Warm, reply.Resident = time.Since(begun), measure.Resident(os.Getpid())
	case "many":
		err = task.many(db, &reply)
	case "open":
		err = task.open(db, &reply)
	case "read":
		err = task.read(db, &reply)
	default:
		err = fmt.Errorf("what is %q?", task.Do)
	}
	if err == nil {
		err = db.Close()
	}
	if err == nil {
		err = json.NewEncoder(out).Encode(reply)
	}
	return err
}

// killSelf ends the process as a SIGKILL from elsewhere does, and does not return.
func killSelf() error {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		return err
	}
	select {}
}

func coldKey(k int) string { return fmt.Sprintf("key %012d", k) }

func (t *coldTask) fill(db *inmem.DB) error {
	ctx := context.Background()
	rng := rand.NewChaCha8([32]byte{1})
	value := make([]byte, t.Value)
	for n := range t.Runs {
		r, err := db.BeginRun(ctx, inrun.Meta{Name: fmt.Sprint("run ", n), Namespace: inrun.Namespace{Tenant: "t", App: "a", Agent: "g"}})
		if err != nil {
			return err
		}
		for k := range t.Keys {
			if _, err := rng.Read(value); err != nil {
				return err
			}
			if _, err := r.KV().Put(ctx, coldKey(k), value); err != nil {
				return err
			}
		}
		if err := r.End(ctx, inrun.Completed); err != nil {
			return err
		}
	}
	return nil
}

// shuffled returns the handles of all runs, in an order that is always the same.
func (t *coldTask) shuffled(db *inmem.DB) (list []*inmem.Run, err error) {
	for info, err := range db.Runs(context.Background(), inrun.Filter{}) {
		if err != nil {
			return nil, err
		}
		r, err := db.Run(info.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, nil
}

// open reads a key of some runs that are on disk.
func (t *coldTask) open(db *inmem.DB, reply *coldReply) error {
	runs, err := t.shuffled(db)
	if err != nil {
		return err
	}
	var times []time.Duration
	for _, r := range runs[:min(1000, len(runs))] {
		begun := time.Now()
		if _, err := r.KV().Get(context.Background(), coldKey(t.Keys/2)); err != nil {
			return err
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	reply.First = times[len(times)/2]
	return nil
}

// read reads all runs once where there is a budget, and then keys of a few again
// and again, and looks how much is resident meanwhile.
func (t *coldTask) read(db *inmem.DB, reply *coldReply) error {
	runs, err := t.shuffled(db)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		look := time.NewTicker(5 * time.Millisecond)
		defer look.Stop()
		for {
			reply.Most = max(reply.Most, measure.Resident(os.Getpid()))
			select {
			case <-done:
				return
			case <-look.C:
			}
		}
	})
	if t.Budget > 0 {
		err = t.each(func(w int, get func(*inmem.Run, int) error) error {
			for n := w; n < len(runs); n += t.Callers {
				if err := get(runs[n], n%t.Keys); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var count atomic.Int64
	hot := runs[:t.Hot]
	var begun time.Time
	read := func(w int, get func(*inmem.Run, int) error) error {
		rng := rand.New(rand.NewPCG(2, uint64(w)))
		n := 0
		for ; n%100 != 0 || time.Since(begun) < t.For; n++ {
			if err := get(hot[rng.IntN(len(hot))], rng.IntN(t.Keys)); err != nil {
				return err
			}
		}
		count.Add(int64(n))
		return nil
	}
	for pass := range 2 { // the first is to warm up
		if err == nil {
			begun = time.Now()
			count.Store(0)
			err = t.profiled(pass == 1, func() error { return t.each(read) })
		}
	}
	reply.Rate = float64(count.Load()) / time.Since(begun).Seconds()
	reply.Used = db.Metrics().Memory.Used
	close(done)
	watching.Wait()
	return err
}

// profiled writes a CPU profile of fn, if it is to and the task asks for one.
func (t *coldTask) profiled(wanted bool, fn func() error) (err error) {
	if !wanted || t.Profile == "" {
		return fn()
	}
	f, err := os.Create(t.Profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return fn()
}

// each lets all callers do something at the same time.
func (t *coldTask) each(do func(caller int, get func(*inmem.Run, int) error) error) error {
	keys := make([]string, t.Keys)
	for k := range keys {
		keys[k] = coldKey(k)
	}
	get := func(r *inmem.Run, k int) error {
		_, err := r.KV().Get(context.Background(), keys[k])
		return err
	}
	errs := make([]error, t.Callers)
	var all sync.WaitGroup
	for w := range t.Callers {
		all.Go(func() { errs[w] = do(w, get) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
