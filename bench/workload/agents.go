package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"inmem/bench/measure"
	"inmem/bench/store"
)

// AgentRuns is how many agents are at work at the same time.
const AgentRuns = 1000

const (
	messagePrefix = "msg-"
	stateKey      = "state"
)

// agents has as many agents at once as AgentRuns says their conversations again,
// each in a fresh run: before each turn an agent reads back all that was said so
// far, then it writes the new messages and its state in one commit. The callers
// are the agents.
func (d *Data) agents(ctx context.Context, plan measure.Plan, st store.Store, t *Transcripts) (*measure.Result, error) {
	longest := 0
	for _, turns := range t.Agents {
		n := 0
		for _, turn := range turns {
			n += len(turn.Messages)
		}
		longest = max(longest, n)
	}
	names := make([]string, longest)
	for i := range names {
		names[i] = fmt.Sprintf("%s%08d", messagePrefix, i)
	}
	return measure.Passes(ctx, plan, func() (*measure.Pass, error) {
		first := d.begun
		d.begun += AgentRuns
		if err := st.Begin(d.begun); err != nil {
			return nil, err
		}
		pass := &measure.Pass{}
		for i := range AgentRuns {
			a := &agent{st: st, run: first + i, turns: t.Agents[i%len(t.Agents)], names: names}
			pass.Tasks = append(pass.Tasks, func(record func(time.Duration)) error { return a.talk(ctx, record) })
		}
		pass.Check = func() error {
			for i := 0; i < AgentRuns; i += 97 {
				if err := check(st, first+i, t.Agents[i%len(t.Agents)]); err != nil {
					return err
				}
			}
			return nil
		}
		return pass, nil
	})
}

// agent replays one conversation.
type agent struct {
	st    store.Store
	run   int
	turns []Turn
	names []string
	said  int // messages so far
	bytes int // in them
}

func (a *agent) talk(ctx context.Context, record func(time.Duration)) error {
	for n, turn := range a.turns {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		begun := time.Now()
		if err := a.turn(n, turn); err != nil {
			return fmt.Errorf("turn %d of run %d: %w", n, a.run, err)
		}
		record(time.Since(begun))
	}
	return nil
}

func (a *agent) turn(n int, turn Turn) error {
	if a.said > 0 {
		if err := a.readBack(); err != nil {
			return err
		}
	}
	pairs := make([]store.Pair, 0, len(turn.Messages)+1)
	for _, m := range turn.Messages {
		pairs = append(pairs, store.Pair{Key: a.names[a.said], Value: m})
		a.said++
		a.bytes += len(m)
	}
	pairs = append(pairs, store.Pair{Key: stateKey, Value: state(n, turn)})
	return a.st.Write(a.run, pairs)
}

// readBack reads the conversation so far, and holds it against what was said.
func (a *agent) readBack() error {
	n, size := 0, 0
	err := a.st.Scan(a.run, messagePrefix, a.said, func(key string, value []byte) bool {
		if n < a.said && key == a.names[n] {
			size += len(value)
		}
		touch(key)
		touch(value)
		n++
		return true
	})
	if err == nil && (n != a.said || size != a.bytes) {
		err = fmt.Errorf("read back %d messages of %d bytes, not %d of %d", n, size, a.said, a.bytes)
	}
	return err
}

// state is the record of where an agent is.
func state(n int, turn Turn) []byte {
	return []byte(`{"turn":` + strconv.Itoa(n) + `,"role":"` + turn.Role + `"}`)
}

// check wants a run to be byte for byte what its agent said.
func check(st store.Store, run int, turns []Turn) error {
	var want [][]byte
	for _, turn := range turns {
		want = append(want, turn.Messages...)
	}
	n := 0
	var wrong error
	err := st.Scan(run, messagePrefix, len(want)+1, func(key string, value []byte) bool {
		if strings.HasPrefix(key, messagePrefix) {
			if n >= len(want) || !bytes.Equal(value, want[n]) {
				wrong = fmt.Errorf("run %d: %s is not what was said", run, key)
				return false
			}
			n++
		}
		return true
	})
	if err != nil || wrong != nil {
		return errors.Join(err, wrong)
	}
	if n != len(want) {
		return fmt.Errorf("run %d has %d messages, not %d", run, n, len(want))
	}
	last := len(turns) - 1
	got, err := st.Get(run, stateKey)
	if err == nil && !bytes.Equal(got, state(last, turns[last])) {
		err = fmt.Errorf("run %d: its state is %q", run, got)
	}
	return err
}
