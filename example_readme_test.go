package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

// The README shows this function; TestReadmeExample compares.
func Example() {
	dir := filepath.Join(os.TempDir(), "inmem-example")
	defer os.RemoveAll(dir) // an agent would keep it
	db, err := inmem.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	ns := run.Namespace{Tenant: "acme", App: "support", Agent: "triage"}
	r, err := db.BeginRun(ctx, run.Meta{Name: "ticket 42", Namespace: ns})
	if err != nil {
		log.Fatal(err)
	}
	version, err := r.KV().Put(ctx, "plan", []byte("ask for the invoice"))
	fmt.Println(version, err)
	_, err = r.KV().PutIf(ctx, "plan", []byte("give up"), version-1)
	fmt.Println(errors.Is(err, inmem.ErrWrongVersion))
	_, err = r.KV().Put(ctx, "lock", []byte("mine"), kv.TTL(time.Minute))
	fmt.Println(err, r.End(ctx, run.Completed))

	for item, err := range r.KV().List(ctx, "p") {
		fmt.Printf("%s = %s, version %d, %v\n", item.Key, item.Value, item.Version, err)
	}
	// Output:
	// 2 <nil>
	// true
	// <nil> <nil>
	// plan = ask for the invoice, version 2, <nil>
}
