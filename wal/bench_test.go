package wal

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

const benchRecord = 288

// benchLog is a new log on the operating system's disk.
func benchLog(b *testing.B) (dir string, l *Log) {
	dir = filepath.Join(b.TempDir(), "log")
	opts := Options{Now: func() int64 { return testNow }}
	require.NoError(b, vfs.OS.MkdirAll(dir, 0o755))
	require.NoError(b, Create(vfs.OS, dir, testID, opts))
	_, sc, err := readBy(Scan, vfs.OS, dir, Bounds{First: 1})
	require.NoError(b, err)
	l, err = Open(vfs.OS, dir, testID, sc, opts)
	require.NoError(b, err)
	return dir, l
}

func benchAppend(b *testing.B, l *Log, payload []byte, n, batch int, mode op.Durability) {
	for i := range n {
		if err := l.Reserve(FrameSize(len(payload))); err != nil {
			b.Fatal(err)
		}
		payload[15] = byte(i)
		l.End(append(l.Begin(), payload...))
		if i%batch == batch-1 {
			if err := l.Commit(mode); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkAppend appends records of 288 bytes, with a commit for each, or for
// each 16.
func BenchmarkAppend(b *testing.B) {
	for name, c := range map[string]struct {
		mode  op.Durability
		batch int
	}{
		"batched/1":  {op.Batched, 1},
		"batched/16": {op.Batched, 16},
		"strict/1":   {op.Strict, 1},
		"strict/256": {op.Strict, 256},
		"async/1":    {op.Async, 1},
	} {
		b.Run(name, func(b *testing.B) {
			_, l := benchLog(b)
			payload := make([]byte, benchRecord)
			b.SetBytes(FrameSize(benchRecord))
			b.ReportAllocs()
			b.ResetTimer()
			benchAppend(b, l, payload, b.N, c.batch, c.mode)
			b.StopTimer()
			mustClose(b, l)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkScan reads a log of a million records.
func BenchmarkScan(b *testing.B) {
	const records = 1_000_000
	dir, l := benchLog(b)
	benchAppend(b, l, make([]byte, benchRecord), records, 1000, op.Async)
	mustClose(b, l)
	b.SetBytes(records * FrameSize(benchRecord))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		_, err := Scan(vfs.OS, dir, testID, Bounds{First: 1}, func(Frame) error { n++; return nil })
		require.NoError(b, err)
		require.Equal(b, records, n)
	}
	b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
