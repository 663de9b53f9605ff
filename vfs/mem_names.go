package vfs

import (
	"io/fs"
	"maps"
	"slices"
	"syscall"
)

// node is a file or a directory, apart from its name. At most one name leads to
// a node: there are no links.
type node struct {
	mode fs.FileMode // permissions, kept but not enforced, and fs.ModeDir
	dir  *directory  // nil for a file
	file *storage    // nil for a directory
}

// directory holds names: as the process sees them and as the disk has them.
type directory struct {
	live   map[string]*node
	synced map[string]*node
}

func newDir(perm fs.FileMode) *node {
	return &node{
		mode: fs.ModeDir | perm.Perm(),
		dir:  &directory{live: map[string]*node{}, synced: map[string]*node{}},
	}
}

func newFile(perm fs.FileMode) *node {
	return &node{mode: perm.Perm(), file: &storage{}}
}

// place is where a name stands.
type place struct {
	dir  *directory
	name string
}

// nameOp is a create, remove, rename or mkdir. All of them come down to setting
// one or two places at once.
type nameOp []setting

// setting is what a place holds after an operation; nil = nothing.
type setting struct {
	place
	node *node
}

// change does an operation as the process sees it, and remembers that the disk
// has not.
func (m *Mem) change(op nameOp) {
	for _, s := range op {
		set(s.dir.live, s.name, s.node)
	}
	m.unsynced = append(m.unsynced, op)
}

func set(names map[string]*node, name string, n *node) {
	if n == nil {
		delete(names, name)
	} else {
		names[name] = n
	}
}

// settle makes durable the operations on the places that match, and those before
// them that they build upon: a rename from another directory takes along what was
// done there to the name it took.
func (m *Mem) settle(match func(place) bool) {
	builtUpon := map[place]bool{}
	durable := make([]bool, len(m.unsynced))
	for i, op := range slices.Backward(m.unsynced) {
		durable[i] = slices.ContainsFunc(op, func(s setting) bool { return match(s.place) || builtUpon[s.place] })
		for _, s := range op {
			if durable[i] {
				builtUpon[s.place] = true
			}
		}
	}
	var rest []nameOp
	for i, op := range m.unsynced {
		if !durable[i] {
			rest = append(rest, op)
			continue
		}
		for _, s := range op {
			set(s.dir.synced, s.name, s.node)
		}
	}
	m.unsynced = rest
}

// surviving works out the names that a power loss leaves: for each directory
// that an unsynced operation touches, its names; the others keep the synced ones.
//
// Each operation is kept or lost whole, by itself, but for this: what was done to
// a name comes after what was done to the same name before. So a rename is lost
// if the create of its source is, a lost rename leaves what had the name before,
// and a file that once had a durable name and that nobody removed has one still.
func (m *Mem) surviving(keep func() bool) map[*directory]map[string]*node {
	names := map[*directory]map[string]*node{}
	lost := map[place]bool{}
	for _, op := range m.unsynced {
		builtOnLost := slices.ContainsFunc(op, func(s setting) bool { return lost[s.place] })
		if !keep() || builtOnLost {
			for _, s := range op {
				lost[s.place] = true
			}
			continue
		}
		for _, s := range op {
			if names[s.dir] == nil {
				names[s.dir] = maps.Clone(s.dir.synced)
			}
			set(names[s.dir], s.name, s.node)
		}
	}
	return names
}

// lookup finds the node of a clean path; the root's is "".
func (m *Mem) lookup(path string) (*node, error) {
	n := m.root
	for name := range components(path) {
		if n.dir == nil {
			return nil, syscall.ENOTDIR
		}
		if n = n.dir.live[name]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// locate finds the place of a clean path, whose directory must exist, and what
// it holds, nil if nothing.
func (m *Mem) locate(path string) (place, *node, error) {
	above, name := split(path)
	if name == "" { // the root has no place
		return place{}, nil, syscall.EINVAL
	}
	n, err := m.lookup(above)
	if err != nil {
		return place{}, nil, err
	}
	if n.dir == nil {
		return place{}, nil, syscall.ENOTDIR
	}
	return place{n.dir, name}, n.dir.live[name], nil
}
