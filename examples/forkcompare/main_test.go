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
	require.Equal(t, `the run:
  searches flights
  asks the model, which likes direct flights
  books HAT030
  result: HAT030 for 512
the fork, with the cheap flight chosen:
  books HAT155
  result: HAT155 for 289
they part at:
  step choose: {"number":"HAT030","price":512,"stops":0}, not {"number":"HAT155","price":289,"stops":1}
what differs:
  cell booking, /data/number: "HAT030", not "HAT155"
  cell booking, /data/price: 512, not 289
  cell booking, /data/stops: 0, not 1
`, out.String())
}
