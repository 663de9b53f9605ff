package inmem_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"inmem"
	"inmem/vfs"
)

func ExampleDB_Replay() {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()}) // without FS the operating system's disk
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	for _, plan := range []string{"search", "read", "answer"} {
		if _, err := r.KV().Put(ctx, "plan", []byte(plan)); err != nil {
			log.Fatal(err)
		}
	}

	for c, err := range db.Replay(ctx, r.ID(), &inmem.ReplayOptions{From: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		past, err := c.Past(ctx) // the run as it was after the commit
		if err != nil {
			log.Fatal(err)
		}
		plan, err := past.KV().Get(ctx, "plan")
		fmt.Println(c.Version, string(plan), err)
	}
	found, err := db.Verify(ctx, r.ID(), 2) // at version 2, and 4, which is the newest
	if err != nil {
		log.Fatal(err)
	}
	digest, version, err := r.Digest()
	fmt.Println(found.Commits, found.Compared, found.Digest == digest, found.Last == version, err)
	// Output:
	// 2 search <nil>
	// 3 read <nil>
	// 4 answer <nil>
	// 4 2 true true <nil>
}

func ExampleDB_Export() {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()}) // without FS the operating system's disk
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	if _, err := r.KV().Put(ctx, "plan", []byte("search")); err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer // or an *os.File
	if err := db.Export(ctx, r.ID(), &file, &inmem.ExportOptions{Zstd: true}); err != nil {
		log.Fatal(err)
	}

	other, err := inmem.Open("other", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	same, err := other.Import(ctx, &file)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := same.KV().Get(ctx, "plan")
	fmt.Println(string(plan), err, same.ID() == r.ID())
	// Output:
	// search <nil> true
}
