package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"inmem"
	"inmem/run"
)

// A store that keeps the last 100 versions of each run, all of those that are
// audited, and of the runs that have ended the last 1,000.
func ExampleRetention() {
	dir, err := os.MkdirTemp("", "inmem")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := inmem.Open(dir, &inmem.Options{
		Retention: inmem.Retention{
			Limits: inmem.RetentionLimits{History: 100, EndedRuns: 1000},
			Rules:  []inmem.RetentionRule{{Tags: map[string]string{"audit": "yes"}}},
		},
		Compression: inmem.Zstd,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	r, err := db.BeginRun(ctx, run.Meta{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 20 {
		if _, err := r.KV().Put(ctx, "plan", []byte(fmt.Sprint("draft ", i))); err != nil {
			log.Fatal(err)
		}
	}
	if err := r.SetHistory(ctx, inmem.NoVersions); err != nil { // this one needs none
		log.Fatal(err)
	}
	if _, err := db.Prune(ctx, nil); err != nil { // or wait for the background
		log.Fatal(err)
	}
	_, err = r.At(ctx, 5)
	var gone *inmem.VersionGoneError
	fmt.Println(errors.As(err, &gone), "the oldest is", gone.First)
	plan, err := r.KV().Get(ctx, "plan")
	fmt.Println(string(plan), err)
	// Output:
	// true the oldest is 22
	// draft 19 <nil>
}
