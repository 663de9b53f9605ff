// Package run says what a run is: its ID, the namespace it belongs to, the
// lifecycle of its status, its metadata with their stored form, and an index
// of runs in order of creation.
//
// It is data only, and the lowest package of the module. It knows no clock, no
// disk, no goroutine and nothing of the keys and values inside a run; where a
// run is placed is not its concern either.
//
// Invariant: what Meta.Validate accepts, AppendRecord can store; what
// DecodeRecord accepts, AppendRecord writes back byte for byte; and the zero ID
// and the zero Status name nothing.
package run

import (
	"errors"
	"fmt"
	"maps"
	"time"
	"unicode/utf8"
)

// The bounds of a run's metadata. Name, keys and values are in bytes. Stored
// records are held to them as well: they may be raised, never lowered.
const (
	MaxName     = 1 << 10
	MaxTags     = 64
	MaxTagKey   = 255
	MaxTagValue = 4 << 10
)

// Meta describes a run; it is what the one who begins the run gives. It does
// not change while the run lives, but for the tags that say what is kept of it.
type Meta struct {
	// ID names the run. The zero ID asks for a new one.
	ID ID `json:"id,omitzero"`
	// Name is for people, up to MaxName bytes of UTF-8. It need not be unique.
	Name string `json:"name,omitempty"`
	// Namespace says who the run belongs to.
	Namespace Namespace `json:"namespace"`
	// Parent is the run that began this one; the zero ID where there is none.
	Parent ID `json:"parent,omitzero"`
	// Tags are labels to find the run by: up to MaxTags, with keys of 1 to
	// MaxTagKey bytes and values of up to MaxTagValue bytes of UTF-8.
	Tags map[string]string `json:"tags,omitempty"`
}

// Validate reports what is wrong with m, as a *MetaError. The zero ID is in
// order: it asks for a new one.
func (m Meta) Validate() error {
	if reason := checkText(m.Name, MaxName); reason != "" {
		return metaError("name", reason)
	}
	if err := m.Namespace.Validate(); err != nil {
		return &MetaError{Field: "namespace", Err: err}
	}
	if !m.Parent.IsZero() && m.Parent == m.ID {
		return metaError("parent", "a run cannot be its own parent")
	}
	return m.validateTags()
}

func (m Meta) validateTags() error {
	if len(m.Tags) > MaxTags {
		return metaError("tags", fmt.Sprintf("%d tags, the limit is %d", len(m.Tags), MaxTags))
	}
	for k, v := range m.Tags {
		if k == "" {
			return metaError("tags", "a key is empty")
		}
		if reason := checkText(k, MaxTagKey); reason != "" {
			return metaError("tags", fmt.Sprintf("key %.40q: %s", k, reason))
		}
		if reason := checkText(v, MaxTagValue); reason != "" {
			return metaError("tags", fmt.Sprintf("value of %q: %s", k, reason))
		}
	}
	return nil
}

func metaError(field, reason string) error {
	return &MetaError{Field: field, Err: errors.New(reason)}
}

// checkText returns why s is no UTF-8 text of up to limit bytes, or "".
func checkText(s string, limit int) string {
	if len(s) > limit {
		return fmt.Sprintf("%d bytes, the limit is %d", len(s), limit)
	}
	if !utf8.ValidString(s) {
		return "not valid UTF-8"
	}
	return ""
}

// Info is what the store knows of a run. Times are Unix milliseconds, not
// negative.
type Info struct {
	Meta
	Status Status `json:"status"`
	// Space is true for a space: a long-lived keyspace of a namespace, kept
	// under its SpaceID, that no single run owns and that never ends.
	Space   bool  `json:"space,omitempty"`
	Created int64 `json:"created"`
	Ended   int64 `json:"ended,omitempty"` // 0 = not ended
	// FirstVersion and LastVersion bound the versions that the run has had. What
	// led to the older ones may not be kept.
	FirstVersion uint64 `json:"first_version"`
	LastVersion  uint64 `json:"last_version"`
}

// CreatedAt returns when the run began, in UTC.
func (i *Info) CreatedAt() time.Time { return time.UnixMilli(i.Created).UTC() }

// EndedAt returns when the run ended, in UTC; the zero Time while it has not.
func (i *Info) EndedAt() time.Time {
	if i.Ended == 0 {
		return time.Time{}
	}
	return time.UnixMilli(i.Ended).UTC()
}

// Clone returns a copy that shares nothing with i.
func (i *Info) Clone() *Info {
	c := *i
	c.Tags = maps.Clone(i.Tags)
	return &c
}
