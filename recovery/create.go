package recovery

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/vfs"
	"inmem/wal"
)

// makeDir makes the store's directory where it is missing.
func (cfg *Config) makeDir() error {
	info, err := cfg.FS.Stat(cfg.Dir)
	if err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %s", op.ErrNotDirectory, cfg.Dir)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return cfg.FS.MkdirAll(cfg.Dir, 0o755)
}

// syncPath makes the names of the store's directory and of those above it
// durable. It does not ask who made them and when: a process that was killed
// right after it made them may not have come to sync them. Directories that
// cannot be synced were made by somebody else.
func (cfg *Config) syncPath() error {
	for dir := filepath.Clean(cfg.Dir); ; {
		above := filepath.Dir(dir)
		if above == dir {
			return nil
		}
		err := cfg.FS.SyncDir(above)
		if err != nil && !cannotSync(err) {
			return err
		}
		dir = above
	}
}

// cannotSync reports whether the error says that a directory is beyond our
// reach, and nothing about the disk.
func cannotSync(err error) bool {
	for _, target := range []error{fs.ErrPermission, errors.ErrUnsupported, syscall.EINVAL, syscall.EROFS} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// create makes a new store. The manifest comes last: before it there is none.
func (st *Store) create(cfg *Config) (*checkpoint.Manifest, error) {
	var err error
	if st.Report.Verdict, err = cfg.sweep(); err != nil {
		return nil, err
	}
	n := cfg.Shards
	if n == 0 {
		n = cfg.DefaultShards
	}
	now := max(cfg.Wall().UnixMilli(), 1)
	m := &checkpoint.Manifest{Created: now, Time: now, Shards: make([]checkpoint.Shard, n)}
	if _, err := rand.Read(m.Store[:]); err != nil {
		return nil, err
	}
	for i := range m.Shards {
		m.Shards[i].First = 1
		dir := Dir(cfg.Dir, i)
		if err := cfg.FS.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := wal.Create(cfg.FS, dir, identity(m, i), wal.Options{Now: func() int64 { return now }}); err != nil {
			return nil, err
		}
	}
	if err := cfg.FS.SyncDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := cfg.syncPath(); err != nil {
		return nil, err
	}
	return m, checkpoint.NewManifestFile(cfg.FS, cfg.Dir, m).Update(func(*checkpoint.Manifest) {})
}

// sweep removes what an unfinished creation left, and refuses where there was
// more: then a manifest is missing, and nothing is removed.
func (cfg *Config) sweep() (Verdict, error) {
	dirs, err := shardDirs(cfg.FS, cfg.Dir)
	if err != nil || len(dirs) == 0 {
		return Created, err
	}
	if err := orphaned(cfg.FS, cfg.Dir, dirs); err != nil {
		return "", err
	}
	for _, dir := range dirs {
		if err := wal.Discard(cfg.FS, dir); err != nil {
			return "", err
		}
		left, err := cfg.FS.ReadDir(dir)
		if err != nil {
			return "", err
		}
		if len(left) > 0 {
			continue // not ours; a new shard does not mind
		}
		if err := cfg.FS.Remove(dir); err != nil {
			return "", err
		}
	}
	return Recreated, nil
}

// shardDirs returns the directories of shards, in order.
func shardDirs(fsys vfs.FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), shardPrefix) {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs, nil
}

// orphaned returns the damage that a store without a manifest has: none where
// no shard holds data. It only reads.
func orphaned(fsys vfs.FS, dir string, shards []string) error {
	for _, shard := range shards {
		unused, err := wal.Unused(fsys, shard)
		if err != nil {
			return err
		}
		images, err := checkpoint.Any(fsys, shard)
		if err != nil {
			return err
		}
		if !unused || images {
			return &op.CorruptError{File: filepath.Join(dir, manifestName),
				Reason: "the manifest is missing, but " + filepath.Base(shard) + " has data"}
		}
	}
	return nil
}
