package inmem_test

import (
	"context"
	"fmt"
	"log"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

func ExampleDB_Warm() {
	disk := vfs.NewMem() // without FS the operating system's disk
	opts := &inmem.Options{
		FS: disk, Shards: 1,
		MemoryBudget: 64 << 20, // of all that there is the part that is in use stays in memory
	}
	db, err := inmem.Open("data", opts)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, name := range []string{"old", "new"} {
		r, err := db.BeginRun(ctx, run.Meta{Name: name})
		if err == nil {
			_, err = r.KV().Put(ctx, "answer", []byte("42"))
		}
		if err == nil && name == "old" {
			err = r.End(ctx, run.Completed)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := db.Checkpoint(ctx); err != nil {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}

	db, err = inmem.Open("data", opts) // loads none of the runs
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println("on disk:", db.Metrics().Shards[0].ColdRuns)
	// Work is about to go on with those that are active.
	if err := db.Warm(ctx, run.Filter{Status: []run.Status{run.Active}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("on disk:", db.Metrics().Shards[0].ColdRuns)
	// Output:
	// on disk: 2
	// on disk: 1
}
