package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTour(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, tour(&out, t.TempDir()))
	require.Equal(t, `agent: prepares the refund
the store is closed, the agent waits
human: approves; no agent is there
agent: pays 59.70
result: 59.70 paid, approved by Kim
`, out.String())
}
