package measure

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSummarize(t *testing.T) {
	assert.Equal(t, Summary{3, 1, 9}, Summarize([]float64{9, 1, 3}))
	assert.Equal(t, Summary{2.5, 1, 9}, Summarize([]float64{9, 1, 3, 2}))
	assert.Equal(t, Summary{7, 7, 7}, Summarize([]float64{7}))
	assert.True(t, math.IsNaN(Summarize(nil).Median))
	values := []float64{3, 1, 2}
	Summarize(values)
	assert.Equal(t, []float64{3, 1, 2}, values, "the rounds stay in their order")
}

func TestHistogram(t *testing.T) {
	h := NewHistogram()
	for i := 1; i <= 1000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	h.Record(time.Hour) // longer than it can tell
	h.Record(-1)        // a clock that went back
	assert.EqualValues(t, 1002, h.Count())
	for percent, want := range map[float64]time.Duration{50: 500 * time.Microsecond, 99: 990 * time.Microsecond} {
		assert.InEpsilon(t, float64(want), float64(h.At(percent)), 0.015)
	}
	assert.InEpsilon(t, float64(time.Minute), float64(h.Max()), 0.015)

	b, err := json.Marshal(Result{Latency: h})
	require.NoError(t, err)
	var back Result
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, h.Count(), back.Latency.Count())
	assert.Equal(t, h.At(99), back.Latency.At(99))
	assert.Error(t, json.Unmarshal([]byte(`{"latency":"bm90"}`), &back))

	all := NewHistogram()
	all.Merge(h)
	all.Merge(back.Latency)
	assert.EqualValues(t, 2004, all.Count())
}

// A caller that stood still for 100 ms would have begun about a hundred
// operations, and each would have waited for the rest of the time.
func TestCorrected(t *testing.T) {
	h := NewHistogram()
	for range 900 {
		h.Record(time.Millisecond)
	}
	h.Record(100 * time.Millisecond)
	c := h.Corrected(time.Millisecond)
	assert.InDelta(t, 1000, c.Count(), 2)
	assert.Equal(t, h.Max(), c.Max())
	assert.InDelta(t, float64(time.Millisecond), float64(h.At(95)), float64(50*time.Microsecond))
	assert.InDelta(t, float64(50*time.Millisecond), float64(c.At(95)), float64(2*time.Millisecond))
	assert.Equal(t, h.Count(), h.Corrected(time.Second).Count(), "nothing took longer")
}

func TestClosedCell(t *testing.T) {
	const callers = 3
	var calls [callers]atomic.Int64
	ops := make([]Op, callers)
	for i := range ops {
		ops[i] = func() error { calls[i].Add(1); time.Sleep(time.Millisecond); return nil }
	}
	r, err := Run(t.Context(), Plan{For: 60 * time.Millisecond, WarmUp: 20 * time.Millisecond}, ops)
	require.NoError(t, err)
	all := int64(0)
	for i := range calls {
		assert.Positive(t, calls[i].Load())
		all += calls[i].Load()
	}
	assert.Positive(t, r.Ops)
	assert.Less(t, int64(r.Ops), all, "the warm-up does not count")
	assert.GreaterOrEqual(t, r.Elapsed, 60*time.Millisecond)
	assert.LessOrEqual(t, r.Rate(), 3000.0, "three callers, a millisecond each")
	assert.GreaterOrEqual(t, r.Service.At(50), 990*time.Microsecond)
	assert.GreaterOrEqual(t, r.Service.Count(), int64(r.Ops), "operations that take long are timed each")
	assert.GreaterOrEqual(t, r.Latency.Count(), r.Service.Count())
}

var sink []byte

func TestCellCounts(t *testing.T) {
	op := func() error { sink = make([]byte, 1024); return nil }
	r, err := Run(t.Context(), Plan{For: 50 * time.Millisecond, WarmUp: 10 * time.Millisecond}, []Op{op})
	require.NoError(t, err)
	assert.InDelta(t, 1, r.AllocsPerOp(), 0.1)
	assert.InDelta(t, 1024, r.BytesPerOp(), 100)
	assert.Less(t, r.Service.Count(), int64(r.Ops), "what is fast is not timed each")
	assert.Positive(t, r.Service.Count())
	if runtime.GOOS != "windows" {
		assert.Positive(t, r.CPU)
		assert.LessOrEqual(t, r.GCShare(), 1.0)
	}
}

// A cell that is too short for one operation lasts until one has ended.
func TestCellHasAnOperation(t *testing.T) {
	op := func() error { time.Sleep(10 * time.Millisecond); return nil }
	r, err := Run(t.Context(), Plan{For: time.Microsecond}, []Op{op})
	require.NoError(t, err)
	assert.EqualValues(t, 1, r.Ops)
}

func TestCellFails(t *testing.T) {
	broken := errors.New("broken")
	for _, rate := range []int{0, 5000} {
		var calls atomic.Int64
		ops := []Op{
			func() error {
				if calls.Add(1) > 10 {
					return broken
				}
				return nil
			},
			func() error { return nil },
		}
		_, err := Run(t.Context(), Plan{For: 50 * time.Millisecond, Rate: rate}, ops)
		assert.ErrorIs(t, err, broken, rate)

		ctx, stop := context.WithCancel(t.Context())
		ops = []Op{func() error { stop(); return nil }}
		begun := time.Now()
		_, err = Run(ctx, Plan{For: 20 * time.Second, Rate: rate}, ops)
		assert.ErrorIs(t, err, context.Canceled, rate)
		assert.Less(t, time.Since(begun), 10*time.Second)
	}
}

