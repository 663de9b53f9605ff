package event_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/vfs"
)

// exampleRun begins a run of a store in memory. Its clock stands still, so that
// the examples have something to show.
func exampleRun() (r *inmem.Run, done func()) {
	clock := func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem(), Now: clock})
	if err != nil {
		log.Fatal(err)
	}
	r, err = db.BeginRun(context.Background(), run.Meta{Name: "example"})
	if err != nil {
		log.Fatal(err)
	}
	return r, func() { _ = db.Close() }
}

func ExampleStore_Append() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	e := event.New{Type: "tool.called", ID: "call-1", Payload: []byte(`{"tool":"search"}`)}
	first, err := r.Events().Append(ctx, event.Main, e)
	fmt.Println(first.Sequence, first.Time, err)

	// Was the answer lost? The ID lets the append be repeated.
	again, err := r.Events().Append(ctx, event.Main, e)
	fmt.Println(again.Sequence, err)

	e.Payload = nil
	_, err = r.Events().Append(ctx, event.Main, e)
	fmt.Println(errors.Is(err, event.ErrDuplicateID), err)
	// Output:
	// 1 2023-11-14 22:13:20 +0000 UTC <nil>
	// 1 <nil>
	// true inmem: the stream has another event with this ID: "call-1" is event 1 of stream "main"
}

func ExampleExpectSequence() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "begun"}, event.ExpectSequence(0))
	fmt.Println(err)
	_, err = r.Events().Append(ctx, event.Main, event.New{Type: "begun"}, event.ExpectSequence(0))
	fmt.Println(err)
	// Output:
	// <nil>
	// inmem: stream is not at the expected sequence: the last event of stream "main" is 1, not 0 (0 = none)
}

// An event and the state it leads to, in one commit.
func ExampleStore_Append_transaction() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	err := r.Update(ctx, func(tx *inmem.Tx) error {
		if _, err := tx.KV().Put(ctx, "plan", []byte("search, then answer")); err != nil {
			return err
		}
		_, err := tx.Events().Append(ctx, event.Main, event.New{Type: "planned"})
		return err
	})
	e, _ := r.Events().Last(ctx, event.Main)
	fmt.Println(e.Type, err)
	// Output: planned <nil>
}

func ExampleStore_Read() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()
	for i := range 6 {
		typ := [...]string{"tool.called", "tool.returned"}[i%2]
		if _, err := r.Events().Append(ctx, event.Main, event.New{Type: typ}); err != nil {
			log.Fatal(err)
		}
	}

	// Page by page: each begins behind the last event of the one before.
	after := uint64(0)
	for range 2 {
		for e, err := range r.Events().Read(ctx, event.Main, event.After(after), event.Limit(3)) {
			fmt.Println(e.Sequence, err)
			after = e.Sequence
		}
		fmt.Println("next page")
	}
	for e := range r.Events().Read(ctx, event.Main, event.Types("tool.called"), event.Reverse(), event.Limit(1)) {
		fmt.Println("last call:", e.Sequence)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
	// next page
	// 4 <nil>
	// 5 <nil>
	// 6 <nil>
	// next page
	// last call: 5
}

// The hash of the last event vouches for all events before it.
func ExampleStore_Verify() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()
	for _, typ := range []string{"begun", "ended"} {
		if _, err := r.Events().Append(ctx, event.Main, event.New{Type: typ}); err != nil {
			log.Fatal(err)
		}
	}
	last, _ := r.Events().Last(ctx, event.Main)
	fmt.Printf("%x %v\n", last.Hash(), r.Events().Verify(ctx, event.Main))
	// Output: 8d5119a1fcdc6bab580541753fea4628b5d57b8e15cd0a203fdb6022b67f1333 <nil>
}

func ExampleTyped() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()
	type Call struct {
		Tool string `json:"tool"`
	}
	calls := event.Typed[Call](r.Events())
	_, err := calls.Append(ctx, "calls", event.TypedNew[Call]{Type: "tool.called", Value: Call{Tool: "search"}})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range calls.Read(ctx, "calls") {
		fmt.Println(e.Sequence, e.Type, e.Value.Tool, string(e.Payload), err)
	}
	// Output: 1 tool.called search {"tool":"search"} <nil>
}
