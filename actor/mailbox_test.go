package actor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMailboxKeepsOrder(t *testing.T) {
	m := NewMailbox[int](8)
	require.Equal(t, 8, m.Cap())
	for i := range 5 {
		require.NoError(t, m.Send(t.Context(), i))
	}
	require.Equal(t, 5, m.Len())

	buf := make([]int, 0, 3)
	batch, open := m.Receive(buf, nil)
	assert.True(t, open)
	assert.Equal(t, []int{0, 1, 2}, batch, "no more than the buffer holds")
	assert.Same(t, &buf[:1][0], &batch[0], "in the buffer's memory")

	batch, open = m.Receive(batch, nil)
	assert.True(t, open)
	assert.Equal(t, []int{3, 4}, batch)
	assert.Zero(t, m.Len())
}

func TestReceiveWithoutBufferTakesOne(t *testing.T) {
	m := NewMailbox[int](2)
	require.NoError(t, m.Send(t.Context(), 1))
	require.NoError(t, m.Send(t.Context(), 2))
	for want := 1; want <= 2; want++ {
		batch, open := m.Receive(nil, nil)
		assert.True(t, open)
		assert.Equal(t, []int{want}, batch)
	}
}

func TestReceiveForgetsTheLastBatch(t *testing.T) {
	m := NewMailbox[*int](4)
	for range 3 {
		require.NoError(t, m.Send(t.Context(), new(int)))
	}
	batch, _ := m.Receive(make([]*int, 0, 4), nil)
	require.Len(t, batch, 3)
	require.NoError(t, m.Send(t.Context(), new(int)))
	batch, _ = m.Receive(batch, nil)
	require.Len(t, batch, 1)
	assert.Equal(t, []*int{nil, nil}, batch[1:3], "nothing keeps old messages alive")
}

func TestReceiveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[string](1)
		got := make(chan []string)
		for _, wake := range []<-chan time.Time{nil, make(chan time.Time)} {
			go func() {
				batch, _ := m.Receive(nil, wake)
				got <- batch
			}()
			synctest.Wait()
			require.NoError(t, m.Send(t.Context(), "hello"))
			assert.Equal(t, []string{"hello"}, <-got)
		}
	})
}

func TestReceiveWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[string](1)
		start := time.Now()
		batch, open := m.Receive(nil, time.After(time.Second))
		assert.True(t, open)
		assert.Empty(t, batch)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestMessagesGoBeforeWake(t *testing.T) {
	m := NewMailbox[string](1)
	wake := make(chan time.Time, 1)
	wake <- time.Time{}
	require.NoError(t, m.Send(t.Context(), "hello"))
	batch, _ := m.Receive(nil, wake)
	assert.Equal(t, []string{"hello"}, batch)
	assert.Len(t, wake, 1, "the wake is still there")
	batch, open := m.Receive(nil, wake)
	assert.True(t, open)
	assert.Empty(t, batch)
}

func TestSendRefusesAnEndedContext(t *testing.T) {
	m := NewMailbox[int](1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, m.Send(ctx, 1), context.Canceled)
	assert.Zero(t, m.Len(), "though there was room")
}

func TestSendWaitsWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[int](1)
		require.NoError(t, m.Send(t.Context(), 1))
		sent := make(chan error, 1)
		go func() { sent <- m.Send(context.Background(), 2) }()
		synctest.Wait()
		require.Empty(t, sent, "it waits")

		batch, _ := m.Receive(nil, nil)
		assert.Equal(t, []int{1}, batch)
		require.NoError(t, <-sent)
		batch, _ = m.Receive(nil, nil)
		assert.Equal(t, []int{2}, batch)
	})
}

func TestSendGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[int](1)
		require.NoError(t, m.Send(t.Context(), 1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := m.Send(ctx, 2)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, ErrClosed)

		m.Close()
		batch, _ := m.Receive(make([]int, 0, 2), nil)
		assert.Equal(t, []int{1}, batch, "the message was never accepted")
	})
}

func TestCloseDeliversWhatWasAccepted(t *testing.T) {
	m := NewMailbox[int](4)
	for i := range 3 {
		require.NoError(t, m.Send(t.Context(), i))
	}
	m.Close()
	m.Close()
	assert.ErrorIs(t, m.Send(t.Context(), 3), ErrClosed)

	batch, open := m.Receive(make([]int, 0, 4), nil)
	assert.True(t, open, "open until a batch is empty")
	assert.Equal(t, []int{0, 1, 2}, batch)
	for _, wake := range []<-chan time.Time{nil, make(chan time.Time)} {
		batch, open = m.Receive(batch, wake)
		assert.False(t, open)
		assert.Empty(t, batch)
	}
}

