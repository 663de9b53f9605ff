package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// exampleStore opens a store in memory, as a test may; a program leaves FS out
// and names a directory.
func exampleStore() *inmem.DB {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	return db
}

func exampleRun(db *inmem.DB) *inmem.Run {
	r, err := db.BeginRun(context.Background(), run.Meta{Name: "example"})
	if err != nil {
		log.Fatal(err)
	}
	return r
}

func ExampleOpen() {
	disk := vfs.NewMem() // without FS the operating system's disk
	options := &inmem.Options{FS: disk, Shards: 2, Durability: inmem.Strict}
	db, err := inmem.Open("data", options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(db.Recovery().Verdict)

	_, err = inmem.Open("data", options)
	fmt.Println("locked:", errors.Is(err, inmem.ErrLocked))
	fmt.Println(db.Close())

	db, err = inmem.Open("data", &inmem.Options{FS: disk})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(db.Recovery().Verdict)
	fmt.Println(db.Close())
	// Output:
	// created
	// locked: true
	// <nil>
	// clean
	// <nil>
}

func ExampleDB_BeginRun() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r, err := db.BeginRun(ctx, run.Meta{
		Name:      "answer ticket 42",
		Namespace: run.Namespace{Tenant: "acme", App: "support", Agent: "writer"},
		Tags:      map[string]string{"ticket": "42"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Pause(ctx), r.Resume(ctx), r.End(ctx, run.Completed))
	_, err = r.KV().Put(ctx, "late", nil)
	fmt.Println("ended:", errors.Is(err, inmem.ErrRunEnded))

	for info, err := range db.Runs(ctx, run.Filter{Tags: map[string]string{"ticket": "42"}}) {
		fmt.Println(info.Name, info.Namespace, info.Status, err)
	}
	// Output:
	// <nil> <nil> <nil>
	// ended: true
	// answer ticket 42 acme/support/writer completed <nil>
}

func ExampleRun_KV() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	face := exampleRun(db).KV()

	version, err := face.Put(ctx, "plan", []byte("search, read, answer"))
	fmt.Println(version, err)
	value, err := face.Get(ctx, "plan")
	fmt.Println(string(value), err)
	old, err := face.Delete(ctx, "plan")
	fmt.Println(string(old), err)
	_, err = face.Get(ctx, "plan")
	fmt.Println(errors.Is(err, inmem.ErrNotFound))
	// Output:
	// 2 <nil>
	// search, read, answer <nil>
	// search, read, answer <nil>
	// true
}

func ExampleRun_KV_list() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	face := exampleRun(db).KV()
	for _, k := range []string{"step/2", "plan", "step/1", "step/3"} {
		if _, err := face.Put(ctx, k, []byte("of "+k)); err != nil {
			log.Fatal(err)
		}
	}
	for item, err := range face.List(ctx, "step/", kv.Reverse(), kv.Limit(2)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s = %s\n", item.Key, item.Value)
	}
	size := 0
	for item, err := range face.List(ctx, "", kv.Lend()) { // read in passing: no copies
		if err != nil {
			log.Fatal(err)
		}
		size += len(item.Value)
	}
	fmt.Println(size, "bytes")
	// Output:
	// step/3 = of step/3
	// step/2 = of step/2
	// 34 bytes
}

func ExampleRun_KV_batch() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)

	var b kv.Batch
	b.Put("answer", []byte("42"))
	b.Put("confidence", []byte("high"))
	b.Delete("question")
	version, err := r.KV().Write(ctx, &b) // all of it in one commit
	fmt.Println(version, err)
	for item := range r.KV().List(ctx, "") {
		fmt.Println(item.Key, item.Version)
	}
	// Output:
	// 2 <nil>
	// answer 2
	// confidence 2
}

func ExampleRun_KV_putIf() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	face := exampleRun(db).KV()

	mine, err := face.PutIf(ctx, "owner", []byte("worker 1"), 0) // 0: nobody has it
	fmt.Println(mine, err)
	_, err = face.PutIf(ctx, "owner", []byte("worker 2"), 0)
	var e *inmem.VersionError
	fmt.Println(errors.As(err, &e), e.Expected, e.Actual)
	_, err = face.PutIf(ctx, "owner", []byte("worker 2"), mine)
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// true 0 2
	// <nil>
}

func ExampleRun_KV_ttl() {
	now := time.UnixMilli(1_700_000_000_000)
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem(), Now: func() time.Time { return now }, Shards: 1})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	face := exampleRun(db).KV()
	_, err = face.Put(ctx, "lock", []byte("worker 1"), kv.TTL(time.Minute))
	fmt.Println(err)
	item, err := face.GetItem(ctx, "lock")
	fmt.Println(item.Deadline.Sub(now), err)
	fmt.Println(db.Close())
	// Output:
	// <nil>
	// 1m0s <nil>
	// <nil>
}

func ExampleRun_History() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	for _, plan := range []string{"search", "read", "answer"} {
		if _, err := r.KV().Put(ctx, "plan", []byte(plan)); err != nil {
			log.Fatal(err)
		}
	}
	for commit, err := range r.History(ctx, 2) { // version 1 is the beginning of the run
		if err != nil {
			log.Fatal(err)
		}
		for _, o := range commit.Ops {
			fmt.Printf("%d: %s %s = %s\n", commit.Version, o.Kind, o.Key, o.Value)
		}
	}
	// Output:
	// 2: put plan = search
	// 3: put plan = read
	// 4: put plan = answer
}

func ExampleDB_Space() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	writer := run.Namespace{Tenant: "acme", App: "support", Agent: "writer"}
	memory, err := db.Space(ctx, writer)
	if err != nil {
		log.Fatal(err)
	}
	_, err = memory.KV().Put(ctx, "customer/7", []byte("prefers short answers"))
	fmt.Println(err)

	again, err := db.Space(ctx, writer) // the same, in every run and after every restart
	if err != nil {
		log.Fatal(err)
	}
	value, err := again.KV().Get(ctx, "customer/7")
	fmt.Println(string(value), err)
	fmt.Println(errors.Is(again.End(ctx, run.Completed), inmem.ErrSpace))
	// Output:
	// <nil>
	// prefers short answers <nil>
	// true
}
