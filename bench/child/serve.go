package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"inmem/bench/measure"
	"inmem/bench/store"
	"inmem/bench/workload"
)

// Serve answers requests until there are no more, and then closes the store.
// What it is doing when the input ends, it does not finish.
func Serve(kinds []store.Kind, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	requests := make(chan Request)
	go func() {
		defer close(requests)
		for lines := json.NewDecoder(in); ; {
			var r Request
			if err := lines.Decode(&r); err != nil {
				stop(fmt.Errorf("no more requests: %w", err))
				return
			}
			requests <- r
		}
	}()
	s := &server{ctx: ctx, kinds: kinds}
	replies := json.NewEncoder(out)
	var err error
	for r := range requests {
		reply := s.answer(r)
		if err == nil { // when nobody listens, wait for the end of the requests
			err = replies.Encode(reply)
		}
	}
	return errors.Join(err, s.close())
}

// server is the store of a child.
type server struct {
	ctx     context.Context
	kinds   []store.Kind
	request Request // the one that opened the store
	store   store.Store
	data    *workload.Data
	agents  *workload.Transcripts
	ledger  *Ledger
	writing chan error // nil, or what the commits that go on have come to
}

func (s *server) answer(r Request) Reply {
	var reply Reply
	begun := time.Now()
	err := s.do(r, &reply)
	reply.Took = time.Since(begun)
	if err != nil {
		reply.Err, reply.Unsupported = err.Error(), errors.Is(err, errors.ErrUnsupported)
	}
	return reply
}

func (s *server) do(r Request, reply *Reply) error {
	switch r.Do {
	case doCheck:
		kind, err := s.kind(r.Kind)
		if err != nil {
			return err
		}
		return store.Check(kind, r.Class, r.Dir)
	case doOpen:
		return s.open(r, reply)
	case doClose:
		return s.close()
	}
	if s.store == nil {
		return fmt.Errorf("%q without an open store", r.Do)
	}
	switch r.Do {
	case doLoad:
		return s.data.Load(s.ctx, s.store, r.Seed)
	case doCell:
		return s.cell(r, reply)
	case doRest:
		reply.AtRest = measure.Rest(s.servers(), r.Interval, r.For)
		return nil
	case doMemory:
		s.memory(reply)
		return nil
	case doOverwrite:
		return errors.Join(s.data.Overwrite(s.ctx, s.store, r.Seed), s.store.Flush())
	case doCommit:
		return s.commit(r)
	case doMissing:
		return s.missing(r, reply)
	}
	return fmt.Errorf("%q is no request", r.Do)
}

func (s *server) kind(name string) (store.Kind, error) {
	i := slices.IndexFunc(s.kinds, func(k store.Kind) bool { return k.Name == name })
	if i < 0 {
		return store.Kind{}, fmt.Errorf("no store is called %q", name)
	}
	return s.kinds[i], nil
}

// open opens the store and says how long it took until it could be read. With
// Commits it reads a key of each run.
func (s *server) open(r Request, reply *Reply) error {
	kind, err := s.kind(r.Kind)
	if err != nil {
		return err
	}
	if s.store != nil {
		return errors.New("a store is open already")
	}
	s.data = workload.NewData(r.Size, r.Seed)
	debug.FreeOSMemory() // what the harness left behind must not be the store's cost
	reply.Collected = measure.Resident(os.Getpid())
	opens := kind.Open
	if r.Lean && kind.Lean != nil {
		opens = kind.Lean
	}
	begun := time.Now()
	if s.store, err = opens(r.Dir, r.Class); err != nil {
		return err
	}
	s.request = r
	if err := s.store.Begin(r.Size.Runs); err != nil {
		return err
	}
	err = s.data.First(s.store, max(1, r.Commits), func() { reply.Ready = time.Since(begun) })
	reply.Loaded = time.Since(begun)
	reply.Servers = s.servers()
	return err
}

// servers returns the processes that work for the store.
func (s *server) servers() []int {
	if st, ok := s.store.(store.Server); ok {
		return []int{st.Pid()}
	}
	return nil
}

func (s *server) cell(r Request, reply *Reply) (err error) {
	if r.Cell.Name == workload.Agents && s.agents == nil {
		if s.agents, err = transcripts(s.request.Transcripts); err != nil {
			return err
		}
	}
	if r.Profile != "" {
		f, err := os.Create(r.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	plan := measure.Plan{For: r.For, WarmUp: r.WarmUp, Servers: s.servers()}
	reply.Result, err = r.Cell.Run(s.ctx, plan, s.data, s.store, s.agents, r.Seed)
	return err
}

func transcripts(file string) (*workload.Transcripts, error) {
	if file == "" {
		return workload.Synthetic(100), nil
	}
	return workload.ReadTranscripts(file)
}

// memory tells what the process and its servers have resident: as it is, and
// after what is garbage has been given back.
func (s *server) memory(reply *Reply) {
	resident := func() int64 {
		total := measure.Resident(os.Getpid())
		for _, pid := range s.servers() {
			total += measure.Resident(pid)
		}
		return total
	}
	reply.Resident = resident()
	debug.FreeOSMemory() // collects before
	reply.Collected = resident()
}

// commit makes commits, and keeps a ledger of those acknowledged.
func (s *server) commit(r Request) error {
	if s.writing != nil {
		return errors.New("commits are under way already")
	}
	ledger, err := OpenLedger(r.Ledger)
	if err != nil {
		return err
	}
	s.ledger = ledger
	if !r.GoOn {
		return s.data.Commit(s.ctx, s.store, ledger, r.Commits)
	}
	ledger.notify(r.Commits)
	s.writing = make(chan error, 1)
	go func() { s.writing <- s.data.Commit(s.ctx, s.store, ledger, 0) }()
	select {
	case <-ledger.reached:
		return nil
	case err := <-s.writing:
		s.writing <- err
		return errors.Join(err, context.Cause(s.ctx))
	}
}

func (s *server) missing(r Request, reply *Reply) error {
	ledger, err := OpenLedger(r.Ledger)
	if err != nil {
		return err
	}
	defer ledger.Close()
	reply.Acked, reply.Missing, err = s.data.Missing(s.store, ledger)
	return err
}

// close closes the store, when the commits under way have ended.
func (s *server) close() error {
	var errs []error
	if s.writing != nil {
		errs = append(errs, <-s.writing)
		s.writing = nil
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
		s.ledger = nil
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
		s.store = nil
	}
	return errors.Join(errs...)
}