// The owner may close its own mailbox: a sender that waits for room does not
// keep Close from returning.
func TestCloseRefusesWaitingSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMailbox[int](1)
		require.NoError(t, m.Send(t.Context(), 0))
		errs := make(chan error, 3)
		for i := range cap(errs) {
			go func() { errs <- m.Send(context.Background(), i) }()
		}
		synctest.Wait()
		require.Empty(t, errs)
		m.Close()
		for range cap(errs) {
			assert.ErrorIs(t, <-errs, ErrClosed)
		}
	})
}

func TestCloseWakesAWaitingOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wake := range []<-chan time.Time{nil, make(chan time.Time)} {
			m := NewMailbox[int](1)
			ended := make(chan bool)
			go func() {
				_, open := m.Receive(nil, wake)
				ended <- !open
			}()
			synctest.Wait()
			m.Close()
			assert.True(t, <-ended)
		}
	})
}

// message says who sent it and the how manieth of that sender it is.
type message struct{ sender, n int }

// accepted sends until the mailbox refuses and returns what was accepted. Some
// sends have a context that somebody cancels.
func accepted(m *Mailbox[message], sender int) (sent []message, err error) {
	for n := 0; ; n++ {
		ctx, cancel := context.WithCancel(context.Background())
		if n%7 == 6 {
			go cancel()
		}
		msg := message{sender, n}
		err := m.Send(ctx, msg)
		cancel()
		switch {
		case err == nil:
			sent = append(sent, msg)
		case errors.Is(err, ErrClosed):
			return sent, nil
		case !errors.Is(err, context.Canceled):
			return sent, fmt.Errorf("sender %d, message %d: %w", sender, n, err)
		}
	}
}

// Whatever Close races with: what was accepted is received, once, in each
// sender's order, and nothing else is.
func TestEveryAcceptedMessageIsReceived(t *testing.T) {
	for round := range 60 {
		const senders = 16
		m := NewMailbox[message](round % 9)
		var (
			wg   sync.WaitGroup
			sent [senders][]message
			errs [senders]error
		)
		for s := range senders {
			wg.Go(func() { sent[s], errs[s] = accepted(m, s) })
		}
		closer := make(chan struct{})
		wg.Go(func() { <-closer; m.Close() })
		wg.Go(func() { <-closer; m.Close() })

		var got [senders][]message
		buf, open, received := make([]message, 0, 5), true, 0
		for open {
			buf, open = m.Receive(buf, nil)
			for _, msg := range buf {
				got[msg.sender] = append(got[msg.sender], msg)
				if received++; received == 20*round+1 {
					close(closer)
				}
			}
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		require.Equal(t, sent, got)
	}
}

// A mailbox used from one goroutine is a bounded slice.
func TestMailboxAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMailbox[int](rapid.IntRange(1, 5).Draw(t, "capacity"))
		var model []int
		closed := false
		full, cancel := context.WithCancel(context.Background())
		cancel()
		wake := make(chan time.Time)
		close(wake)
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if len(model) == m.Cap() && !closed {
					require.ErrorIs(t, m.Send(full, 0), context.Canceled)
					return
				}
				v := rapid.Int().Draw(t, "message")
				err := m.Send(context.Background(), v)
				if closed {
					require.ErrorIs(t, err, ErrClosed)
					return
				}
				require.NoError(t, err)
				model = append(model, v)
			},
			"receive": func(t *rapid.T) {
				room := rapid.IntRange(1, 6).Draw(t, "room")
				n := min(room, len(model))
				batch, open := m.Receive(make([]int, 0, room), wake)
				require.True(t, slices.Equal(model[:n], batch), "want %v, got %v", model[:n], batch)
				if closed {
					require.Equal(t, n > 0, open)
				} else {
					require.True(t, open)
				}
				model = model[n:]
			},
			"close": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "chance") == 0 {
					m.Close()
					closed = true
				}
			},
			"": func(t *rapid.T) { require.Equal(t, len(model), m.Len()) },
		})
	})
}
