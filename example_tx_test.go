package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"

	"inmem"
	"inmem/event"
	"inmem/kv"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
)

func ExampleRun_Update() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)

	// Everything in it becomes visible, and durable, at once. Where somebody
	// else changed what it read it is called again.
	addOne := func(tx *inmem.Tx) error {
		steps := kv.Typed[int](tx.KV())
		n, err := steps.Get(ctx, "steps")
		if err != nil && !errors.Is(err, inmem.ErrNotFound) {
			return err
		}
		if _, err := steps.Put(ctx, "steps", n+1); err != nil {
			return err
		}
		_, err = tx.Events().Append(ctx, event.Main, event.New{
			Type: "step", Payload: []byte(`{"number": ` + strconv.Itoa(n+1) + `}`),
		})
		return err
	}
	fmt.Println(r.Update(ctx, addOne), r.Update(ctx, addOne))

	refused := errors.New("not now")
	err := r.Update(ctx, func(tx *inmem.Tx) error {
		if _, err := tx.KV().Delete(ctx, "steps"); err != nil {
			return err
		}
		return refused // nothing of it happened
	})
	fmt.Println(err)
	for e := range r.Events().Read(ctx, event.Main) {
		fmt.Printf("%d %s %s\n", e.Sequence, e.Type, e.Payload)
	}
	// Output:
	// <nil> <nil>
	// not now
	// 1 step {"number": 1}
	// 2 step {"number": 2}
}

func ExampleRun_View() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	for _, k := range []string{"a", "b"} {
		if _, err := r.KV().Put(ctx, k, []byte("1")); err != nil {
			log.Fatal(err)
		}
	}
	err := r.View(ctx, func(tx *inmem.Tx) error {
		if _, err := r.KV().Put(ctx, "b", []byte("2")); err != nil { // somebody writes meanwhile
			return err
		}
		for item, err := range tx.KV().List(ctx, "") {
			fmt.Printf("%s = %s %v\n", item.Key, item.Value, err)
		}
		_, err := tx.KV().Put(ctx, "a", nil)
		return err
	})
	fmt.Println(errors.Is(err, inmem.ErrReadOnly))
	// Output:
	// a = 1 <nil>
	// b = 1 <nil>
	// true
}

func ExampleRun_Begin() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	take := func() *inmem.Tx { // what nobody has
		tx, err := r.Begin(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if taken, err := tx.KV().Exists(ctx, "owner"); err != nil || taken {
			log.Fatal(taken, err)
		}
		if _, err := tx.KV().Put(ctx, "owner", []byte("me")); err != nil {
			log.Fatal(err)
		}
		return tx
	}
	first, second := take(), take()
	defer first.Rollback() // does nothing after Commit
	defer second.Rollback()
	version, err := first.Commit(ctx)
	fmt.Println(version, err)
	_, err = second.Commit(ctx)
	var conflict *inmem.ConflictError
	fmt.Println(errors.As(err, &conflict), conflict.Key)
	// Output:
	// 2 <nil>
	// true owner
}

func ExampleRun_At() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	then, err := r.KV().Put(ctx, "plan", []byte("search"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := r.KV().Put(ctx, "plan", []byte("answer")); err != nil {
		log.Fatal(err)
	}
	past, err := r.At(ctx, then)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := past.KV().Get(ctx, "plan")
	fmt.Printf("version %d: %s %v\n", past.Version(), plan, err)
	_, err = r.At(ctx, 9)
	fmt.Println(err)
	// Output:
	// version 2: search <nil>
	// inmem: no such version of the run: 9 was asked for, there are 1 … 3
}

func ExampleRun_Watch() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	go func() {
		for i := range 3 {
			if _, err := r.KV().Put(ctx, "step", []byte(strconv.Itoa(i))); err != nil {
				log.Fatal(err)
			}
		}
	}()
	for c, err := range r.Watch(ctx, 2) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("version %d: %s = %s\n", c.Version, c.Ops[0].Key, c.Ops[0].Value)
		if c.Version == 4 {
			break
		}
	}
	// Output:
	// version 2: step = 0
	// version 3: step = 1
	// version 4: step = 2
}

func ExampleDB_Watch() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	var place inmem.Cursor // from the beginning; a program may store the text of one
	for range 2 {
		r, err := db.BeginRun(ctx, run.Meta{Tags: map[string]string{"team": "support"}})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := r.KV().Put(ctx, "plan", nil); err != nil {
			log.Fatal(err)
		}
		exampleRun(db) // of another team
		for c, err := range db.Watch(ctx, run.Filter{Tags: map[string]string{"team": "support"}}, place) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(c.Run == r.ID(), c.Version)
			if place = c.Cursor(); c.Version == 2 {
				break
			}
		}
	}
	// Output:
	// true 1
	// true 2
	// true 1
	// true 2
}

func ExampleRun_Contents() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)
	if _, err := r.KV().Put(ctx, "plan", nil); err != nil {
		log.Fatal(err)
	}
	if _, err := r.State().Init(ctx, "phase", state.Value{State: "searching"}); err != nil {
		log.Fatal(err)
	}
	if _, err := r.Trace().Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "search"}); err != nil {
		log.Fatal(err)
	}
	for c, err := range r.Contents(ctx) {
		fmt.Printf("%v %q of version %d %v\n", c.Tag, c.Key, c.Version, err)
	}
	// Output:
	// kv "plan" of version 2 <nil>
	// state "cphase" of version 3 <nil>
	// trace "s\x00\x00\x00\x00\x00\x00\x00\x01" of version 4 <nil>
	// meta "" of version 1 <nil>
}
