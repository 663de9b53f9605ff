package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vector/indexfile"
	"inmem/vfs"
	"inmem/wal"
)

// held is the key of a script's stores that are open, by directory; frozen is
// that of what was in its directories when they were frozen.
type (
	held   struct{}
	frozen struct{}
)

// holdCmd keeps a store open until the script ends: hold DIR.
func holdCmd(ts *testscript.TestScript, _ bool, args []string) {
	db, err := inmem.Open(ts.MkAbs(args[0]), &inmem.Options{
		BatchInterval: time.Hour, // it writes what it is told to, and no seal of its own
	})
	ts.Check(err)
	ts.Defer(func() { ts.Check(db.Close()) })
	ts.Value(held{}).(map[string]*inmem.DB)[args[0]] = db
}

// writeCmd lets a store that is held put a key: write DIR RUN KEY VALUE.
func writeCmd(ts *testscript.TestScript, _ bool, args []string) {
	id, err := run.ParseID(args[1])
	ts.Check(err)
	r, err := ts.Value(held{}).(map[string]*inmem.DB)[args[0]].Run(id)
	ts.Check(err)
	_, err = r.KV().Put(context.Background(), args[2], []byte(args[3]))
	ts.Check(err)
}

// unfinishedCmd leaves, behind the last frame of a store that is held, less
// than a frame: unfinished DIR. What the store writes next covers it.
func unfinishedCmd(ts *testscript.TestScript, _ bool, args []string) {
	segments, err := filepath.Glob(filepath.Join(recovery.Dir(ts.MkAbs(args[0]), 0), "*.wal"))
	ts.Check(err)
	path := segments[len(segments)-1]
	found, err := wal.ReadSegment(vfs.OS, path, func(wal.Frame) error { return nil })
	ts.Check(err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt([]byte("half a frame"), found.End)
	ts.Check(errors.Join(err, f.Close()))
}

// freezeCmd makes a directory read-only with all that is in it, and takes down
// what that is: freeze DIR. Permissions do not stop root; frozen does.
func freezeCmd(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	writable(ts, dir, false)
	ts.Value(frozen{}).(map[string]map[string]string)[dir] = inventory(ts, dir)
}

// frozenCmd demands that nothing has changed since freeze: frozen DIR.
func frozenCmd(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	before, now := ts.Value(frozen{}).(map[string]map[string]string)[dir], inventory(ts, dir)
	if before == nil {
		ts.Fatalf("%s was not frozen", args[0])
	}
	for name := range now {
		if _, was := before[name]; !was {
			ts.Fatalf("%s is new", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now[name] != before[name] {
			ts.Fatalf("%s was\n%s\nand is\n%s", name, before[name], now[name])
		}
	}
}

// thawCmd makes a directory writable again: thaw DIR.
func thawCmd(ts *testscript.TestScript, _ bool, args []string) { writable(ts, ts.MkAbs(args[0]), true) }

func writable(ts *testscript.TestScript, dir string, yes bool) {
	ts.Check(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() &^ 0o222
		if yes {
			mode |= 0o200
		}
		return os.Chmod(path, mode)
	}))
}

// inventory describes everything below a directory. The time of a directory
// tells of files that came and went.
func inventory(ts *testscript.TestScript, dir string) map[string]string {
	all := map[string]string{}
	ts.Check(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano())
		if !e.IsDir() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] += fmt.Sprintf(" %q", content)
		}
		return nil
	}))
	return all
}

// vectorsCmd writes vectors of two elements, as 'vector put' reads them: vectors FILE N.
func vectorsCmd(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"key":"k%d","vector":[%d,%d]}`+"\n", i, i%100, i/100)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}

// spoilIndexCmd changes the middle of the only index of a store: spoilindex DIR.
func spoilIndexCmd(ts *testscript.TestScript, _ bool, args []string) {
	list, err := filepath.Glob(filepath.Join(indexfile.Dir(ts.MkAbs(args[0])), "*.index"))
	ts.Check(err)
	if len(list) != 1 {
		ts.Fatalf("%d indexes", len(list))
	}
	b, err := os.ReadFile(list[0])
	ts.Check(err)
	b[len(b)/2]++
	ts.Check(os.WriteFile(list[0], b, 0o644))
}
