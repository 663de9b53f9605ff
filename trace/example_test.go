package trace_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"inmem"
	"inmem/run"
	"inmem/trace"
	"inmem/vfs"
)

func ExampleStore_Tree() {
	now := time.UnixMilli(1_700_000_000_000)
	db, err := inmem.Open("data", &inmem.Options{FS: vfs.NewMem(), Now: func() time.Time { return now }})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	r, err := db.BeginRun(ctx, run.Meta{Name: "example"})
	if err != nil {
		log.Fatal(err)
	}
	spans := r.Trace()

	answer, err := spans.Start(ctx, trace.Start{Kind: trace.Decision, Name: "answer the ticket"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = spans.Record(ctx,
		trace.Start{
			Kind: trace.ModelCall, Name: "chat", Parent: answer,
			Attributes: map[string]string{trace.AttrRequestModel: "small"},
		},
		trace.Finish{At: now.Add(2 * time.Second), Usage: trace.Usage{InputTokens: 1200, OutputTokens: 80, Cost: 0.002}})
	if err != nil {
		log.Fatal(err)
	}
	search, err := spans.Start(ctx, trace.Start{Kind: trace.ToolCall, Name: "search", Parent: answer, Input: []byte(`{"q": "invoice"}`)})
	if err != nil {
		log.Fatal(err)
	}
	if err := spans.Finish(ctx, search, trace.Finish{Error: "no such index", At: now.Add(time.Second)}); err != nil {
		log.Fatal(err)
	}

	roots, err := spans.Tree(ctx)
	if err != nil {
		log.Fatal(err)
	}
	var show func(nodes []*trace.Node, depth int)
	show = func(nodes []*trace.Node, depth int) {
		for _, n := range nodes {
			total := n.Total()
			fmt.Printf("%s%s %q %v, %v, %d tokens\n", strings.Repeat("  ", depth), n.Kind, n.Name, n.Status,
				n.Duration(), total.InputTokens+total.OutputTokens)
			show(n.Children, depth+1)
		}
	}
	show(roots, 0)
	// Output:
	// decision "answer the ticket" open, 0s, 1280 tokens
	//   model_call "chat" ok, 2s, 1280 tokens
	//   tool_call "search" error, 1s, 0 tokens
}
