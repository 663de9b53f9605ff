package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"inmem/op"
	"inmem/vfs"
)

const (
	manifestMagic = "inmemMAN"
	manifestName  = "MANIFEST"
	// MaxShards bounds the number of shards of a store.
	MaxShards        = 1024
	manifestFixed    = 48
	manifestPerShard = 24
	maxManifest      = manifestFixed + MaxShards*manifestPerShard + 4
	// manifestVersion is the format of manifests this program writes, and the
	// newest it reads.
	manifestVersion = 1
	// FormatVersion is the format of checkpoints that are not compressed.
	FormatVersion = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Manifest is the root of a store: what is not named here is not part of it.
type Manifest struct {
	Store   [16]byte
	Created int64 // Unix milliseconds
	Time    int64 // the store's clock does not go below this, Unix milliseconds
	Shards  []Shard
}

// Shard is what the manifest knows of a shard.
type Shard struct {
	First      uint64 // sequence at which its oldest kept log segment begins
	Synced     uint64 // its log was on the device at least up to this sequence
	Checkpoint uint64 // its newest checkpoint: the sequence it covers, which is its name; 0 = none
}

// A manifest, little endian:
//
//	 0  8  magic "inmemMAN"
//	 8  4  format version
//	12  4  number of shards n
//	16 16  store
//	32  8  created, Unix milliseconds
//	40  8  clock, Unix milliseconds
//	48 24n shards × ( first 8 | synced 8 | checkpoint 8 )
//	    4  CRC-32C of all before
func (m *Manifest) encode() []byte {
	b := make([]byte, manifestFixed, manifestFixed+len(m.Shards)*manifestPerShard+4)
	copy(b, manifestMagic)
	binary.LittleEndian.PutUint32(b[8:], manifestVersion)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(m.Shards)))
	copy(b[16:], m.Store[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(m.Created))
	binary.LittleEndian.PutUint64(b[40:], uint64(m.Time))
	for _, s := range m.Shards {
		b = binary.LittleEndian.AppendUint64(b, s.First)
		b = binary.LittleEndian.AppendUint64(b, s.Synced)
		b = binary.LittleEndian.AppendUint64(b, s.Checkpoint)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeManifest reads what encode wrote; name is for the errors.
func decodeManifest(name string, b []byte) (*Manifest, error) {
	corrupt := func(off int64, reason string) (*Manifest, error) {
		return nil, &op.CorruptError{File: name, Offset: off, Reason: reason}
	}
	if len(b) < manifestFixed+4 || string(b[:8]) != manifestMagic {
		return corrupt(0, "not a manifest: too short, or the magic does not match")
	}
	if crc32.Checksum(b[:len(b)-4], castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return corrupt(int64(len(b)-4), "the manifest's checksum does not match")
	}
	if err := checkVersion(name, binary.LittleEndian.Uint32(b[8:]), manifestVersion); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n == 0 || n > MaxShards || len(b) != manifestFixed+int(n)*manifestPerShard+4 {
		return corrupt(12, fmt.Sprintf("the manifest does not have the length of %d shards", n))
	}
	m := &Manifest{
		Store:   [16]byte(b[16:32]),
		Created: int64(binary.LittleEndian.Uint64(b[32:])),
		Time:    int64(binary.LittleEndian.Uint64(b[40:])),
		Shards:  make([]Shard, n),
	}
	for i := range m.Shards {
		s := b[manifestFixed+i*manifestPerShard:]
		m.Shards[i] = Shard{
			First:      binary.LittleEndian.Uint64(s),
			Synced:     binary.LittleEndian.Uint64(s[8:]),
			Checkpoint: binary.LittleEndian.Uint64(s[16:]),
		}
		if m.Shards[i].First == 0 {
			return corrupt(int64(manifestFixed+i*manifestPerShard), errNoFirst.Error())
		}
	}
	return m, nil
}

var errNoFirst = errors.New("a shard's log begins at sequence 0")

// check refuses a manifest that could not be read back: once it has replaced
// the old one the store would be lost.
func (m *Manifest) check() error {
	if n := len(m.Shards); n == 0 || n > MaxShards {
		return fmt.Errorf("%d shards, not 1 to %d", n, MaxShards)
	}
	for _, s := range m.Shards {
		if s.First == 0 {
			return errNoFirst
		}
	}
	return nil
}

// ReadManifest reads the manifest of the store in dir. A directory without one
// gives an error that wraps fs.ErrNotExist.
func ReadManifest(fsys vfs.FS, dir string) (*Manifest, error) {
	name := filepath.Join(dir, manifestName)
	b, err := vfs.ReadFile(fsys, name, maxManifest)
	if err != nil {
		var large *vfs.TooLargeError
		if errors.As(err, &large) {
			return nil, &op.CorruptError{File: name, Offset: maxManifest, Reason: "larger than a manifest can be"}
		}
		return nil, err
	}
	return decodeManifest(name, b)
}

// ManifestFile is the manifest of an open store, shared by its shards. It is
// replaced whole, and the replacement is the moment a checkpoint counts.
type ManifestFile struct {
	fsys vfs.FS
	dir  string

	mu sync.Mutex
	m  Manifest
}

// NewManifestFile returns the manifest of the store in dir, which is m by now.
// It writes nothing.
func NewManifestFile(fsys vfs.FS, dir string, m *Manifest) *ManifestFile {
	return &ManifestFile{fsys: fsys, dir: dir, m: *m.Clone()}
}

// Clone returns a copy.
func (m *Manifest) Clone() *Manifest {
	c := *m
	c.Shards = slices.Clone(m.Shards)
	return &c
}

// Current returns a copy of the manifest.
func (f *ManifestFile) Current() *Manifest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m.Clone()
}

// Update changes the manifest by fn and replaces the file durably. After an
// error the old manifest stands, unless it is a *FinalError: then nobody knows
// which one the disk has, and the store must stop.
func (f *ManifestFile) Update(fn func(*Manifest)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.m.Clone()
	fn(next)
	err := next.check()
	if err == nil {
		err = replace(f.fsys, filepath.Join(f.dir, manifestName), next.encode())
	}
	if err != nil {
		return fmt.Errorf("replacing the manifest: %w", err)
	}
	f.m = *next.Clone() // fn may have kept next
	return nil
}

// replace makes b the contents of the file name. It is vfs.WriteFileAtomic, but
// tells the errors after which the old contents stand from the others.
func replace(fsys vfs.FS, name string, b []byte) error {
	tmp := name + tmpSuffix
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return errors.Join(err, f.Close(), fsys.Remove(tmp))
	}
	return install(fsys, f, tmp, name)
}
