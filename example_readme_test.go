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
	"inmem/event"
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
	fmt.Println(err)

	err = r.Update(ctx, func(tx *inmem.Tx) error { // one commit, or none
		if _, err := tx.KV().Put(ctx, "plan", []byte("wait")); err != nil {
			return err
		}
		_, err := tx.Events().Append(ctx, event.Main, event.New{Type: "asked", Payload: []byte(`{"for": "the invoice"}`)})
		return err
	})
	fmt.Println(err, r.End(ctx, run.Completed))

	for item, err := range r.KV().List(ctx, "p") {
		fmt.Printf("%s = %s, version %d, %v\n", item.Key, item.Value, item.Version, err)
	}
	past, err := r.At(ctx, version)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := past.KV().Get(ctx, "plan")
	fmt.Printf("%s, then, %v\n", plan, err)
	// Output:
	// 2 <nil>
	// true
	// <nil>
	// <nil> <nil>
	// plan = wait, version 4, <nil>
	// ask for the invoice, then, <nil>
}
