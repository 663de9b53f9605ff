package inmem

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"inmem/kv"
	"inmem/op"
	"inmem/retry"
	"inmem/run"
	"inmem/shard"
)

// Tx is a transaction on one run: it reads one version of the run and its own
// writes, keeps what it writes to itself, and is carried out as one commit, or
// not at all. Get one from Run.Update, Run.View, Run.Begin or Run.BeginView. It is for one
// goroutine.
//
// Transactions are serializable: a commit is refused with a *ConflictError
// where any key, or any range of keys, that the transaction read has changed
// since. The first to commit wins. Writes that nothing was read for never
// conflict, and a transaction that only reads neither conflicts nor waits.
//
// What a transaction writes has no version before the commit: Put returns 0,
// and reading it back shows op.Uncommitted, which PutIf accepts for it. Of the
// durability modes that its writes ask for the strongest holds for all. Keys
// and values together are bounded by Options.MaxCommitSize: ErrBatchTooLarge.
type Tx struct {
	run      *Run
	readOnly bool
	table    *txTable
	began    time.Time // for people and the deadline
	older    *Tx       // in the table: who began before …
	newer    *Tx       // … and after

	mu         sync.Mutex // the deadline may come from another goroutine
	snap       *shard.Snapshot
	now        int64 // deadlines are judged by the moment the transaction began
	reads      readSet
	few        [4]op.Key                   // where the keys of reads begin: most transactions need no more
	writes     btree.Map[string, op.Write] // by the key in the run's map
	size       int
	durability op.Durability
	err        error // why the transaction takes no more calls
}

// begin makes a transaction that sees the run as it is now.
func (r *Run) begin(readOnly bool) (*Tx, error) {
	snap, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	tx := &Tx{run: r, readOnly: readOnly, snap: snap, now: r.db.store.Clock.Now(), table: &r.db.txs}
	tx.reads.keys = tx.few[:0]
	tx.table.add(tx)
	r.handle.Pin() // what it reads should not leave memory before it ends
	return tx, nil
}

// Begin begins a transaction. It must be ended with Commit or Rollback; after
// Options.TxTimeout it is rolled back by itself, and its calls return
// ErrTxExpired. Prefer Update, which ends it and tries again after a conflict.
func (r *Run) Begin(ctx context.Context) (*Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.begin(false)
}

// BeginView begins a transaction that only reads: everything read through it is
// of one version, writes are ErrReadOnly, and Commit and Rollback both just end
// it, as Options.TxTimeout does. Prefer View.
func (r *Run) BeginView(ctx context.Context) (*Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.begin(true)
}

// Update calls fn with a transaction and commits it, unless fn returns an
// error, which Update returns. After a conflict it begins anew: fn may be
// called up to 64 times, with growing pauses in between, so it should have no
// effects but through tx. Then Update returns the *ConflictError of the last
// attempt. fn runs on the caller's goroutine.
//
// Errors beside fn's and those of a put: ErrConflict, ErrBatchTooLarge,
// ErrTxExpired where fn takes longer than Options.TxTimeout.
func (r *Run) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return retry.Conflicts(ctx, func() error { return r.attempt(ctx, fn) })
}

func (r *Run) attempt(ctx context.Context, fn func(tx *Tx) error) error {
	tx, err := r.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() // also when fn panics
	if err := fn(tx); err != nil {
		return err
	}
	_, err = tx.Commit(ctx)
	return err
}

// View calls fn with a transaction that only reads: everything fn reads is of
// one version. Writes are ErrReadOnly. View takes O(1), waits for nobody, and
// returns what fn returns.
func (r *Run) View(ctx context.Context, fn func(tx *Tx) error) error {
	tx, err := r.BeginView(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return fn(tx)
}

// Commit carries the transaction out and ends it, whatever it returns. The
// version is that of the run with the transaction in it; of one that wrote
// nothing it is the version it read. After an error that wraps ctx.Err() the
// outcome may be unknown, as it is for a put.
func (tx *Tx) Commit(ctx context.Context) (version uint64, err error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if err := tx.check(); err != nil {
		return 0, err
	}
	version = tx.snap.Version
	req := op.Request{
		Writes: make([]op.Write, 0, tx.writes.Len()), Durability: tx.durability, Fence: tx.run.fence,
		Basis: tx.reads.basis(view{snap: tx.snap, now: tx.now}),
	}
	tx.writes.Scan(func(_ string, w op.Write) bool {
		req.Writes = append(req.Writes, w)
		return true
	})
	tx.end(ErrTxDone)
	if len(req.Writes) == 0 {
		return version, nil
	}
	res, err := tx.run.shard.Commit(ctx, tx.run.ID(), &req)
	if err == nil {
		tx.run.db.committed(tx.run.ID(), req.Writes)
	}
	return res.Version, err
}

// Rollback ends the transaction without a trace. After Commit, or a second
// time, it does nothing.
func (tx *Tx) Rollback() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.err == nil {
		tx.end(ErrTxDone)
	}
}

// end lets go of everything the transaction holds; tx.mu is held.
func (tx *Tx) end(why error) {
	tx.err = why
	tx.snap, tx.reads = nil, readSet{}
	tx.writes = btree.Map[string, op.Write]{}
	tx.table.remove(tx)
	tx.run.handle.Unpin()
}

// expire is the table's: the transaction's time is up.
func (tx *Tx) expire() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.err == nil {
		tx.end(ErrTxExpired)
	}
}

