package inmem

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"inmem/step"
)

// value is a step whose result is another each time: it is taken once, and
// recorded without a span.
func value[T any](ctx context.Context, r *Run, name string, take func() (T, error)) (T, error) {
	return inStep[T](ctx, r, step.Value, name, nil, nil, func(ctx context.Context, s *scope) ([]byte, error) {
		result, err := encoded(take())
		if err != nil {
			return nil, err
		}
		return result, s.settle(ctx, step.Record{Status: step.Done, Result: result})
	})
}

// settle records a step that has no span.
func (s *scope) settle(ctx context.Context, rec step.Record) error {
	rec.Kind, rec.Name, rec.Fingerprint = s.kind, s.name, s.fingerprint
	return s.work.run.Update(ctx, func(tx *Tx) error { return s.settleIn(ctx, tx, rec) })
}

func (s *scope) settleIn(ctx context.Context, tx *Tx, rec step.Record) error {
	old, err := step.Get((*txFace)(tx), s.path)
	if err != nil {
		return err
	}
	return step.Put(ctx, (*txFace)(tx), s.path, rec, old)
}

// Now returns the time, by the store's clock, to the millisecond, in UTC: as it
// was when the agent asked the first time. It is a step; see Do.
func (r *Run) Now(ctx context.Context) (time.Time, error) {
	ms, err := value(ctx, r, "now", func() (int64, error) { return r.db.store.Clock.Now(), nil })
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(ms).UTC(), nil
}

// UUID returns a random UUID of version 7: the one that the agent got the first
// time. It is a step; see Do.
func (r *Run) UUID(ctx context.Context) (string, error) {
	return value(ctx, r, "uuid", func() (string, error) {
		id, err := uuid.NewV7()
		return id.String(), err
	})
}

// Rand returns a source of random numbers: with the seed that it had the first
// time. It is a step; see Do.
func (r *Run) Rand(ctx context.Context) (*rand.Rand, error) {
	seed, err := value(ctx, r, "rand", func() ([2]uint64, error) { return [2]uint64{rand.Uint64(), rand.Uint64()}, nil })
	if err != nil {
		return nil, err
	}
	return rand.New(rand.NewPCG(seed[0], seed[1])), nil
}

// Sleep waits for d, by the store's clock, from when the agent called it the
// first time: after a restart it waits for what is left, which may be nothing.
// It is a step; see Do. It returns ctx.Err() where ctx ends before.
func (r *Run) Sleep(ctx context.Context, d time.Duration) error {
	_, err := inStep[struct{}](ctx, r, step.Sleep, "sleep", d, nil, func(ctx context.Context, s *scope) ([]byte, error) {
		s.at = r.db.store.Clock.Now() + max(d, 0).Milliseconds()
		result := []byte("{}")
		if err := s.settle(ctx, step.Record{Status: step.Done, At: s.at, Result: result}); err != nil {
			return nil, err
		}
		return result, s.waitUntil(ctx)
	})
	return err
}

// waitUntil waits for the moment that is recorded.
func (s *scope) waitUntil(ctx context.Context) error {
	left := s.at - s.work.run.db.store.Clock.Now()
	if left <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(left) * time.Millisecond)
	defer timer.Stop()
	return s.await(ctx, nil, timer.C)
}

// await waits for the bell or the timer, with the agent counted as idle.
func (s *scope) await(ctx context.Context, bell <-chan struct{}, timer <-chan time.Time) error {
	if idle := s.work.idle; idle != nil {
		idle(true)
		defer idle(false)
	}
	select {
	case <-bell:
		return nil
	case <-timer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.work.run.db.ended:
		if err := s.work.run.db.check(); err != nil {
			return err
		}
		return s.work.run.db.health.Err()
	}
}
