package inmem_test

import (
	"fmt"
	"log"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/vfs"
)

// Two runs of the same task: where did they part?
func ExampleDB_Diff() {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var points []inmem.Point
	for _, city := range []string{"Rome", "Oslo"} {
		r, err := db.BeginRun(ctx, run.Meta{Name: city})
		if err != nil {
			log.Fatal(err)
		}
		_, err = r.Events().AppendAll(ctx, event.Main, []event.New{
			{Type: "user.asked", Payload: []byte(`{"text": "book a flight"}`)},
			{Type: "tool.called", Payload: []byte(`{"name": "search", "to": "` + city + `"}`)},
		})
		if err != nil {
			log.Fatal(err)
		}
		points = append(points, inmem.Point{Run: r.ID()})
	}

	d, err := db.Diff(ctx, points[0], points[1])
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range d.Streams {
		fmt.Printf("stream %s diverges at event %d, %s\n", s.Name, s.First.Position, s.First.A.Type)
		for _, x := range s.First.Differences {
			fmt.Printf("%s: %s, %s\n", x.Path, x.A, x.B)
		}
	}
	// Output:
	// stream main diverges at event 2, tool.called
	// /to: "Rome", "Oslo"
}
