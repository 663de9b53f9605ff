package vfs

import "slices"

const (
	pageSize   = 4096
	sectorSize = 512 // what a disk writes whole or not at all

	// maxMemFile bounds the bytes of a file in memory, so that a wild offset is
	// an error and not an allocation.
	maxMemFile = 1 << 36
)

// page is a piece of a file. Only the content whose token it carries may write
// to it; all others share it.
type page struct {
	owner *token
	data  [pageSize]byte
}

// token is an identity. It has a size because pointers to what has none may be
// equal.
type token struct{ _ byte }

// content is the bytes of a file, by pages. A page that is missing reads as
// zeros, so room that is only allocated costs nothing. Bytes past size are zero,
// except while a crash is worked out.
type content struct {
	size      int64
	pages     []*page
	allocated spans  // what has room on the disk
	owner     *token // nil = it owns no page
}

// snapshot returns a copy which shares all pages, in time proportional to their
// number, not their bytes.
func (c *content) snapshot() content {
	c.owner = nil // what was its own is now shared
	return content{size: c.size, pages: slices.Clone(c.pages), allocated: slices.Clone(c.allocated)}
}

// read fills p from off. The caller keeps it within the size.
func (c *content) read(p []byte, off int64) {
	for len(p) > 0 {
		i, at := off/pageSize, off%pageSize
		n := min(len(p), int(pageSize-at))
		if i < int64(len(c.pages)) && c.pages[i] != nil {
			copy(p[:n], c.pages[i].data[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// bytes is all of it.
func (c *content) bytes() []byte {
	b := make([]byte, c.size)
	c.read(b, 0)
	return b
}

// write puts data at off and extends the size if need be.
func (c *content) write(data []byte, off int64) {
	c.put(data, off)
	c.size = max(c.size, off+int64(len(data)))
}

// put is write without the size.
func (c *content) put(data []byte, off int64) {
	c.allocated.add(off, off+int64(len(data)))
	for len(data) > 0 {
		i, at := off/pageSize, off%pageSize
		n := copy(c.writable(i).data[at:], data)
		data, off = data[n:], off+int64(n)
	}
}

// writable returns page i, made if it is missing and copied if it is shared.
func (c *content) writable(i int64) *page {
	if missing := i + 1 - int64(len(c.pages)); missing > 0 {
		c.pages = append(c.pages, make([]*page, missing)...)
	}
	if c.owner == nil {
		c.owner = new(token)
	}
	p := c.pages[i]
	if p == nil {
		p = &page{owner: c.owner}
	} else if p.owner != c.owner {
		p = &page{owner: c.owner, data: p.data}
	}
	c.pages[i] = p
	return p
}

// resize sets the size and forgets what lies beyond it.
func (c *content) resize(size int64) {
	c.size = size
	c.allocated.cut(size)
	if keep := (size + pageSize - 1) / pageSize; keep < int64(len(c.pages)) {
		clear(c.pages[keep:])
		c.pages = c.pages[:keep]
	}
	last := size / pageSize
	if at := size % pageSize; at > 0 && last < int64(len(c.pages)) && c.pages[last] != nil {
		clear(c.writable(last).data[at:])
	}
}

// allocate reserves [off, off+n) and extends the size if need be.
func (c *content) allocate(off, n int64) {
	c.allocated.add(off, off+n)
	c.size = max(c.size, off+n)
}

// flip inverts one bit and reports whether the content has it.
func (c *content) flip(bit int64) bool {
	at := bit / 8
	if bit < 0 || at >= c.size {
		return false
	}
	c.writable(at / pageSize).data[at%pageSize] ^= 1 << (bit % 8)
	return true
}

// span is the bytes from start to before end.
type span struct{ start, end int64 }

// spans is a set of bytes, as spans in order that neither touch nor overlap.
type spans []span

// total is the number of bytes in the set.
func (s spans) total() int64 {
	var n int64
	for _, sp := range s {
		n += sp.end - sp.start
	}
	return n
}

// missing is the number of bytes from start to before end not in the set.
func (s spans) missing(start, end int64) int64 {
	n := end - start
	for _, sp := range s[s.reaching(start):] {
		if sp.start >= end {
			break
		}
		n -= max(0, min(end, sp.end)-max(start, sp.start))
	}
	return n
}

// add puts the bytes from start to before end into the set.
func (s *spans) add(start, end int64) {
	if start >= end {
		return
	}
	first := s.reaching(start)
	last := first
	for ; last < len(*s) && (*s)[last].start <= end; last++ {
		start = min(start, (*s)[last].start)
		end = max(end, (*s)[last].end)
	}
	*s = slices.Replace(*s, first, last, span{start, end})
}

// cut takes the bytes from size on out of the set.
func (s *spans) cut(size int64) {
	n := s.reaching(size)
	if n < len(*s) && (*s)[n].start < size {
		(*s)[n].end = size
		n++
	}
	*s = (*s)[:n]
}

// reaching is the index of the first span that ends at or after at.
func (s spans) reaching(at int64) int {
	i, _ := slices.BinarySearchFunc(s, at, func(sp span, at int64) int {
		if sp.end < at {
			return -1
		}
		return 1
	})
	return i
}
