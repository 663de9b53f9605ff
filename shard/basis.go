package shard

import (
	"inmem/op"
)

// unchanged holds what a transaction has read against the run as it is now. A
// value whose deadline has passed meanwhile is a change like any other.
func (r *liveRun) unchanged(b *op.Basis, now int64) error {
	if b == nil || b.View.Version() == r.version && r.deadlines == 0 {
		return nil
	}
	for _, k := range b.Keys {
		it, ok := b.View.Get(k.Tag, k.Key)
		if err := r.compare(k, versionOf(it, ok), now); err != nil {
			return err
		}
	}
	for i := range b.Ranges {
		if err := r.unchangedRange(&b.Ranges[i], b.View, now); err != nil {
			return err
		}
	}
	return nil
}

// compare holds the version that a key was seen at against the one it has.
func (r *liveRun) compare(k op.Key, seen uint64, now int64) error {
	it, ok := r.keys.Get(op.MapKey(k.Tag, k.Key))
	if has := versionOf(it, ok && !it.Expired(now)); has != seen {
		return &op.ConflictError{Tag: k.Tag, Key: k.Key, Seen: seen, Now: has}
	}
	return nil
}

// unchangedRange finds a key of the range that was seen and is another by now,
// and a key that was not seen: it is newer than the view.
func (r *liveRun) unchangedRange(x *op.KeyRange, view op.View, now int64) (err error) {
	view.Scan(x.Tag, op.Range{From: x.From, To: x.To}, func(key string, it op.Item) bool {
		err = r.compare(op.Key{Tag: x.Tag, Key: key}, it.Version, now)
		return err == nil
	})
	if err != nil {
		return err
	}
	from, below := bounds(x.Tag, x.From, x.To)
	r.keys.Ascend(from, func(key string, it op.Item) bool {
		if key >= below {
			return false
		}
		if it.Version > view.Version() && !it.Expired(now) {
			err = &op.ConflictError{Tag: x.Tag, Key: string([]byte(key[1:])), Now: it.Version}
		}
		return err == nil
	})
	return err
}
