package op

import "slices"

// Large is the length from which on values are blocks, in bytes: from there on a
// copy of a value costs more than what goes with a place of its own.
const Large = 64 << 10

// BlockHead is the room that a block has in front of key and value, in bytes:
// what a run's map keeps beside them.
const BlockHead = 24

// Block is the memory of one value that is the store's own, with room in front
// for what the store keeps beside it, so that the value is not copied again. Until
// a request with it is handed over, its maker fills it; from then on it never
// changes.
type Block struct {
	memory []byte // as long as it goes
	head   int    // bytes in front of the value
	size   int    // of the value, in bytes
}

// NewBlock returns a block for a value of the given size under a key of a face.
func NewBlock(key string, size int) *Block {
	head := BlockHead + 1 + len(key) // 1 for the tag
	m := slices.Grow([]byte(nil), head+size)
	return &Block{memory: m[:cap(m)], head: head, size: size}
}

// BlockOf returns a block with a copy of a value.
func BlockOf(key string, value []byte) *Block {
	b := NewBlock(key, len(value))
	copy(b.Value(), value)
	return b
}

// Value returns the value's place.
func (b *Block) Value() []byte {
	end := b.head + b.size
	return b.memory[b.head:end:end]
}

// Holds reports whether v is the block's value: the very memory.
func (b *Block) Holds(v []byte) bool {
	return b.memory != nil && len(v) == b.size && len(v) > 0 && &v[0] == &b.memory[b.head]
}

// Take hands the memory over, once, to who puts so many bytes in front of the
// value. It returns nil where that is not the room there is: then the value has
// to be copied.
func (b *Block) Take(head int) []byte {
	if head != b.head {
		return nil
	}
	m := b.memory
	b.memory = nil
	return m
}

// OwnValues returns the request with its large values as blocks of their own, so
// that who carries it out need not copy them, or the request itself if they are
// already, or if there are none.
func OwnValues(req *Request) *Request {
	for i := range req.Writes {
		if w := &req.Writes[i]; len(w.Value) >= Large && w.Block == nil {
			return ownValues(req)
		}
	}
	return req
}

func ownValues(req *Request) *Request {
	own := *req
	own.Writes = slices.Clone(req.Writes) // those of req are the caller's
	for i := range own.Writes {
		own.Writes[i].Own()
	}
	return &own
}

// Own makes the write's value a block if it is large and not one yet, and reports
// whether it is one now.
func (w *Write) Own() bool {
	if w.Block == nil && len(w.Value) >= Large {
		w.Block = BlockOf(w.Key, w.Value)
		w.Value = w.Block.Value()
	}
	return w.Block != nil
}
