package measure

import (
	"runtime/metrics"
	"time"
)

// Result is what one cell gave in one round.
type Result struct {
	Ops     uint64        `json:"ops"`
	Elapsed time.Duration `json:"elapsed_ns"`
	CPU     time.Duration `json:"cpu_ns"` // of the process and its server, user and system
	GC      time.Duration `json:"gc_ns"`  // CPU time of the collector, as the runtime estimates it
	Allocs  uint64        `json:"allocs"`
	Bytes   uint64        `json:"bytes"`
	// Late is, of a cell with a fixed rate, how many operations that were due had
	// not been begun in the end. They are in Latency with the time they had
	// waited until then.
	Late uint64 `json:"late,omitempty"`
	// Service is how long operations took. Latency is how long they took a caller
	// who would not have waited for those before: from when they were due in a cell
	// with a fixed rate, else corrected.
	Service *Histogram `json:"service,omitempty"`
	Latency *Histogram `json:"latency,omitempty"`
}

// Rate returns operations a second.
func (r *Result) Rate() float64 { return per(float64(r.Ops), r.Elapsed.Seconds()) }

// CPUPerOp returns the CPU time of an operation, in microseconds.
func (r *Result) CPUPerOp() float64 { return per(float64(r.CPU.Nanoseconds())/1000, float64(r.Ops)) }

// AllocsPerOp returns how many allocations an operation makes.
func (r *Result) AllocsPerOp() float64 { return per(float64(r.Allocs), float64(r.Ops)) }

// BytesPerOp returns how many bytes an operation allocates.
func (r *Result) BytesPerOp() float64 { return per(float64(r.Bytes), float64(r.Ops)) }

// GCShare returns what part of the CPU time was the collector's.
func (r *Result) GCShare() float64 { return min(1, per(r.GC.Seconds(), r.CPU.Seconds())) }

func per(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// meter reads the counters of the process before and after.
type meter struct {
	servers []int
	begun   time.Time
	before  counters
}

type counters struct {
	cpu, gc       time.Duration
	allocs, bytes uint64
}

// begin reads the counters; servers are processes that work for this one.
func begin(servers []int) *meter {
	m := &meter{servers: servers, before: read(servers)}
	m.begun = time.Now()
	return m
}

// end adds what was used since begin to the result.
func (m *meter) end(r *Result) {
	r.Elapsed += time.Since(m.begun)
	after := read(m.servers)
	r.CPU += after.cpu - m.before.cpu
	r.GC += after.gc - m.before.gc
	r.Allocs += after.allocs - m.before.allocs
	r.Bytes += after.bytes - m.before.bytes
}

// What the runtime tells without stopping the world: callers who keep all
// processors busy would let this goroutine wait for seconds behind them.
const (
	gcMetric      = "/cpu/classes/gc/total:cpu-seconds"
	objectsMetric = "/gc/heap/allocs:objects" // but for tiny ones
	tinyMetric    = "/gc/heap/tiny/allocs:objects"
	bytesMetric   = "/gc/heap/allocs:bytes"
)

func read(servers []int) counters {
	sample := []metrics.Sample{{Name: gcMetric}, {Name: objectsMetric}, {Name: tinyMetric}, {Name: bytesMetric}}
	metrics.Read(sample)
	return counters{
		cpu:    CPUTime(servers),
		gc:     time.Duration(sample[0].Value.Float64() * float64(time.Second)),
		allocs: sample[1].Value.Uint64() + sample[2].Value.Uint64(),
		bytes:  sample[3].Value.Uint64(),
	}
}

// CPUTime returns the CPU time of this process so far, and of the servers.
func CPUTime(servers []int) time.Duration {
	total := ownCPU()
	for _, pid := range servers {
		total += processCPU(pid)
	}
	return total
}

// Rest waits until the process and its servers use less than a twentieth of a
// processor over an interval, for so long at most, and says whether they do.
func Rest(servers []int, interval, atMost time.Duration) bool {
	for end := time.Now().Add(atMost); ; {
		before, begun := CPUTime(servers), time.Now()
		time.Sleep(interval)
		if float64(CPUTime(servers)-before) < 0.05*float64(time.Since(begun))+float64(tick(servers)) {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
	}
}

// tick is how coarse the CPU time is told.
func tick(servers []int) time.Duration {
	if len(servers) == 0 {
		return 0
	}
	return time.Second / ticks
}
