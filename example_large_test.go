package inmem_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"inmem"
	"inmem/run"
)

// A recording is put while it is read, and read piece by piece.
func Example_largeValues() {
	dir, err := os.MkdirTemp("", "inmem")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := inmem.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	r, err := db.BeginRun(ctx, run.Meta{})
	if err != nil {
		log.Fatal(err)
	}

	recording := bytes.NewReader(bytes.Repeat([]byte("tick tock "), 1<<20)) // or a file, or what a server sends
	if _, err := r.KV().PutReader(ctx, "recording", recording, recording.Size()); err != nil {
		log.Fatal(err)
	}
	v, err := r.KV().GetReader(ctx, "recording")
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Seek(-5, io.SeekEnd); err != nil {
		log.Fatal(err)
	}
	end, err := io.ReadAll(v)
	fmt.Printf("%d bytes, version %d, at the end %q, %v\n", v.Size(), v.Version(), end, err)
	// Output: 10485760 bytes, version 2, at the end "tock ", <nil>
}
