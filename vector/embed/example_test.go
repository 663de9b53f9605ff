package embed_test

import (
	"context"
	"fmt"
	"log"

	"inmem"
	"inmem/run"
	"inmem/vector"
	"inmem/vector/embed"
	"inmem/vfs"
)

// A text is found by what is like it.
func Example() {
	ctx := context.Background()
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	memory, err := db.Space(ctx, run.Namespace{App: "support", Agent: "triage"})
	if err != nil {
		log.Fatal(err)
	}

	// A program would ask a model: embed.Client{URL: …, Model: …}.
	var embedder vector.Embedder = embed.DefaultNGrams
	texts := []string{"The customer wants a refund for flight 512", "The customer prefers an aisle seat", "Baggage was lost in Oslo"}
	vectors, err := embedder.Embed(ctx, texts)
	if err != nil {
		log.Fatal(err)
	}
	notes := memory.Vectors()
	if _, err := notes.Create(ctx, "notes", vector.Config{Dimension: len(vectors[0]), Metric: vector.Cosine}); err != nil {
		log.Fatal(err)
	}
	for i, text := range texts {
		metadata := fmt.Appendf(nil, `{"text":%q}`, text)
		if _, err := notes.Upsert(ctx, "notes", fmt.Sprint("note ", i), vectors[i], metadata); err != nil {
			log.Fatal(err)
		}
	}

	query, err := embedder.Embed(ctx, []string{"which seats does the customer prefer?"})
	if err != nil {
		log.Fatal(err)
	}
	hits, err := notes.Search(ctx, "notes", query[0], 1)
	fmt.Printf("%s %s %v\n", hits[0].Key, hits[0].Metadata, err)
	// Output: note 1 {"text":"The customer prefers an aisle seat"} <nil>
}