// check returns why the transaction takes no calls; tx.mu is held.
func (tx *Tx) check() error {
	if err := tx.run.db.check(); err != nil {
		return err
	}
	return tx.err
}

// ID returns the ID of the transaction's run.
func (tx *Tx) ID() run.ID { return tx.run.ID() }

// Version returns the version of the run that the transaction reads; 0 once it
// has ended.
func (tx *Tx) Version() uint64 {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.err != nil {
		return 0
	}
	return tx.snap.Version
}

// Info returns the run's metadata as the transaction sees it; a change of it,
// such as of the status, is a conflict. It belongs to the caller.
func (tx *Tx) Info() (*run.Info, error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if err := tx.check(); err != nil {
		return nil, err
	}
	tx.reads.key(op.RunMetadata, "")
	info := tx.snap.Info.Clone()
	info.LastVersion = tx.snap.Version
	return info, nil
}

// KV returns the key-value face of the transaction.
func (tx *Tx) KV() kv.Store { return kv.New((*txFace)(tx)) }

// txFace is a transaction as the faces see it.
type txFace Tx

// Get implements op.Run.
func (f *txFace) Get(tag op.Tag, key string) (op.Item, error) {
	tx := (*Tx)(f)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if err := tx.check(); err != nil {
		return op.Item{}, err
	}
	if it, ok := tx.get(tag, key); ok {
		return it, nil
	}
	return op.Item{}, op.ErrNotFound
}

// get reads a key; tx.mu is held.
func (tx *Tx) get(tag op.Tag, key string) (op.Item, bool) {
	if w, ok := tx.writes.Get(op.MapKey(tag, key)); ok {
		return pending(&w, tx.now)
	}
	if !tx.readOnly {
		tx.reads.key(tag, key)
	}
	it, ok := tx.snap.Get(tag, key)
	return it, ok && !it.Expired(tx.now)
}

// pending is what the transaction sees where it has written w.
func pending(w *op.Write, now int64) (op.Item, bool) {
	it := op.Item{Value: w.Value, Version: op.Uncommitted}
	if w.TTL > 0 {
		it.Deadline = op.Deadline(now, w.TTL)
	}
	return it, w.Kind == op.Put
}

// View implements op.Run.
func (f *txFace) View() (op.View, error) {
	tx := (*Tx)(f)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if err := tx.check(); err != nil {
		return nil, err
	}
	v := &txView{tx: tx, base: view{snap: tx.snap, now: tx.now}}
	if tx.writes.Len() > 0 {
		v.writes = tx.writes.Copy()
	}
	return v, nil
}

// Commit implements op.Run: it keeps the writes for the transaction's commit.
func (f *txFace) Commit(ctx context.Context, req *op.Request) (op.Result, error) {
	if err := ctx.Err(); err != nil {
		return op.Result{}, err
	}
	tx := (*Tx)(f)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if err := tx.check(); err != nil {
		return op.Result{}, err
	}
	if tx.readOnly {
		return op.Result{}, ErrReadOnly
	}
	return tx.write(req)
}

// Limits implements op.Run.
func (f *txFace) Limits() op.Limits { return f.run.db.limits }

// Now implements op.Run.
func (f *txFace) Now() int64 { return f.run.db.store.Clock.Now() }

// History implements op.Run. What the transaction has written is not in it yet.
func (f *txFace) History(ctx context.Context, from uint64) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		tx := (*Tx)(f)
		tx.mu.Lock()
		snap, err := tx.snap, tx.check()
		tx.mu.Unlock()
		if err != nil {
			yield(nil, err)
			return
		}
		tx.run.commits(ctx, &snap.Head, from)(yield)
	}
}

// write takes the writes of a request, all or none; tx.mu is held.
func (tx *Tx) write(req *op.Request) (res op.Result, err error) {
	for i := range req.Writes {
		w := &req.Writes[i]
		want, conditional := w.Expect.Get()
		if !conditional && (i > 0 || w.Kind != op.Delete) {
			continue // blind: nothing is read for it
		}
		it, exists := tx.get(w.Tag, w.Key)
		if i == 0 {
			res.Previous, res.Existed = it, exists
		}
		actual := it.Version
		if !exists {
			actual = 0
		}
		if conditional && actual != want {
			return op.Result{}, &op.VersionError{Key: w.Key, Expected: want, Actual: actual}
		}
	}
	size := tx.size
	for i := range req.Writes {
		w := &req.Writes[i]
		size += op.OpSize(len(w.Key), len(w.Value))
		if old, replaced := tx.writes.Get(op.MapKey(w.Tag, w.Key)); replaced {
			size -= op.OpSize(len(old.Key), len(old.Value))
		}
	}
	if limit := tx.run.db.limits.MaxCommit; size > limit {
		return op.Result{}, &op.SizeError{Err: op.ErrBatchTooLarge, Size: size, Max: limit}
	}
	for _, w := range req.Writes {
		w.Expect = op.Expect{} // it held for what the transaction sees, and that is validated
		if !w.Own() {
			w.Value = append([]byte(nil), w.Value...)
		}
		tx.size += op.OpSize(len(w.Key), len(w.Value))
		if old, replaced := tx.writes.Set(op.MapKey(w.Tag, w.Key), w); replaced {
			tx.size -= op.OpSize(len(old.Key), len(old.Value))
		}
	}
	tx.durability = op.Stronger(tx.durability, req.Durability)
	return res, nil
}
