package query_test

import (
	"fmt"
	"log"
	"time"

	"inmem"
	"inmem/kv"
	"inmem/query"
	"inmem/run"
	"inmem/vector"
	"inmem/vfs"
)

// exampleStore is a store with two runs.
func exampleStore() *inmem.DB {
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	for i, city := range []string{"Rome", "Oslo"} {
		r, err := db.BeginRun(ctx, run.Meta{Name: city, Tags: map[string]string{"task": fmt.Sprint(i)}})
		if err != nil {
			log.Fatal(err)
		}
		var b kv.Batch
		b.Put("user/1", []byte(`{"name": "Ann", "age": 31}`))
		b.Put("user/2", []byte(fmt.Sprintf(`{"name": "Bob", "age": %d}`, 17+i)))
		if _, err := r.KV().Write(ctx, &b); err != nil {
			log.Fatal(err)
		}
	}
	return db
}

// A query over all runs of a store, with an argument.
func Example() {
	db := exampleStore()
	defer db.Close()
	text := `kv where key startsWith "user/" and value.age >= $1 select run.name, value.name, value.age order by value.age limit 2`
	for row, err := range db.Query(ctx, text, 18) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.Get("run.name"), row.Get("value.name"), row.Get("value.age"))
	}
	// Output:
	// Oslo Bob 18
	// Rome Ann 31
}

// The same things can be said in Go.
func ExampleFrom() {
	db := exampleStore()
	defer db.Close()
	age := query.C("value", "age")
	q, err := query.From(query.KV).
		Where(query.C("key").HasPrefix("user/"), age.Ge(18), query.C("run", "created").Ge(query.Call("now").Minus(time.Hour))).
		GroupBy(query.C("run", "name").As("run")).Aggregate(query.Count().As("adults"), query.Max(age)).
		OrderBy(query.C("adults").Desc()).
		Query()
	if err != nil {
		log.Fatal(err)
	}
	for row, err := range db.Execute(ctx, q) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.Values()...)
	}
	// Output:
	// Oslo 2 31
	// Rome 1 31
}

// What is wrong with a query is said with its place.
func ExampleParse() {
	_, err := query.Parse(`spans where took > 5`)
	fmt.Println(err)
	// Output:
	// inmem: invalid query: column 18: took is a duration and 5 is a number: they are never equal
}

// How a query is going to be executed.
func ExampleQuery_Explain() {
	plan, err := query.MustParse(`events where run.tags.task == "5" and stream == "main" and payload.role == "user" limit 3`).Explain(time.Now())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// source  events
	// runs    tags.task = "5"
	//         run.tags["task"] == "5"
	// items   stream "main"
	// filter  payload.role == "user"
	// order   as found: by run, then as in the run; nothing is kept
	// limit   3, from row 1 on
}

// A condition that a search for near vectors takes.
func ExampleWhere() {
	db := exampleStore()
	defer db.Close()
	r, err := db.BeginRun(ctx, run.Meta{})
	if err != nil {
		log.Fatal(err)
	}
	docs := r.Vectors()
	if _, err := docs.Create(ctx, "docs", vector.Config{Dimension: 2, Metric: vector.Cosine}); err != nil {
		log.Fatal(err)
	}
	for i, year := range []int{2018, 2020, 2022} {
		metadata := fmt.Appendf(nil, `{"year": %d}`, year)
		if _, err := docs.Upsert(ctx, "docs", fmt.Sprint("doc", i), []float32{1, float32(i)}, metadata); err != nil {
			log.Fatal(err)
		}
	}
	recent, err := query.Where("meta.year >= $1", 2020)
	if err != nil {
		log.Fatal(err)
	}
	hits, err := docs.Search(ctx, "docs", []float32{1, 0}, 1, vector.Where(recent))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(hits[0].Key)
	// Output:
	// doc1
}

// Rows a page at a time: each begins behind the last row of the one before,
// whatever was written meanwhile.
func ExamplePage() {
	db := exampleStore()
	defer db.Close()
	q := query.MustParse(`kv select run.name, key order by value.age desc limit 3`)
	for {
		rows, next, err := query.Page(ctx, db, q)
		if err != nil {
			log.Fatal(err)
		}
		for _, row := range rows {
			fmt.Println(row.Values()...)
		}
		if next == "" {
			break
		}
		fmt.Println("… next page")
		// The cursor is a text: it may be kept, or be part of a link.
		if q, err = q.After(next); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// Oslo user/1
	// Rome user/1
	// Oslo user/2
	// … next page
	// Rome user/2
}
