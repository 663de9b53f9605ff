package vector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"inmem"
	"inmem/run"
	"inmem/vector"
	"inmem/vfs"
)

// exampleRun begins a run of a store in memory.
func exampleRun() (r *inmem.Run, done func()) {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	r, err = db.BeginRun(context.Background(), run.Meta{Name: "example"})
	if err != nil {
		log.Fatal(err)
	}
	return r, func() { _ = db.Close() }
}

func ExampleStore_Search() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	colors := r.Vectors()
	_, err := colors.Create(ctx, "colors", vector.Config{Dimension: 3, Metric: vector.Euclidean})
	fmt.Println(err)
	_, err = colors.UpsertBatch(ctx, "colors", []vector.New{
		{Key: "crimson", Vector: []float32{220, 20, 60}, Metadata: []byte(`{"warm":true}`)},
		{Key: "navy", Vector: []float32{0, 0, 128}},
		{Key: "teal", Vector: []float32{0, 128, 128}},
		{Key: "tomato", Vector: []float32{255, 99, 71}, Metadata: []byte(`{"warm":true}`)},
	})
	fmt.Println(err)

	red := []float32{255, 0, 0}
	hits, err := colors.Search(ctx, "colors", red, 2)
	for _, h := range hits {
		fmt.Printf("%s %.1f\n", h.Key, h.Score)
	}
	fmt.Println(err)
	_, err = colors.Search(ctx, "colors", red[:2], 2)
	fmt.Println(errors.Is(err, vector.ErrDimension))
	// Output:
	// <nil>
	// <nil>
	// crimson -72.3
	// tomato -121.8
	// <nil>
	// true
}

// A filter chooses among the vectors by their keys and metadata.
func ExampleWhere() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	notes := r.Vectors()
	if _, err := notes.Create(ctx, "notes", vector.Config{Dimension: 2, Metric: vector.Cosine}); err != nil {
		log.Fatal(err)
	}
	for i, author := range []string{"agent", "customer", "agent"} {
		metadata := fmt.Appendf(nil, `{"author":%q}`, author)
		if _, err := notes.Upsert(ctx, "notes", fmt.Sprint("note ", i), []float32{1, float32(i)}, metadata); err != nil {
			log.Fatal(err)
		}
	}
	byCustomer := vector.FilterFunc(func(it vector.Item) (bool, error) {
		var m struct{ Author string }
		err := json.Unmarshal(it.Metadata, &m)
		return m.Author == "customer", err
	})
	hits, err := notes.Search(ctx, "notes", []float32{1, 0}, 10, vector.Where(byCustomer))
	fmt.Println(len(hits), hits[0].Key, err)
	// Output: 1 note 1 <nil>
}

// Vectors change together with whatever else a run has.
func ExampleStore_Upsert() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	err := r.Update(ctx, func(tx *inmem.Tx) error {
		if _, err := tx.Vectors().Create(ctx, "notes", vector.Config{Dimension: 2, Metric: vector.Cosine}); err != nil {
			return err
		}
		if _, err := tx.Vectors().Upsert(ctx, "notes", "first", []float32{1, 1}, nil); err != nil {
			return err
		}
		_, err := tx.KV().Put(ctx, "last note", []byte("first"))
		return err
	})
	note, getErr := r.Vectors().Get(ctx, "notes", "first")
	fmt.Println(err, note.Vector, note.Version, getErr)
	// Output: <nil> [1 1] 2 <nil>
}

// Where about the nearest will do, a large collection has an index. It is made in
// the background, or at once by Prepare.
func ExampleApproximate() {
	ctx := context.Background()
	r, done := exampleRun()
	defer done()

	points := r.Vectors()
	if _, err := points.Create(ctx, "points", vector.Config{Dimension: 2, Metric: vector.Euclidean}); err != nil {
		log.Fatal(err)
	}
	var list []vector.New
	for i := range 10_000 {
		list = append(list, vector.New{Key: fmt.Sprintf("%04d", i), Vector: []float32{float32(i % 100), float32(i / 100)}})
	}
	if _, err := points.UpsertBatch(ctx, "points", list); err != nil {
		log.Fatal(err)
	}
	err := points.Prepare(ctx, "points", vector.Approximate(200))
	hits, searchErr := points.Search(ctx, "points", []float32{42, 77.2}, 1, vector.Approximate(200))
	fmt.Printf("%s %.1f %v %v\n", hits[0].Key, hits[0].Score, err, searchErr)
	// Output: 7742 -0.2 <nil> <nil>
}
