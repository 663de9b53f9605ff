// Package retention says what of a store is kept: how many versions of a run's
// history, and which runs that have ended.
//
// It is data and decisions only: it knows no clock, no disk and no store, and
// removes nothing itself.
//
// Invariant: a run that is active, paused, a space or tagged to be kept is never
// chosen to be removed.
//
// retention carries no compatibility promise; package inmem, which shows its
// types, does.
package retention

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"inmem/run"
)

// Versions says how much of a run's history is kept: AllVersions, NoVersions, or
// a number n > 0: the commits that led to the last n versions, at least.
type Versions int64

// The Versions that are no number.
const (
	// AllVersions keeps the whole history. It is the default.
	AllVersions Versions = 0
	// NoVersions keeps no history: the run as it is, and what is not in a
	// checkpoint yet.
	NoVersions Versions = -1
)

// String returns "all", "none", or the number.
func (v Versions) String() string {
	switch v {
	case AllVersions:
		return "all"
	case NoVersions:
		return "none"
	}
	return strconv.FormatInt(int64(v), 10)
}

// Parse reads what String writes for valid Versions.
func Parse(text string) (Versions, error) {
	switch text {
	case "all":
		return AllVersions, nil
	case "none":
		return NoVersions, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != text {
		return 0, fmt.Errorf("%.40q is not \"all\", \"none\" or a number of versions", text)
	}
	return Versions(n), nil
}

// The tags of a run's metadata that have a say in what is kept of it.
const (
	// TagHistory says how much history of the run is kept, as Versions.String
	// writes it, whatever the policy says.
	TagHistory = "inmem.history"
	// TagKeep, with any value but "" and "false", keeps the run from being removed.
	TagKeep = "inmem.keep"
)

// Limits are what is kept of the runs that they hold for.
type Limits struct {
	// History is how much of each run's history is kept, ended or not.
	History Versions
	// EndedFor is how long a run is kept after it ended; 0 = for ever.
	EndedFor time.Duration
	// EndedRuns is how many runs that ended are kept, those that ended last; 0 =
	// all, negative = none.
	EndedRuns int
}

// Rule holds for the runs of a namespace and with tags: those that run.Filter
// finds by the same. Spaces are among them.
type Rule struct {
	Namespace run.Namespace
	Tags      map[string]string
	Limits
}

// Policy says what of a store is kept. The zero Policy keeps everything.
type Policy struct {
	Limits // for runs for which no rule holds
	// Rules come first: of those that hold for a run, the first one counts, and
	// nothing else does.
	Rules []Rule
}

// Validate reports what is wrong with the policy.
func (p *Policy) Validate() error {
	if err := p.Limits.validate(); err != nil {
		return err
	}
	for i := range p.Rules {
		if err := p.Rules[i].validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
		if err := p.Rules[i].Namespace.Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
	}
	return nil
}

func (l *Limits) validate() error {
	if l.History < NoVersions {
		return fmt.Errorf("%d versions of history", int64(l.History))
	}
	if l.EndedFor < 0 {
		return errors.New("a negative EndedFor")
	}
	return nil
}

// Clone returns a copy that shares nothing with p but tags.
func (p Policy) Clone() Policy {
	p.Rules = slices.Clone(p.Rules)
	return p
}

// rule returns which rule holds for a run; len(p.Rules) = none.
func (p *Policy) rule(info *run.Info) int {
	for i := range p.Rules {
		f := run.Filter{Namespace: p.Rules[i].Namespace, Tags: p.Rules[i].Tags, Spaces: true}
		if f.Match(info) {
			return i
		}
	}
	return len(p.Rules)
}

func (p *Policy) limits(rule int) *Limits {
	if rule < len(p.Rules) {
		return &p.Rules[rule].Limits
	}
	return &p.Limits
}

// HistoryOf returns how much of a run's history is kept. A tag that nobody can
// read keeps all of it.
func (p *Policy) HistoryOf(info *run.Info) Versions {
	if text, ok := info.Tags[TagHistory]; ok {
		v, _ := Parse(text)
		return v
	}
	return p.limits(p.rule(info)).History
}

// RemovesRuns reports whether the policy ever removes a run.
func (p *Policy) RemovesRuns() bool {
	for i := 0; i <= len(p.Rules); i++ {
		if l := p.limits(i); l.EndedFor > 0 || l.EndedRuns != 0 {
			return true
		}
	}
	return false
}

// CreatedBy returns when a run that may be removed at the moment now was created at
// the latest, Unix milliseconds: it has ended for as long as the shortest EndedFor.
// Where runs are counted any may be.
func (p *Policy) CreatedBy(now int64) int64 {
	latest := int64(math.MinInt64)
	for i := 0; i <= len(p.Rules); i++ {
		switch l := p.limits(i); {
		case l.EndedRuns != 0:
			return math.MaxInt64
		case l.EndedFor > 0:
			latest = max(latest, now-max(l.EndedFor.Milliseconds(), 1))
		}
	}
	return latest
}

// ByTime reports whether a run may be removed because time goes by.
func (p *Policy) ByTime() bool {
	for i := 0; i <= len(p.Rules); i++ {
		if p.limits(i).EndedFor > 0 {
			return true
		}
	}
	return false
}

// CutsHistory reports whether the policy itself, without a run's tag, keeps less
// than the whole history of some runs.
func (p *Policy) CutsHistory() bool {
	for i := 0; i <= len(p.Rules); i++ {
		if p.limits(i).History != AllVersions {
			return true
		}
	}
	return false
}

// Removable reports whether a run may be removed at all.
func Removable(info *run.Info) bool {
	keep := info.Tags[TagKeep]
	return info.Status.Ended() && !info.Space && (keep == "" || keep == "false")
}

// Chooser chooses which of a store's runs are removed.
type Chooser struct {
	policy *Policy
	now    int64
	chosen []*run.Info
	ended  map[int][]*run.Info // by rule: those that a count may choose
}

// NewChooser returns a Chooser for the moment now, Unix milliseconds.
func NewChooser(p *Policy, now int64) *Chooser {
	return &Chooser{policy: p, now: now, ended: map[int][]*run.Info{}}
}

// Add takes a run into account.
func (c *Chooser) Add(info *run.Info) {
	if !Removable(info) {
		return
	}
	rule := c.policy.rule(info)
	l := c.policy.limits(rule)
	switch {
	case l.EndedFor > 0 && c.now-info.Ended >= max(l.EndedFor.Milliseconds(), 1):
		c.chosen = append(c.chosen, info)
	case l.EndedRuns != 0:
		c.ended[rule] = append(c.ended[rule], info)
	}
}

// Chosen returns the runs to remove of those that were added, those that ended
// first at first.
func (c *Chooser) Chosen() []*run.Info {
	order := func(a, b *run.Info) int { return cmp.Or(cmp.Compare(a.Ended, b.Ended), a.ID.Compare(b.ID)) }
	list := slices.Clone(c.chosen)
	for rule, ended := range c.ended {
		keep := max(c.policy.limits(rule).EndedRuns, 0)
		slices.SortFunc(ended, order)
		list = append(list, ended[:max(len(ended)-keep, 0)]...)
	}
	slices.SortFunc(list, order)
	return list
}
