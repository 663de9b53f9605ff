package inmem

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"inmem/run"
	"inmem/shard"
)

// Event is something that happened in the background: a Recovered, Segment,
// CheckpointDone, Pruned, AgentDone, VectorIndex or Poisoned. String describes it for people.
type Event interface {
	fmt.Stringer
	level() slog.Level
}

// Recovered tells what Open found and did, once.
type Recovered struct{ Report *RecoveryReport }

// Segment tells that a shard's log began a new file, or, with Sealed, that it
// completed an old one with its index.
type Segment struct {
	Shard  int
	Path   string
	First  uint64 // sequence of its first frame
	Sealed bool
}

// CheckpointDone tells that a shard took a checkpoint, or with Err why not.
type CheckpointDone shard.CheckpointDone

// AgentDone tells that an agent is not at work any more: with Err its run is
// still active and waits to be taken up again, without it the run has ended.
type AgentDone struct {
	Run   run.ID
	Agent string
	Err   error
}

// Poisoned tells, once, that the store failed: it takes no more work.
type Poisoned struct{ Err error }

func (e Recovered) String() string {
	r := e.Report
	var commits uint64
	var torn int64
	for _, s := range r.Shards {
		commits += s.Commits
		torn += s.TornBytes
	}
	return fmt.Sprintf("opened: %s, %d shards, %d commits replayed, %d torn bytes, %d orphaned runs, %v",
		r.Verdict, len(r.Shards), commits, torn, len(r.Orphans), r.Duration)
}

func (e Segment) String() string {
	if e.Sealed {
		return fmt.Sprintf("shard %d: sealed segment %s", e.Shard, e.Path)
	}
	return fmt.Sprintf("shard %d: began segment %s", e.Shard, e.Path)
}

func (e AgentDone) String() string {
	if e.Err != nil {
		return fmt.Sprintf("agent %s left run %v: %v", e.Agent, e.Run, e.Err)
	}
	return fmt.Sprintf("agent %s ended run %v", e.Agent, e.Run)
}

func (e CheckpointDone) String() string {
	if e.Err != nil {
		return fmt.Sprintf("shard %d: no checkpoint: %v", e.Shard, e.Err)
	}
	return fmt.Sprintf("shard %d: checkpoint at sequence %d: %d runs, %d bytes", e.Shard, e.Sequence, e.Runs, e.Bytes)
}

func (e Poisoned) String() string { return fmt.Sprintf("the store stopped: %v", e.Err) }

func (e Recovered) level() slog.Level { return slog.LevelInfo }
func (e Segment) level() slog.Level   { return slog.LevelDebug }
func (e Poisoned) level() slog.Level  { return slog.LevelError }

func (e AgentDone) level() slog.Level {
	if e.Err != nil {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (e CheckpointDone) level() slog.Level {
	if e.Err != nil {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// announcer hands events to the logger and the listener from a goroutine of
// its own, so that the user's code never runs inside the engine.
type announcer struct {
	log    *slog.Logger
	listen func(Event)

	mu     sync.Mutex
	queue  []Event
	wake   *sync.Cond
	closed bool
	ended  chan struct{}
}

func newAnnouncer(log *slog.Logger, listen func(Event)) *announcer {
	a := &announcer{log: log, listen: listen, ended: make(chan struct{})}
	a.wake = sync.NewCond(&a.mu)
	go a.run()
	return a
}

// tell queues an event. It never blocks.
func (a *announcer) tell(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, e)
	a.wake.Signal()
}

func (a *announcer) run() {
	defer close(a.ended)
	for {
		a.mu.Lock()
		for len(a.queue) == 0 && !a.closed {
			a.wake.Wait()
		}
		queue := a.queue
		a.queue = nil
		a.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, e := range queue {
			a.log.Log(context.Background(), e.level(), e.String())
			if a.listen != nil {
				a.listen(e)
			}
		}
	}
}

// close tells what is queued and ends.
func (a *announcer) close() {
	a.mu.Lock()
	a.closed = true
	a.wake.Signal()
	a.mu.Unlock()
	<-a.ended
}
