package ordered

import "runtime/metrics"

// seconds is processor time since the program began.
type seconds struct{ gc, busy float64 }

// cpuSeconds reads the processor time of the collector and of all that was not
// idle. It is brought up to date at each collection, so it is a measure for long
// runs only.
func cpuSeconds() seconds {
	s := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/user:cpu-seconds"},
	}
	metrics.Read(s)
	gc := s[0].Value.Float64() - s[1].Value.Float64()
	return seconds{gc: gc, busy: gc + s[2].Value.Float64()}
}
