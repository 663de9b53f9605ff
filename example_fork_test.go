package inmem_test

import (
	"context"
	"fmt"
	"log"

	"inmem"
	"inmem/run"
)

func ExampleDB_Fork() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()
	r := exampleRun(db)

	version, err := r.KV().Put(ctx, "plan", []byte("by train"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := r.KV().Put(ctx, "plan", []byte("by plane")); err != nil {
		log.Fatal(err)
	}

	// The fork goes on from where the run was; each goes its own way.
	f, err := db.Fork(ctx, r.ID(), version, run.Meta{Name: "what if"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := f.KV().Put(ctx, "seat", []byte("window")); err != nil {
		log.Fatal(err)
	}
	for _, r := range []*inmem.Run{r, f} {
		plan, err := r.KV().Get(ctx, "plan")
		seated, err2 := r.KV().Exists(ctx, "seat")
		info, err3 := r.Info()
		if err != nil || err2 != nil || err3 != nil {
			log.Fatal(err, err2, err3)
		}
		of, at, forked := inmem.ForkOf(info)
		fmt.Printf("%s, seat: %v, version %d, a fork: %v", plan, seated, info.LastVersion, forked)
		if forked {
			fmt.Printf(", of the run: %v, at version %d", of == info.Parent, at)
		}
		fmt.Println()
	}
	// Output:
	// by plane, seat: false, version 3, a fork: false
	// by train, seat: true, version 3, a fork: true, of the run: true, at version 2
}

// What would the agent have done if the tool had said something else? The fork
// begins before that step, and is given its result; nothing is executed twice
// that comes before it.
func ExampleWithStep() {
	db := exampleStore()
	defer db.Close()
	ctx := context.Background()

	agent := func(r *inmem.Run) (string, error) {
		city, err := inmem.Do(ctx, r, "ask", nil, func(context.Context) (string, error) {
			fmt.Println("  asking where to go")
			return "Rome", nil
		})
		if err != nil {
			return "", err
		}
		price, err := inmem.Do(ctx, r, "look up price", city, func(context.Context) (int, error) {
			fmt.Println("  looking up the price")
			return 120, nil
		})
		if err != nil {
			return "", err
		}
		if price > 200 {
			return "too expensive", nil
		}
		return "booked " + city, nil
	}

	r := exampleRun(db)
	fmt.Println(agent(r))
	f, err := db.Fork(ctx, r.ID(), 2, run.Meta{}, inmem.WithStep("look up price", 400))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(agent(f))
	// Output:
	//   asking where to go
	//   looking up the price
	// booked Rome <nil>
	// too expensive <nil>
}
