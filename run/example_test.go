package run_test

import (
	"errors"
	"fmt"

	"inmem/run"
)

// A run that ended can only be archived.
func ExampleStatus_Become() {
	fmt.Println(run.Active.Become(run.Completed))
	err := run.Completed.Become(run.Active)
	fmt.Println(err)
	fmt.Println(errors.Is(err, run.ErrEnded))
	// Output:
	// <nil>
	// inmem: run cannot change its status so: from completed to active
	// true
}

// An import that is repeated finds the runs it made before.
func ExampleNamespace_DeriveID() {
	ns := run.Namespace{Tenant: "acme", App: "support", Agent: "triage"}
	fmt.Println(ns.DeriveID("ticket-1"))
	fmt.Println(ns.DeriveID("ticket-1") == ns.DeriveID("ticket-2"))
	// Output:
	// 1ff52469-77b9-80bb-bc65-21a0fded2f48
	// false
}

func ExampleIndex_Scan() {
	var x run.Index
	for n, name := range []string{"plan", "search", "answer"} {
		x.Put(&run.Info{
			Meta:    run.Meta{ID: run.ID{15: byte(n + 1)}, Name: name},
			Status:  run.Active,
			Created: int64(n),
		})
	}
	x.Scan(&run.Filter{Reverse: true}, func(i *run.Info) bool {
		fmt.Println(i.Name)
		return i.Name != "search"
	})
	// Output:
	// answer
	// search
}
