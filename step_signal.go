package inmem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"inmem/event"
	"inmem/step"
)

// signalStreams leads the names of the event streams that signals are in.
const signalStreams = "inmem.signal/"

// signal is the payload of a signal's event.
type signal struct {
	Value json.RawMessage `json:"value"`
}

// Signal sends a value, as JSON, to the agent of the run: the next Await of the
// name takes it, now or whenever the agent comes to it, in whatever process.
// Signals of a name are taken in the order in which they were sent, each once.
// It is an event of the run, as durable as one, and returns its number among the
// signals of the name. With a handle of DB.Run anybody can send one while the
// run is active. Errors: those of event.Store.Append.
func (r *Run) Signal(ctx context.Context, name string, v any) (uint64, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("inmem: the value of signal %q cannot be stored: %w", name, err)
	}
	payload, err := json.Marshal(signal{b})
	if err != nil {
		return 0, err
	}
	e, err := r.Events().Append(ctx, signalStreams+name, event.New{Type: "signal", Payload: payload})
	return e.Sequence, err
}

// Timeout lets an Await end with ErrTimeout where its signal has not come after
// d, counted from its first call.
func Timeout(d time.Duration) StepOption { return func(o *stepOptions) { o.timeout = d } }

// Await waits for a signal of the name and returns its value: the one that it
// got the first time. It is a step; see Do. It may wait for days, over restarts,
// and takes little memory meanwhile. With the option Timeout it may end with
// ErrTimeout; it returns ctx.Err() where ctx ends before.
func Await[T any](ctx context.Context, r *Run, name string, opts ...StepOption) (T, error) {
	v, err := inStep[T](ctx, r, step.Await, name, nil, opts, func(ctx context.Context, s *scope) ([]byte, error) {
		return s.takeSignal(ctx)
	})
	var failed *StepError
	if errors.As(err, &failed) && failed.Message == ErrTimeout.Error() {
		err = fmt.Errorf("%w: %q", ErrTimeout, name)
	}
	return v, err
}

// takeSignal waits for the next signal and records that it was taken.
func (s *scope) takeSignal(ctx context.Context) ([]byte, error) {
	r := s.work.run
	var timer <-chan time.Time
	if s.options.timeout > 0 {
		if s.at == 0 {
			s.at = r.db.store.Clock.Now() + s.options.timeout.Milliseconds()
			if err := s.settle(ctx, step.Record{Status: step.Open, At: s.at}); err != nil {
				return nil, err
			}
		}
		t := time.NewTimer(time.Duration(max(s.at-r.db.store.Clock.Now(), 0)) * time.Millisecond)
		defer t.Stop()
		timer = t.C
	}
	bell := make(chan struct{}, 1)
	defer r.handle.Listen(bell)()
	for {
		var result []byte
		err := r.Update(ctx, func(tx *Tx) (err error) {
			result, err = s.takeSignalIn(ctx, tx)
			return err
		})
		if result != nil || err != nil {
			return result, err
		}
		if s.at != 0 && r.db.store.Clock.Now() >= s.at {
			message := ErrTimeout.Error()
			if err := s.settle(ctx, step.Record{Status: step.Failed, Result: []byte(message)}); err != nil {
				return nil, err
			}
			return nil, &StepError{Run: r.ID(), Path: s.path.String(), Step: s.name, Message: message}
		}
		if err := s.await(ctx, bell, timer); err != nil {
			return nil, err
		}
	}
}

// takeSignalIn takes the next signal, if it has come, and records it as the
// step's result.
func (s *scope) takeSignalIn(ctx context.Context, tx *Tx) ([]byte, error) {
	run := (*txFace)(tx)
	taken, err := step.Taken(run, s.name)
	if err != nil {
		return nil, err
	}
	for e, err := range tx.Events().Read(ctx, signalStreams+s.name, event.After(taken), event.Limit(1)) {
		var sent signal
		if err == nil {
			err = json.Unmarshal(e.Payload, &sent)
		}
		if sent.Value == nil {
			sent.Value = json.RawMessage("null") // somebody appended an event of their own
		}
		if err == nil {
			err = step.Take(ctx, run, s.name, e.Sequence)
		}
		if err == nil {
			rec := step.Record{Status: step.Done, Kind: s.kind, Name: s.name, Fingerprint: s.fingerprint, Result: sent.Value}
			err = s.settleIn(ctx, tx, rec)
		}
		return sent.Value, err
	}
	return nil, nil
}
