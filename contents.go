package inmem

import (
	"bytes"
	"context"
	"iter"
	"strings"
	"time"

	"inmem/op"
)

// Content is a key of a run as it is stored, whichever face it belongs to.
type Content struct {
	Tag      Tag
	Key      string // as the face chose it
	Value    []byte // in the face's own encoding; the caller's
	Version  uint64 // of the commit that wrote it
	Deadline time.Time
}

// Counts returns how many keys the run has of each tag, in O(1). Keys that are
// past their deadline count until they are removed. A face may use several keys
// for one thing: it has counts of its own.
func (r *Run) Counts() (map[Tag]int, error) {
	if err := r.db.check(); err != nil {
		return nil, err
	}
	now, ok := r.handle.Counts()
	if !ok {
		return nil, ErrRunDeleted
	}
	counts := map[Tag]int{}
	for tag, n := range now {
		if n > 0 {
			counts[Tag(tag)] = int(n)
		}
	}
	return counts, nil
}

// Contents returns the keys of the run that have a tag, or all of them where no
// tag is given, in order of tag and key, as of one version: for looking into a
// run, not for working with it. The loop ends after an error.
func (r *Run) Contents(ctx context.Context, tags ...Tag) iter.Seq2[Content, error] {
	if len(tags) == 0 {
		tags = op.Tags()
	}
	return func(yield func(Content, error) bool) {
		v, err := (*face)(r).View()
		if err != nil {
			yield(Content{}, err)
			return
		}
		more := true
		for _, tag := range tags {
			if !more {
				return
			}
			v.Scan(tag, op.Range{}, func(key string, it op.Item) bool {
				if err := ctx.Err(); err != nil {
					more = false
					yield(Content{}, err)
					return false
				}
				more = yield(contentOf(tag, key, it), nil)
				return more
			})
		}
	}
}

func contentOf(tag Tag, key string, it op.Item) Content {
	c := Content{Tag: tag, Key: strings.Clone(key), Value: bytes.Clone(it.Value), Version: it.Version}
	if it.Deadline != 0 {
		c.Deadline = time.UnixMilli(it.Deadline)
	}
	return c
}
