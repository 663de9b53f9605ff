package measure

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Environment is what the figures depend on beside the code that is measured.
type Environment struct {
	Date       string   `json:"date"`
	Go         string   `json:"go"`
	OS         string   `json:"os"`
	Kernel     string   `json:"kernel,omitempty"`
	CPU        string   `json:"cpu,omitempty"`
	CPUs       int      `json:"cpus"`
	Memory     int64    `json:"memory_bytes,omitempty"`
	FileSystem string   `json:"file_system,omitempty"`
	Commit     string   `json:"commit,omitempty"`
	Flags      string   `json:"flags"`
	Seed       uint64   `json:"seed"`
	Modules    []Module `json:"modules"`
}

// Module is a module that was built in.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Describe tells of this machine and this program. The directory is where the
// stores will be, flags is what the program was called with.
func Describe(dir, flags string, seed uint64) Environment {
	e := Environment{
		Date: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version(),
		OS: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Kernel:     firstLine("/proc/sys/kernel/osrelease"),
		CPU:        processor(readText("/proc/cpuinfo")),
		Memory:     kilobytes(readText("/proc/meminfo"), "MemTotal:"),
		FileSystem: fileSystem(dir, readText("/proc/mounts")),
		Commit:     commit(), Flags: flags, Seed: seed,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			e.Modules = append(e.Modules, Module{m.Path, m.Version})
		}
	}
	return e
}

// readText returns what is in a file, or nothing: other systems lack it.
func readText(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}

func firstLine(name string) string {
	line, _, _ := strings.Cut(readText(name), "\n")
	return line
}

func processor(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return ""
}

// fileSystem returns the type of the file system that a directory is in, and
// what it is on: the mount with the longest name that leads there.
func fileSystem(dir, mounts string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	found, longest := "", -1
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		within := f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/")
		if within && len(f[1]) >= longest {
			found, longest = f[2]+" on "+f[0], len(f[1])
		}
	}
	return found
}

// commit names what is checked out, if git can tell.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
