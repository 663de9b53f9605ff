package replaytest_test

import (
	"context"
	"testing"

	"inmem"
	"inmem/replaytest"
)

// A run was exported by
//
//	inmem run export --zstd -o testdata/refund.jsonl.zst ID
//
// and the agent that made it must still do what it did.
func Example() {
	agent := func(ctx context.Context, r *inmem.Run) error {
		_, err := inmem.Do(ctx, r, "look up the order", "#1234", func(ctx context.Context) (string, error) {
			return "", nil // not called: the recorded result is returned
		})
		return err
	}

	_ = func(t *testing.T) { // TestRefund
		replaytest.Run(t, "testdata/refund.jsonl.zst", agent)
	}
}
