package inmem_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
)

const (
	accounts = 20
	balance  = 100
)

func account(i int) string { return fmt.Sprintf("account-%02d", i) }

// transfer moves an amount between two accounts of a run, unless there is not
// enough.
func transfer(tx *inmem.Tx, from, to, amount int) error {
	have := kv.Typed[int](tx.KV())
	a, err := have.Get(ctx, account(from))
	if err != nil {
		return err
	}
	b, err := have.Get(ctx, account(to))
	if err != nil || a < amount {
		return err
	}
	if _, err := have.Put(ctx, account(from), a-amount); err != nil {
		return err
	}
	_, err = have.Put(ctx, account(to), b+amount)
	return err
}

// total adds all accounts up, as one transaction sees them.
func total(tx *inmem.Tx) (sum int, err error) {
	for it, err := range kv.Typed[int](tx.KV()).List(ctx, "account-") {
		if err != nil {
			return 0, err
		}
		sum += it.Value
	}
	return sum, nil
}

func openAccounts(t testing.TB, r *inmem.Run) {
	t.Helper()
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		for i := range accounts {
			if _, err := tx.KV().Put(ctx, account(i), []byte(strconv.Itoa(balance))); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestBankTransfers: a hundred goroutines move money between the accounts of
// one run; nobody ever sees another sum, not even after a crash in the middle.
func TestBankTransfers(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	openAccounts(t, r)
	each := 50
	if testing.Short() {
		each = 10
	}
	var all sync.WaitGroup
	for g := range 100 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 0))
			for range each {
				from, to := rnd.IntN(accounts), rnd.IntN(accounts)
				if from == to {
					continue
				}
				assert.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error { return transfer(tx, from, to, rnd.IntN(30)) }))
				if rnd.IntN(10) == 0 {
					assert.NoError(t, r.View(ctx, func(tx *inmem.Tx) error {
						sum, err := total(tx)
						assert.Equal(t, accounts*balance, sum)
						return err
					}))
				}
			}
		})
	}
	for c, err := range r.Watch(ctx, 200) { // amid the transfers
		require.NoError(t, err)
		require.EqualValues(t, 200, c.Version)
		break
	}
	killed := s.mem.Clone()
	all.Wait()
	after := openStore(t, killed, s.dir)
	again, err := after.Run(r.ID())
	require.NoError(t, err)
	for _, r := range []*inmem.Run{r, again} {
		require.NoError(t, r.View(ctx, func(tx *inmem.Tx) error {
			sum, err := total(tx)
			assert.Equal(t, accounts*balance, sum)
			return err
		}))
	}
}

func init() { children["bank"] = bankChild }

// bankChild opens the bank and moves money until it is killed, and tells of each
// version that was acknowledged.
func bankChild() {
	db, err := inmem.Open(os.Getenv(dirEnv), &inmem.Options{SegmentSize: 32 << 10, CheckpointBytes: 128 << 10})
	must(err)
	r, err := db.Run(bank)
	must(err)
	var mu sync.Mutex
	for g := range 100 {
		go func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 0))
			for {
				from := rnd.IntN(accounts)
				to := (from + 1 + rnd.IntN(accounts-1)) % accounts
				tx, err := r.Begin(bg)
				must(err)
				must(transfer(tx, from, to, 1+rnd.IntN(30)))
				version, err := tx.Commit(bg)
				if errors.Is(err, inmem.ErrConflict) {
					continue
				}
				must(err)
				mu.Lock()
				_, err = fmt.Println(version)
				mu.Unlock()
				must(err)
			}
		}()
	}
	select {}
}

var bank = run.Namespace{App: "bank"}.DeriveID("accounts")

// TestBankKilled kills the process of a hundred goroutines that move money,
// again and again: what was acknowledged is there, and no money is lost or made.
func TestBankKilled(t *testing.T) {
	dir := t.TempDir()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	r, err := db.BeginRun(ctx, run.Meta{ID: bank})
	require.NoError(t, err)
	openAccounts(t, r)
	require.NoError(t, db.Close())
	before := uint64(0)
	for _, seed := range crashSeeds(t, 8) {
		cmd, lines := startChild(t, "bank", dirEnv+"="+dir)
		acked := uint64(0)
		hear := func() {
			if v, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				acked = max(acked, v)
			}
		}
		for range 10 + rand.New(rand.NewPCG(seed, 6)).IntN(2000) {
			require.True(t, lines.Scan(), "the child ended by itself")
			hear()
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() {
			hear() // a line that the kill cut short is a smaller number
		}
		require.Error(t, cmd.Wait())
		db, err := inmem.Open(dir, nil)
		require.NoError(t, err)
		r, err := db.Run(bank)
		require.NoError(t, err)
		require.NoError(t, r.View(ctx, func(tx *inmem.Tx) error {
			sum, err := total(tx)
			require.Equal(t, accounts*balance, sum)
			require.GreaterOrEqual(t, tx.Version(), acked)
			require.Greater(t, tx.Version(), before)
			before = tx.Version()
			return err
		}))
		require.NoError(t, db.Close())
	}
	t.Logf("%d commits", before)
}
