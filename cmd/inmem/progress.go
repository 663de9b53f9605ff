package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// barDelay is how long work may take before a bar shows: a flicker helps nobody.
const barDelay = 300 * time.Millisecond

// bar is a progress bar on standard error. A nil bar shows nothing.
type bar struct {
	app   *app
	p     *progressbar.ProgressBar
	total int64
	done  int64
	since time.Time
	shown bool
	stop  chan struct{}
	ended chan struct{}
}

// begin shows the progress of work of total units, bytes where it says so; -1 =
// nobody knows how many. Where standard error is no terminal it shows nothing.
// end must be called.
func (a *app) begin(what string, total int64, bytes bool) *bar {
	if !a.errTerm {
		return nil
	}
	b := &bar{
		app: a, total: total, since: time.Now(), stop: make(chan struct{}), ended: make(chan struct{}),
		p: progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(a.errOut), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(bytes), progressbar.OptionSetWidth(30),
			progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionSpinnerType(14),
			progressbar.OptionClearOnFinish(), progressbar.OptionUseIECUnits(true),
		),
	}
	a.mu.Lock()
	a.bar = b
	a.mu.Unlock()
	go b.run()
	return b
}

// run draws until the end: the caller's steps only count.
func (b *bar) run() {
	defer close(b.ended)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.draw()
		}
	}
}

// A bar draws for people: where the terminal fails there is nobody to tell.
func (b *bar) draw() {
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	if time.Since(b.since) < barDelay {
		return
	}
	b.shown = true
	if b.total < 0 {
		_ = b.p.Add(1)
		return
	}
	// A full bar would count as finished, which end is to say.
	_ = b.p.Set64(min(b.done, b.total-1))
}

// add counts n more units as done.
func (b *bar) add(n int64) {
	if b == nil {
		return
	}
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	b.done += n
}

// clear takes the bar off the line; the next draw brings it back. The caller
// has the lock.
func (b *bar) clear() {
	if b != nil && b.shown {
		_ = b.p.Clear()
	}
}

// end takes the bar away for good.
func (b *bar) end() {
	if b == nil {
		return
	}
	close(b.stop)
	<-b.ended
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	b.clear()
	b.app.bar = nil
}
