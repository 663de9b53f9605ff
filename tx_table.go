package inmem

import (
	"sync"
	"time"

	"inmem/run"
)

// OpenTx is a transaction that has not ended.
type OpenTx struct {
	Run      run.ID
	Began    time.Time
	ReadOnly bool
}

// txTable is the open transactions of a store, in the order they began. All
// have the same time, so the oldest is the first to expire.
type txTable struct {
	timeout time.Duration

	mu             sync.Mutex
	oldest, newest *Tx
	timer          *time.Timer // nil = none was open yet, or the store is closed
	closed         bool
}

func (t *txTable) add(tx *Tx) {
	tx.began = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	tx.older = t.newest
	if t.newest == nil {
		t.oldest = tx
	} else {
		t.newest.newer = tx
	}
	t.newest = tx
	switch {
	case t.closed:
	case t.timer == nil:
		t.timer = time.AfterFunc(t.timeout, t.sweep)
	}
}

func (t *txTable) remove(tx *Tx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tx.older == nil {
		t.oldest = tx.newer
	} else {
		tx.older.newer = tx.newer
	}
	if tx.newer == nil {
		t.newest = tx.older
	} else {
		tx.newer.older = tx.older
	}
	tx.older, tx.newer = nil, nil
}

// sweep rolls back what is open for too long, and comes again when the next is due.
func (t *txTable) sweep() {
	for _, tx := range t.due() {
		tx.expire()
	}
}

func (t *txTable) due() (list []*Tx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	tx := t.oldest
	for ; tx != nil && now.Sub(tx.began) >= t.timeout; tx = tx.newer {
		list = append(list, tx)
	}
	switch {
	case t.closed:
	case tx == nil:
		t.timer = nil // the next that begins sets it
	default:
		t.timer.Reset(t.timeout - now.Sub(tx.began))
	}
	return list
}

// close ends everything that is open.
func (t *txTable) close() {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	var list []*Tx
	for tx := t.oldest; tx != nil; tx = tx.newer {
		list = append(list, tx)
	}
	t.mu.Unlock()
	for _, tx := range list {
		tx.expire()
	}
}

// open lists the open transactions, the oldest first.
func (t *txTable) open() (list []OpenTx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tx := t.oldest; tx != nil; tx = tx.newer {
		list = append(list, OpenTx{Run: tx.run.ID(), Began: tx.began, ReadOnly: tx.readOnly})
	}
	return list
}
