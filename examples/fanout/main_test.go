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
	var resumed, executed, sum int
	_, err := fmt.Sscanf(out.String(), "killed with about 1500 of 3000 steps done\n%d runs resumed, %d steps executed here, the sum is %d", &resumed, &executed, &sum)
	require.NoError(t, err, out.String())
	require.Equal(t, steps*agents*(agents-1)/2, sum)
	require.Positive(t, resumed)
	require.Less(t, executed, agents*steps, "what the first process had recorded was not executed again")
}
