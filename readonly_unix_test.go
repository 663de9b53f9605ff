//go:build unix

package inmem_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

// nobody is a user to whom nothing belongs.
const nobody = 65534

func init() { children["reader"] = readerChild }

// readerChild opens a store for reading, checks it, and tells what it found.
func readerChild() {
	dir := os.Getenv(dirEnv)
	if f, err := os.Create(filepath.Join(dir, "file")); err == nil {
		must(f.Close())
		panic("the directory can be written to")
	}
	db, err := inmem.OpenReadOnly(dir, nil)
	must(err)
	digests := map[string]inmem.Digest{}
	for info, err := range db.Runs(bg, run.Filter{Spaces: true}) {
		must(err)
		r, err := db.Run(info.ID)
		must(err)
		digests[info.ID.String()], _, err = r.Digest()
		must(err)
		for _, err := range r.History(bg, 0) {
			must(err)
		}
	}
	must(db.Close())
	checked, err := inmem.Check(dir)
	must(err)
	for _, problem := range checked.Problems {
		panic(problem)
	}
	must(json.NewEncoder(os.Stdout).Encode(digests))
}

// TestReadOnlyFilesOfAnother reads a store whose files and directories cannot be
// written to, as a user who could not change that.
func TestReadOnlyFilesOfAnother(t *testing.T) {
	s := newOSStore(t)
	s.everyKind()
	want := map[string]inmem.Digest{}
	for id, p := range s.pictures() {
		want[id.String()] = p.Digest
	}
	require.NoError(t, s.Close())
	dir := readableCopy(t, s.dir)
	before := filesOf(t, vfs.OS, dir)

	program := filepath.Join(filepath.Dir(dir), "reader")
	self, err := os.Executable()
	require.NoError(t, err)
	b, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, b, 0o755))
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "INMEM_TEST_CHILD=reader", dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.Output()
	require.NoError(t, err)
	got := map[string]inmem.Digest{}
	require.NoError(t, json.Unmarshal(out, &got))
	assert.Equal(t, want, got)
	assert.Equal(t, before, filesOf(t, vfs.OS, dir))
	s.open()
}

// readableCopy copies a store to where everybody can read it and nobody write.
func readableCopy(t *testing.T, from string) string {
	t.Helper()
	top, err := os.MkdirTemp("", "inmem-readable")
	require.NoError(t, err)
	dir := filepath.Join(top, "store")
	modes := func(directory, file fs.FileMode) {
		require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() {
				return os.Chmod(path, directory)
			}
			return os.Chmod(path, file)
		}))
	}
	t.Cleanup(func() {
		modes(0o755, 0o644)
		require.NoError(t, os.RemoveAll(top))
	})
	require.NoError(t, os.Chmod(top, 0o755))
	require.NoError(t, os.CopyFS(dir, os.DirFS(from)))
	modes(0o555, 0o444)
	return dir
}
