package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"inmem"
	"inmem/vfs"
)

func ExampleOpenReadOnly() {
	disk := vfs.NewMem() // without FS the operating system's disk
	db, err := inmem.Open("data", &inmem.Options{FS: disk})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	_, err = r.KV().Put(ctx, "plan", []byte("search"))
	fmt.Println(err)

	// Beside the writer, here or in another process:
	reader, err := inmem.OpenReadOnly("data", &inmem.Options{FS: disk})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	_, err = r.KV().Put(ctx, "plan", []byte("answer")) // too late for this reader
	fmt.Println(err)
	seen, err := reader.Run(r.ID())
	if err != nil {
		log.Fatal(err)
	}
	plan, err := seen.KV().Get(ctx, "plan")
	fmt.Println(string(plan), err)
	_, err = seen.KV().Put(ctx, "plan", []byte("mine"))
	fmt.Println("read-only:", errors.Is(err, inmem.ErrReadOnly))
	// Output:
	// <nil>
	// <nil>
	// search <nil>
	// read-only: true
}

func ExampleDB_Backup() {
	disk := vfs.NewMem() // without FS the operating system's disk
	db, err := inmem.Open("data", &inmem.Options{FS: disk, Shards: 1})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	r := exampleRun(db)
	if _, err := r.KV().Put(ctx, "plan", []byte("search")); err != nil {
		log.Fatal(err)
	}
	checked, err := db.Backup(ctx, "backup/monday") // while others write
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(checked.Shards[0].Runs, "run,", checked.Shards[0].Commits, "commits, problems:", checked.Problems)
	fmt.Println(db.Close())

	db, err = inmem.Open("backup/monday", &inmem.Options{FS: disk}) // in place of the original
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if r, err = db.Run(r.ID()); err != nil {
		log.Fatal(err)
	}
	plan, err := r.KV().Get(ctx, "plan")
	fmt.Println(string(plan), err)
	// Output:
	// 1 run, 2 commits, problems: []
	// <nil>
	// search <nil>
}
