package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/hallgren/eventsourcing/core"
	"github.com/hallgren/eventsourcing/core/testsuite"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/kv"
)

// eventStore is the event face of a run as a store of aggregates' events: a
// stream for each aggregate, and one with a reference to each event, in the
// order they were saved. The place in that is what the interface calls the
// global version; the run's own version will not do, because all events of one
// call have the same.
type eventStore struct{ run *inmem.Run }

// order is the stream of references. The others' names begin with a quote.
const order = "order"

func streamOf(aggregateType, id string) string { return fmt.Sprintf("%q %q", aggregateType, id) }

// payload is what an event of the interface has and one of a run has not: here
// an event may bring its own time, and its data is any bytes, not an object.
type payload struct {
	ID, Type       string // of the aggregate
	Global         core.Version
	Time           time.Time
	Data, Metadata []byte
}

// reference says where an event is.
type reference struct {
	Stream   string
	Sequence uint64
}

// Save appends the events of one aggregate, and where they are, or nothing.
func (s eventStore) Save(events []core.Event) error {
	if len(events) == 0 {
		return nil
	}
	var global []core.Version
	err := s.run.Update(ctx, func(tx *inmem.Tx) (err error) {
		global, err = save(tx.Events(), events)
		return err
	})
	if errors.Is(err, event.ErrWrongSequence) {
		return errors.Join(core.ErrConcurrency, err)
	}
	if err != nil {
		return err
	}
	for i := range events {
		events[i].GlobalVersion = global[i]
	}
	return nil
}

func save(s event.Store, events []core.Event) ([]core.Version, error) {
	first := events[0]
	stream := streamOf(first.AggregateType, first.AggregateID)
	refs := make([]event.TypedNew[reference], len(events))
	for i, e := range events {
		refs[i] = event.TypedNew[reference]{Type: "saved", Value: reference{stream, uint64(e.Version)}}
	}
	ordered, err := event.Typed[reference](s).AppendAll(ctx, order, refs)
	if err != nil {
		return nil, err
	}
	list := make([]event.TypedNew[payload], len(events))
	global := make([]core.Version, len(events))
	for i, e := range events {
		global[i] = core.Version(ordered[i].Sequence)
		list[i] = event.TypedNew[payload]{Type: e.Reason, Value: payload{
			e.AggregateID, e.AggregateType, global[i], e.Timestamp, e.Data, e.Metadata,
		}}
	}
	_, err = event.Typed[payload](s).AppendAll(ctx, stream, list, event.ExpectSequence(uint64(first.Version)-1))
	return global, err
}

func (s eventStore) Get(ctx context.Context, id, aggregateType string, after core.Version) (core.Iterator, error) {
	stored := event.Typed[payload](s.run.Events())
	return newIterator(stored.Read(ctx, streamOf(aggregateType, id), event.After(uint64(after)))), nil
}

// fetcher returns all events in the order they were saved, each call those that
// came since the call before.
func (s eventStore) fetcher() core.Fetcher {
	last := uint64(0)
	stored, refs := event.Typed[payload](s.run.Events()), event.Typed[reference](s.run.Events())
	return func() (core.Iterator, error) {
		return newIterator(func(yield func(event.TypedEvent[payload], error) bool) {
			for ref, err := range refs.Read(ctx, order, event.After(last)) {
				var e event.TypedEvent[payload]
				if err == nil {
					e, err = stored.Get(ctx, ref.Value.Stream, ref.Value.Sequence)
				}
				if !yield(e, err) || err != nil {
					return
				}
				last = ref.Sequence
			}
		}), nil
	}
}

// iterator is a loop whose body asks for the next round.
type iterator struct {
	next  func() (event.TypedEvent[payload], error, bool)
	stop  func()
	event event.TypedEvent[payload]
	err   error
}

func newIterator(events iter.Seq2[event.TypedEvent[payload], error]) *iterator {
	i := &iterator{}
	i.next, i.stop = iter.Pull2(events)
	return i
}

func (i *iterator) Next() (ok bool) {
	i.event, i.err, ok = i.next()
	return ok
}

func (i *iterator) Value() (core.Event, error) {
	e, v := i.event.Event, i.event.Value
	return core.Event{
		AggregateID: v.ID, AggregateType: v.Type, Version: core.Version(e.Sequence), GlobalVersion: v.Global,
		Timestamp: v.Time, Reason: e.Type, Data: v.Data, Metadata: v.Metadata,
	}, i.err
}

func (i *iterator) Close() { i.stop() }

func TestEventStore(t *testing.T) {
	testsuite.Test(t, func() (core.EventStore, func(), error) {
		s := eventStore{begin(t, open(t))}
		return s, func() { s.verify(t) }, nil
	})
}

func TestEventFetcher(t *testing.T) {
	s := eventStore{begin(t, open(t))}
	testsuite.TestFetcher(t, s, s.fetcher())
	s.verify(t)
}

// verify holds the streams that a suite leaves against their hashes.
func (s eventStore) verify(t *testing.T) {
	t.Helper()
	for stream, err := range s.run.Events().Streams(ctx) {
		require.NoError(t, err)
		require.NoError(t, s.run.Events().Verify(ctx, stream))
	}
}

// snapshotStore is typed keys as a store of aggregates' snapshots.
type snapshotStore struct{ kv.TypedStore[core.Snapshot] }

func (s snapshotStore) Save(snapshot core.Snapshot) error {
	_, err := s.Put(ctx, streamOf(snapshot.Type, snapshot.ID), snapshot)
	return err
}

func (s snapshotStore) Get(ctx context.Context, id, aggregateType string) (core.Snapshot, error) {
	snapshot, err := s.TypedStore.Get(ctx, streamOf(aggregateType, id))
	if errors.Is(err, inmem.ErrNotFound) {
		err = core.ErrSnapshotNotFound
	}
	return snapshot, err
}

func TestSnapshotStore(t *testing.T) {
	testsuite.TestSnapshotStore(t, func() (core.SnapshotStore, func(), error) {
		r := begin(t, open(t))
		return snapshotStore{kv.Typed[core.Snapshot](r.KV())}, func() {}, nil
	})
}
