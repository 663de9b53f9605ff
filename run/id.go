package run

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
)

// ID names a run: a UUID. The zero ID names none.
type ID [16]byte

const idTextLen = 36 // 8-4-4-4-12 hexadecimal digits

// NewID returns a new UUID version 7. The IDs that one process makes ascend in
// the order they were made. It fails only where the system has no randomness.
func NewID() (ID, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return ID{}, fmt.Errorf("inmem: make a run ID: %w", err)
	}
	return ID(u), nil
}

// ParseID reads the canonical text form of a UUID of any version, such as
// "01890a5d-ac96-774b-bcce-b302099a8057", in either case of letters. Other
// forms and the zero ID are an ErrInvalidID.
func ParseID(s string) (ID, error) {
	// The length rules out the other forms that uuid.Parse reads.
	if len(s) != idTextLen {
		return ID{}, fmt.Errorf("%w: %.40q", ErrInvalidID, s)
	}
	u, err := uuid.Parse(s)
	if err != nil || u == uuid.Nil {
		return ID{}, fmt.Errorf("%w: %q", ErrInvalidID, s)
	}
	return ID(u), nil
}

// String returns the canonical text form, in lower case.
func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// Compare orders IDs by their bytes: -1, 0 or +1. For IDs of NewID that is the
// order of time, to the millisecond.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the canonical text form; of the zero ID, no text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText wrote; anything else is an ErrInvalidID
// and leaves id as it was.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = v
	return nil
}
