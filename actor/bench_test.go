package actor

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// request is shaped like a shard's: the sender waits for its answer, so that
// there are never more messages under way than senders.
type request struct{ reply chan struct{} }

// BenchmarkCall is a round trip through the mailbox; msgs/batch is what one
// Receive found on average.
func BenchmarkCall(b *testing.B) {
	for _, senders := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			m := NewMailbox[request](1024)
			batches := 0
			owner := Go("owner", func() {
				buf, open := make([]request, 0, 256), true
				for open {
					buf, open = m.Receive(buf, nil)
					for _, r := range buf {
						r.reply <- struct{}{}
					}
					batches++
				}
			}, nil)
			inParallel(b.N, senders, func(n int) {
				r := request{make(chan struct{}, 1)}
				for range n {
					if err := m.Send(context.Background(), r); err != nil {
						b.Error(err)
						return
					}
					<-r.reply
				}
			})
			m.Close()
			owner.Wait()
			b.ReportMetric(float64(b.N)/float64(max(batches-1, 1)), "msgs/batch")
		})
	}
}

// BenchmarkSend does not wait for answers: senders fill the mailbox.
func BenchmarkSend(b *testing.B) {
	for _, senders := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			m := NewMailbox[int](1024)
			batches := 0
			owner := Go("owner", func() {
				buf, open := make([]int, 0, 256), true
				for open {
					buf, open = m.Receive(buf, nil)
					batches++
				}
			}, nil)
			inParallel(b.N, senders, func(n int) {
				for i := range n {
					if err := m.Send(ctx, i); err != nil {
						b.Error(err)
						return
					}
				}
			})
			m.Close()
			owner.Wait()
			b.ReportMetric(float64(b.N)/float64(max(batches-1, 1)), "msgs/batch")
		})
	}
}

// inParallel spreads total pieces of work over workers goroutines.
func inParallel(total, workers int, work func(n int)) {
	var wg sync.WaitGroup
	for w := range workers {
		n := total / workers
		if w < total%workers {
			n++
		}
		wg.Go(func() { work(n) })
	}
	wg.Wait()
}
