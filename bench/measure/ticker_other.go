//go:build !linux

package measure

import "time"

// ticker is the runtime's: coarser than the beat on many systems, alike for all.
type ticker struct{ t *time.Ticker }

func newTicker(d time.Duration) (*ticker, error) { return &ticker{time.NewTicker(d)}, nil }

func (t *ticker) wait() error { <-t.t.C; return nil }

func (t *ticker) stop() { t.t.Stop() }
