package measure

import (
	"errors"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The longest duration that a histogram tells from longer ones, and its
// precision: 2 digits are 1 %, and 25 KB for each caller.
const (
	longest = int64(time.Minute)
	digits  = 2
)

// Histogram is how long operations took, from 1 ns to 1 minute, within 1 %. The
// zero value is not ready for use. It is JSON, in the encoding of HdrHistogram.
type Histogram struct{ h *hdrhistogram.Histogram }

// NewHistogram returns an empty one.
func NewHistogram() *Histogram { return &Histogram{hdrhistogram.New(1, longest, digits)} }

// Record counts an operation.
func (h *Histogram) Record(d time.Duration) { h.record(int64(d), 1) }

func (h *Histogram) record(ns, n int64) {
	// In range, and so without an error.
	_ = h.h.RecordValues(min(max(ns, 1), longest), n)
}

// Merge adds what the other has counted.
func (h *Histogram) Merge(other *Histogram) { h.h.Merge(other.h) }

// Count returns how many operations were counted.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// At returns what so many percent of the operations did not take longer than.
func (h *Histogram) At(percent float64) time.Duration {
	return time.Duration(h.h.ValueAtPercentile(percent))
}

// Max returns the longest.
func (h *Histogram) Max() time.Duration { return time.Duration(h.h.Max()) }

// Corrected returns the histogram with the operations added that a caller would
// have begun, one in each interval, while it waited for one that took longer:
// the same as to record each with RecordCorrectedValue, but after the cell, and
// so without cost in it.
func (h *Histogram) Corrected(interval time.Duration) *Histogram {
	out := NewHistogram()
	// The steps of one that took seconds must not be too many.
	step := int64(max(interval, time.Microsecond))
	for _, bar := range h.h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		v := min(bar.To, h.h.Max())
		for out.record(v, bar.Count); v-step >= step; {
			v -= step
			out.record(v, bar.Count)
		}
	}
	return out
}

// MarshalText encodes what was counted.
func (h *Histogram) MarshalText() ([]byte, error) {
	return h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// UnmarshalText decodes what MarshalText made.
func (h *Histogram) UnmarshalText(text []byte) error {
	if len(text) < 16 { // the decoder takes its header for granted
		return errors.New("a histogram is cut short")
	}
	decoded, err := hdrhistogram.Decode(text)
	if err == nil {
		h.h = decoded
	}
	return err
}
