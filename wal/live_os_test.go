package wal

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/vfs"
)

// TestScanOnTheOperatingSystem reads logs beside their owner, who writes for
// some time, closes them and opens them again.
func TestScanOnTheOperatingSystem(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = 20_000
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, vfs.OS.MkdirAll(dir, 0o755))
	require.NoError(t, Create(vfs.OS, dir, testID, opts))
	var written, synced atomic.Uint64
	done := make(chan error, 1)
	go func() { done <- ownerOnTheOS(dir, opts, &written, &synced) }()
	scans, torn, last := 0, 0, uint64(0)
	for running := true; running; scans++ {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
		bounds := Bounds{First: 1, Synced: synced.Load()}
		bounds.After = bounds.Synced * uint64(scans%2)
		least := written.Load()
		sc, err := Scan(vfs.OS, dir, testID, bounds, func(f Frame) error {
			if !bytes.Equal(f.Payload, payloadOf(f.Sequence, byte(f.Sequence%3), 24+int(f.Sequence*37%900))) {
				return fmt.Errorf("sequence %d was not appended so", f.Sequence)
			}
			return nil
		})
		require.NoError(t, err)
		require.GreaterOrEqual(t, sc.Last, max(least, last))
		if last = sc.Last; sc.Torn > 0 {
			torn++
		}
	}
	t.Logf("%d scans of up to %d frames, %d saw a write under way", scans, last, torn)
	require.Greater(t, scans, 5)
}

// ownerOnTheOS is an owner's life on the operating system's disk.
func ownerOnTheOS(dir string, opts Options, written, synced *atomic.Uint64) error {
	for range 4 {
		sc, err := Scan(vfs.OS, dir, testID, Bounds{First: 1}, func(Frame) error { return nil })
		if err != nil {
			return err
		}
		l, err := Open(vfs.OS, dir, testID, sc, opts)
		if err != nil {
			return err
		}
		for k := range 150 {
			for range 1 + k%7 {
				size := 24 + int(l.Next()*37%900)
				if err := l.Reserve(FrameSize(size)); err != nil {
					return err
				}
				seq := l.Next() // a seal may have come in between
				l.End(append(l.Begin(), payloadOf(seq, byte(seq%3), 24+int(seq*37%900))...))
			}
			if err := l.Commit(modes[k%2]); err != nil {
				return err
			}
			written.Store(l.Next() - 1)
			synced.Store(l.Synced())
		}
		if _, err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