func TestOpenCell(t *testing.T) {
	ops := []Op{func() error { return nil }, func() error { return nil }}
	r, err := Run(t.Context(), Plan{For: 100 * time.Millisecond, WarmUp: 20 * time.Millisecond, Rate: 2000}, ops)
	require.NoError(t, err)
	assert.InDelta(t, 200, float64(r.Ops), 2)
	assert.Zero(t, r.Late)
	assert.EqualValues(t, r.Ops, r.Latency.Count())
	assert.Less(t, r.Latency.At(50), 50*time.Millisecond)
}

// A store that stands still is charged for all operations that were due
// meanwhile, not for the one alone that it kept.
func TestOpenCellOmitsNothing(t *testing.T) {
	var calls atomic.Int64
	op := func() error {
		if calls.Add(1) == 50 {
			time.Sleep(100 * time.Millisecond)
		}
		return nil
	}
	r, err := Run(t.Context(), Plan{For: 200 * time.Millisecond, Rate: 1000}, []Op{op})
	require.NoError(t, err)
	assert.EqualValues(t, 200, r.Ops)
	assert.GreaterOrEqual(t, r.Latency.At(80), 40*time.Millisecond, "half of them waited")
}

// What a store never comes to is counted as well.
func TestOpenCellCountsWhatIsLeft(t *testing.T) {
	op := func() error { time.Sleep(5 * time.Millisecond); return nil }
	r, err := Run(t.Context(), Plan{For: 50 * time.Millisecond, Rate: 4000}, []Op{op})
	require.NoError(t, err)
	assert.Positive(t, r.Late)
	assert.EqualValues(t, 200, r.Ops+r.Late)
	assert.EqualValues(t, 200, r.Latency.Count())
	assert.GreaterOrEqual(t, r.Latency.At(50), 30*time.Millisecond)
}

func TestScheduleIsDueOnBeats(t *testing.T) {
	s := &schedule{}
	assert.Zero(t, s.at(0, 1000))
	assert.Equal(t, time.Millisecond, s.at(1, 1000))
	assert.Equal(t, beat, s.at(1, 50_000))
	assert.Equal(t, beat, s.at(10, 50_000))
	assert.Equal(t, 2*beat, s.at(11, 50_000))
}

func TestPasses(t *testing.T) {
	prepared, checked, tasks := 0, 0, atomic.Int64{}
	prepare := func() (*Pass, error) {
		prepared++
		pass := &Pass{Check: func() error { checked++; return nil }}
		for range 100 {
			pass.Tasks = append(pass.Tasks, func(record func(time.Duration)) error {
				tasks.Add(1)
				record(time.Millisecond)
				record(2 * time.Millisecond)
				return nil
			})
		}
		return pass, nil
	}
	r, err := Passes(t.Context(), Plan{For: 20 * time.Millisecond}, prepare)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, r.Elapsed, 20*time.Millisecond)
	assert.Greater(t, prepared, 1)
	assert.Equal(t, prepared, checked)
	assert.EqualValues(t, prepared*100, tasks.Load())
	assert.EqualValues(t, prepared*200, r.Ops)

	broken := errors.New("broken")
	_, err = Passes(t.Context(), Plan{}, func() (*Pass, error) { return nil, broken })
	assert.ErrorIs(t, err, broken)
	_, err = Passes(t.Context(), Plan{}, func() (*Pass, error) {
		return &Pass{Check: func() error { return broken }}, nil
	})
	assert.ErrorIs(t, err, broken)
}

func TestRest(t *testing.T) {
	assert.True(t, Rest(nil, 20*time.Millisecond, 10*time.Second))
	if runtime.GOOS == "windows" {
		t.Skip("the system does not tell what CPU time is used")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
		}
	}()
	assert.False(t, Rest(nil, 50*time.Millisecond, 100*time.Millisecond))
	stop()
	<-done
}

func TestEnvironment(t *testing.T) {
	e := Describe(t.TempDir(), "-quick", 7)
	assert.Equal(t, runtime.Version(), e.Go)
	assert.EqualValues(t, 7, e.Seed)
	assert.NotEmpty(t, e.Date)
	const mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n"
	for dir, want := range map[string]string{"/home": "ext4 on /dev/a", "/tmp": "tmpfs on tmpfs", "/tmpx/y": "xfs on /dev/b"} {
		assert.Equal(t, want, fileSystem(dir, mounts))
	}
	assert.Equal(t, "Fast 1", processor("processor : 0\nmodel name\t: Fast 1\n"))
	assert.EqualValues(t, 2048, kilobytes("VmPeak:\t 9 kB\nVmRSS:\t 2 kB\n", "VmRSS:"))
	if runtime.GOOS == "linux" {
		assert.Positive(t, Resident(os.Getpid()))
		assert.NotEmpty(t, e.FileSystem)
	}
	assert.Zero(t, Resident(-1))
	assert.Zero(t, processCPU(-1))
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/a", make([]byte, 10_000), 0o644))
	n, err := Disk(dir)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, int64(10_000))
	require.NoError(t, os.Truncate(dir+"/a", 1<<30))
	holes, err := Disk(dir)
	require.NoError(t, err)
	if runtime.GOOS == "linux" {
		assert.Less(t, holes, int64(1<<20))
	}
}

func TestFloors(t *testing.T) {
	for _, f := range Floors() {
		t.Run(f.Name, func(t *testing.T) {
			v, err := f.Measure(t.Context(), t.TempDir(), 5*time.Millisecond)
			require.NoError(t, err)
			assert.Positive(t, v)
		})
	}
}
