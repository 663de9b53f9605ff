package conformance

import (
	"context"
	"errors"
	"iter"
	"path"
	"testing"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dstest "github.com/ipfs/go-datastore/test"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
)

// keys is the key-value face of a run, or of a transaction, as a datastore
// reads and writes it. The keys are the datastore's: paths that begin with a
// slash.
type keys struct{ kv.Store }

func (k keys) Get(ctx context.Context, key ds.Key) ([]byte, error) {
	value, err := k.Store.Get(ctx, key.String())
	return value, notFound(err)
}

// notFound says it in the datastore's words.
func notFound(err error) error {
	if errors.Is(err, inmem.ErrNotFound) {
		return ds.ErrNotFound
	}
	return err
}

func (k keys) Has(ctx context.Context, key ds.Key) (bool, error) {
	return k.Exists(ctx, key.String())
}

func (k keys) GetSize(ctx context.Context, key ds.Key) (int, error) {
	return ds.GetBackedSize(ctx, k, key)
}

func (k keys) Put(ctx context.Context, key ds.Key, value []byte) error {
	_, err := k.Store.Put(ctx, key.String(), value)
	return err
}

// Delete of what is not there is no error here.
func (k keys) Delete(ctx context.Context, key ds.Key) error {
	_, err := k.Store.Delete(ctx, key.String())
	if errors.Is(err, inmem.ErrNotFound) {
		return nil
	}
	return err
}

// Query leaves prefixes and the order of keys to the run, where the keys lie in
// order, and the rest to the datastore's own helpers.
func (k keys) Query(ctx context.Context, q query.Query) (query.Results, error) {
	rest := q
	rest.Prefix = ""
	var opts []kv.ListOption
	if len(q.Orders) > 0 {
		switch q.Orders[0].(type) { // keys are unique: no further order has anything to say
		case query.OrderByKey, *query.OrderByKey:
			rest.Orders = nil
		case query.OrderByKeyDescending, *query.OrderByKeyDescending:
			rest.Orders, opts = nil, append(opts, kv.Reverse())
		}
	}
	next, stop := iter.Pull2(k.List(ctx, prefix(q.Prefix), opts...))
	found := query.ResultsFromIterator(rest, query.Iterator{
		Next: func() (query.Result, bool) {
			it, err, ok := next()
			e := query.Entry{Key: it.Key, Size: len(it.Value)}
			if !q.KeysOnly {
				e.Value = it.Value
			}
			return query.Result{Entry: e, Error: err}, ok
		},
		Close: func() error { stop(); return nil },
	})
	return query.ResultsReplaceQuery(query.NaiveQueryApply(rest, found), q), nil
}

// prefix is what the keys below a path begin with.
func prefix(p string) string {
	if p = path.Clean("/" + p); p == "/" {
		return ""
	}
	return p + "/"
}

func (k keys) Batch(context.Context) (ds.Batch, error) { return &batch{in: k.Store}, nil }

// batch is a kv.Batch that knows where it goes. A datastore's batches may be as
// large as they like and need not be atomic: so it may be done in parts.
type batch struct {
	kv.Batch
	in kv.Store
}

func (b *batch) Put(_ context.Context, key ds.Key, value []byte) error {
	b.Batch.Put(key.String(), value)
	return nil
}

func (b *batch) Delete(_ context.Context, key ds.Key) error {
	b.Batch.Delete(key.String())
	return nil
}

func (b *batch) Commit(ctx context.Context) error {
	_, err := b.in.Write(ctx, &b.Batch, kv.Chunked())
	return err
}

// datastore is a run.
type datastore struct {
	keys
	db  *inmem.DB
	run *inmem.Run
}

func newDatastore(t *testing.T) datastore {
	db := open(t)
	r := begin(t, db)
	return datastore{keys: keys{r.KV()}, db: db, run: r}
}

func (d datastore) Sync(ctx context.Context, _ ds.Key) error { return d.db.Flush(ctx) }
func (d datastore) Close() error                             { return d.db.Close() }

func (d datastore) NewTransaction(ctx context.Context, readOnly bool) (ds.Txn, error) {
	begin := d.run.Begin
	if readOnly {
		begin = d.run.BeginView
	}
	tx, err := begin(ctx)
	if err != nil {
		return nil, err
	}
	return txn{keys{tx.KV()}, tx}, nil
}

type txn struct {
	keys
	tx *inmem.Tx
}

func (t txn) Commit(ctx context.Context) error {
	_, err := t.tx.Commit(ctx)
	return err
}

func (t txn) Discard(context.Context) { t.tx.Rollback() }

// What a datastore must be, and what it may be besides.
var (
	_ ds.Batching     = datastore{}
	_ ds.TxnDatastore = datastore{}
)

func TestDatastore(t *testing.T) { dstest.SubtestAll(t, newDatastore(t)) }

// inside is a datastore within a transaction that has not been committed.
type inside struct{ keys }

func (inside) Sync(context.Context, ds.Key) error { return nil }
func (inside) Close() error                       { return nil }

// TestDatastoreInTransaction: a transaction sees its own writes as a run shows
// what was committed. The suite removes what it wrote: one key is left to tell
// that the commit is that of the whole.
func TestDatastoreInTransaction(t *testing.T) {
	d := newDatastore(t)
	tx, err := d.run.Begin(ctx)
	require.NoError(t, err)
	dstest.SubtestAll(t, inside{keys{tx.KV()}})
	require.NoError(t, inside{keys{tx.KV()}}.Put(ctx, ds.NewKey("last"), []byte("y")))
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	found, err := d.Query(ctx, query.Query{})
	require.NoError(t, err)
	all, err := found.Rest()
	require.NoError(t, err)
	require.Equal(t, []query.Entry{{Key: "/last", Value: []byte("y"), Size: 1}}, all)
}

// TestDatastoreTransactions is what the suite leaves out.
func TestDatastoreTransactions(t *testing.T) {
	d := newDatastore(t)
	key, value := ds.NewKey("k"), []byte("v")
	put := func(commit bool) {
		tx, err := d.NewTransaction(ctx, false)
		require.NoError(t, err)
		defer tx.Discard(ctx)
		require.NoError(t, tx.Put(ctx, key, value))
		has, err := d.Has(ctx, key)
		require.NoError(t, err)
		require.False(t, has, "nothing is seen before the commit")
		if commit {
			require.NoError(t, tx.Commit(ctx))
		}
	}
	put(false)
	put(true)
	got, err := d.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, value, got)

	tx, err := d.NewTransaction(ctx, true)
	require.NoError(t, err)
	require.NoError(t, d.Delete(ctx, key))
	got, err = tx.Get(ctx, key)
	require.NoError(t, err, "it reads what was there when it began")
	require.Equal(t, value, got)
	require.ErrorIs(t, tx.Put(ctx, key, value), inmem.ErrReadOnly)
	require.ErrorIs(t, tx.Delete(ctx, key), inmem.ErrReadOnly)
	require.NoError(t, tx.Commit(ctx), "who only reads conflicts with nobody")
}
