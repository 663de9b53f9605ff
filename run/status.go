package run

import "fmt"

// Status says where a run is in its life:
//
//	active ⇄ paused
//	active → completed, failed, cancelled, archived
//	paused → cancelled, archived
//	completed, failed, cancelled → archived
//
// Only an active run takes writes.
type Status uint8

// The statuses. 0 is invalid everywhere.
const (
	Active    Status = 1
	Paused    Status = 2
	Completed Status = 3
	Failed    Status = 4
	Cancelled Status = 5
	Archived  Status = 6 // kept for the record only
)

var statusNames = [...]string{
	Active: "active", Paused: "paused", Completed: "completed",
	Failed: "failed", Cancelled: "cancelled", Archived: "archived",
}

// nextStatuses holds for each status the set of those that may follow it.
var nextStatuses = [...]statusSet{
	Active:    setOf(Paused, Completed, Failed, Cancelled, Archived),
	Paused:    setOf(Active, Cancelled, Archived),
	Completed: setOf(Archived),
	Failed:    setOf(Archived),
	Cancelled: setOf(Archived),
	Archived:  0,
}

// statusSet is a set of valid statuses, a bit for each.
type statusSet uint8

func setOf(list ...Status) (set statusSet) {
	for _, s := range list {
		set |= 1 << s
	}
	return set
}

func (set statusSet) has(s Status) bool { return set&(1<<s) != 0 }

// Valid reports whether s is one of the statuses above.
func (s Status) Valid() bool { return s >= Active && s <= Archived }

// Ended reports whether a run in this status is over for good.
func (s Status) Ended() bool { return s >= Completed && s <= Archived }

// Become returns nil where a run in status s may change to the given one, and
// a *TransitionError otherwise, in which the caller may fill in the run's ID.
// A status never becomes itself.
func (s Status) Become(to Status) error {
	if s.Valid() && nextStatuses[s].has(to) {
		return nil
	}
	return &TransitionError{From: s, To: to}
}

func (s Status) String() string {
	if s.Valid() {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// ParseStatus reads what String writes for a valid status; anything else is an
// ErrInvalidStatus.
func ParseStatus(text string) (Status, error) {
	for s := Active; s.Valid(); s++ {
		if statusNames[s] == text {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%w: %.40q", ErrInvalidStatus, text)
}

// MarshalText returns the status as String does; an invalid one is an
// ErrInvalidStatus.
func (s Status) MarshalText() ([]byte, error) {
	if !s.Valid() {
		return nil, fmt.Errorf("%w: %v", ErrInvalidStatus, s)
	}
	return []byte(statusNames[s]), nil
}

// UnmarshalText reads what MarshalText wrote; anything else is an
// ErrInvalidStatus and leaves s as it was.
func (s *Status) UnmarshalText(text []byte) error {
	v, err := ParseStatus(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
