package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestTour(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, tour(&out, t.TempDir()))
	require.Equal(t, "The invoice is over 59.70, accounting knows: sent\n"+
		"killed at each of 13 moments: the same answer each time, no tool executed after its result was recorded\n", out.String())
}
