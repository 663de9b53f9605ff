package inmem_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
)

// faultsEnv is how many calls of each kind fail in each way; more than there
// are means every one.
const faultsEnv = "INMEM_FAULTS"

// The kinds of system calls that are made to fail: those by which the store
// changes the disk, and those by which it reads it.
var (
	changingCalls = []string{
		"fsync", "fdatasync", "pwrite64", "renameat", "ftruncate", "fallocate", "unlinkat", "mkdirat", "openat",
	}
	faultCalls = append([]string{"pread64", "getdents64"}, changingCalls...)
	otherCalls = slices.DeleteFunc(slices.Clone(faultCalls), func(call string) bool { return slices.Contains(startup, call) })
	spaceCalls = []string{"pwrite64", "fallocate", "openat"}
)

// fault is a way to fail. strace does not let a call happen that it lets fail,
// nor one at which it kills.
type fault struct {
	name   string
	errno  string // "" = the process is killed
	inject string // for strace; %[1]d is the number of the call
	hits   int    // how many calls fail at most; 0 = all from then on
	calls  []string
}

// A disk that was full once has space again for the next but one call: the
// store asks for less after it was refused much.
var faults = []fault{
	{"EIO", "EIO", "error=EIO:when=%[1]d", 1, faultCalls},
	{"EIO from then on", "EIO", "error=EIO:when=%[1]d+", 0, faultCalls},
	{"kill", "", "signal=KILL:when=%[1]d", 1, changingCalls},
	{"ENOSPC twice", "ENOSPC", "error=ENOSPC:when=%[1]d..%[2]d", 2, spaceCalls},
	{"ENOSPC from then on", "ENOSPC", "error=ENOSPC:when=%[1]d+", 0, spaceCalls},
}

// tracer runs children under strace.
type tracer struct {
	path  string
	seed  uint64
	limit int  // calls of a kind to let fail in one way
	few   bool // not all the ways

	children, failures, told, kills, acked, torn atomic.Int64
}

func newTracer(t *testing.T) *tracer {
	t.Helper()
	if raceEnabled && testing.Short() {
		t.Skip("processes whose system calls fail are slow under the race detector, and are run without it: leave -short or -race out")
	}
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace: install it, the package has that name")
	}
	probe := exec.Command(path, "-f", "-qq", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1", path, "-V")
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("strace cannot trace (%v): allow ptrace in the container (SYS_PTRACE), and kernel.yama.ptrace_scope below 3; %s", err, bytes.TrimSpace(out))
	}
	s := &tracer{path: path, seed: rand.Uint64N(1 << 32), limit: 1, few: testing.Short() || raceEnabled}
	if seed, ok := envNumber(t, seedEnv); ok {
		s.seed = seed
	}
	if n, ok := envNumber(t, faultsEnv); ok {
		s.limit, s.few = int(n), false
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with %s=%d %s=%d", seedEnv, s.seed, faultsEnv, s.limit)
		}
	})
	return s
}

// traced is what became of a child.
type traced struct {
	killed bool
	failed []string // calls, as strace shows them
	log    string
}

// run runs the child "faults" to its end. Strace shows the calls, and what it
// injects, which may be nothing.
func (s *tracer) run(t *testing.T, calls, inject string, take func(faultNote), env ...string) (out traced) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	args := []string{"-f", "-qq", "-e", "signal=none", "-o", log, "-e", "trace=" + calls}
	if !strings.HasPrefix(inject, "signal=") {
		args = append(args, "--seccomp-bpf") // much faster; but then strace's signals get lost
	}
	if inject != "" {
		args = append(args, "-e", "inject="+calls+":"+inject)
	}
	out.killed = runFaults(t, exec.Command(s.path, append(args, os.Args[0])...), take, env...)
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	out.log = string(b)
	begun := map[string]string{} // by thread
	for line := range strings.Lines(out.log) {
		thread, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasSuffix(call, "<unfinished ...>") {
			begun[thread] = call
		}
		if strings.HasSuffix(call, "(INJECTED)") {
			if strings.Contains(call, " resumed>") {
				call = begun[thread] + call
			}
			out.failed = append(out.failed, call)
		}
	}
	s.children.Add(1)
	return out
}

// runFaults runs a command that is the child "faults", or strace with it, and
// reports whether it was killed. It fails the test if the child hangs or panics.
func runFaults(t *testing.T, cmd *exec.Cmd, take func(faultNote), env ...string) (killed bool) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Env = append(append(os.Environ(), "INMEM_TEST_CHILD=faults", "GOTRACEBACK=all"), env...)
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // strace would leave the child alone
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var hangs atomic.Bool
	watchdog := time.AfterFunc(2*faultPatience, func() { hangs.Store(true); end() })
	defer func() {
		watchdog.Stop()
		if cmd.ProcessState == nil { // after a failure
			end()
			_ = cmd.Wait() // how it ended is no matter any more
		}
	}()
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<24)
	var cut error
	for lines.Scan() {
		var n faultNote
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			cut = err
			continue
		}
		take(n)
	}
	err = cmd.Wait()
	require.False(t, hangs.Load(), "the child hung")
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	require.NoError(t, cut, "only a kill cuts a line short")
	require.NoError(t, err, "the child ended badly: %s", &stderr)
	return false
}

// faultEnv is the environment of a child that opens the store in dir.
func faultEnv(dir, lives string, clock int64) []string {
	return []string{dirEnv + "=" + dir, livesEnv + "=" + lives, clockEnv + "=" + strconv.FormatInt(clock, 10)}
}

const oneThreadOnly = threadEnv + "=1"

// count runs a child in which nothing fails and returns how often it makes each
// call on the disk.
func (s *tracer) count(t *testing.T, dir, lives string, f *faultLedger) (calls map[string]int) {
	t.Helper()
	out := s.run(t, strings.Join(faultCalls, ","), "", f.take, append(faultEnv(dir, lives, f.clock), oneThreadOnly)...)
	require.Zero(t, f.incidents)
	f.finish(dir)
	calls = map[string]int{}
	made := regexp.MustCompile(`(?m)^` + strconv.Itoa(f.thread) + ` +([a-z0-9]+)\(([^)]*)`)
	for _, m := range made.FindAllStringSubmatch(out.log, -1) {
		call := m[1]
		calls[call]++
		if call == "openat" {
			require.Equal(t, calls[call] <= startupCalls, strings.Contains(m[2], startupFile), m[0])
		}
	}
	for _, call := range startup {
		calls[call] -= startupCalls
	}
	return calls
}

// sweepAll sweeps over all kinds of calls that are made, and all faults they
// can have.
func (s *tracer) sweepAll(t *testing.T, name string, faults []fault, counts map[string]int, one func(t *testing.T, f fault, call string, n int) bool) {
	for _, f := range faults {
		for _, call := range f.calls {
			if counts[call] == 0 || s.few && f.hits == 0 {
				continue
			}
			t.Run(call+" "+f.name, func(t *testing.T) {
				t.Parallel()
				s.sweep(t, name+call+f.name, counts[call], func(t *testing.T, n int) bool { return one(t, f, call, n) })
			})
		}
	}
}

// sweep lets calls of a kind fail, one in each child, from n = 1 until there is
// none left, or some of them. one reports whether the n-th call was made.
func (s *tracer) sweep(t *testing.T, name string, count int, one func(t *testing.T, n int) bool) {
	hit := 0
	try := func(n int) bool {
		was := false
		t.Run(strconv.Itoa(n), func(t *testing.T) { was = one(t, n) })
		if was {
			hit++
		}
		return was
	}
	if s.limit >= count {
		for n, missed := 1, 0; missed < 2 && !t.Failed(); n++ {
			if try(n) {
				missed = 0
			} else {
				missed++
			}
		}
	} else {
		seed := s.seed
		for _, c := range []byte(name) {
			seed = seed*31 + uint64(c)
		}
		list := rand.New(rand.NewPCG(seed, 11)).Perm(count)[:s.limit]
		slices.Sort(list)
		for _, n := range list {
			_ = !t.Failed() && try(n+1)
		}
		if hit == 0 && !t.Failed() {
			try(1) // the calls are not the same every time
		}
	}
	if !t.Failed() {
		require.NotZero(t, hit, "no call failed: the test shows nothing")
	}
}

// TestSyscallFaults lets the system calls of a store fail, one after the other,
// and kills its process at them: while it is created, works, and is opened
// again. All calls on the disk are made by one thread, so that none is left out.
func TestSyscallFaults(t *testing.T) {
	s := newTracer(t)
	counts := s.count(t, filepath.Join(t.TempDir(), "store"), "bsa", newFaultLedger(t, ""))
	for _, call := range faultCalls {
		require.NotZero(t, counts[call], "the store never calls %s", call)
	}
	t.Run("faults", func(t *testing.T) {
		s.sweepAll(t, "", faults, counts, func(t *testing.T, f fault, call string, n int) bool {
			return s.one(t, f, call, n, filepath.Join(t.TempDir(), "store"), "bsa", newFaultLedger(t, f.errno), oneThreadOnly)
		})
	})
	s.sum(t)
	t.Logf("the store's calls: %v", counts)
}

// TestSyscallFaultsOnAllThreads leaves it to Go which thread makes which call.
// Then the n-th call of every thread fails, and calls overlap.
func TestSyscallFaultsOnAllThreads(t *testing.T) {
	s := newTracer(t)
	counts := map[string]int{}
	for _, call := range otherCalls { // the threads that start the program must not fail
		counts[call] = 20 // not many threads make more of them
	}
	t.Run("faults", func(t *testing.T) {
		s.sweepAll(t, "", faults[:3], counts, func(t *testing.T, f fault, call string, n int) bool {
			f.hits = 0
			return s.one(t, f, call, n, filepath.Join(t.TempDir(), "store"), "bsa", newFaultLedger(t, f.errno))
		})
	})
	s.sum(t)
}

// TestSyscallFaultsInRecovery lets the calls fail by which a store is opened
// that crashed, and kills at them: whatever happens, each opening finds what the
// first would have found.
func TestSyscallFaultsInRecovery(t *testing.T) {
	s := newTracer(t)
	crashes := []string{"", "renameat", "fdatasync", "pwrite64", "unlinkat"} // killed at it; "" = a write is cut short
	some := 2
	if s.few {
		some = 1
	}
	rng := rand.New(rand.NewPCG(s.seed, 13))
	rng.Shuffle(len(crashes), func(i, j int) { crashes[i], crashes[j] = crashes[j], crashes[i] })
	for _, call := range crashes[:min(len(crashes), max(some, s.limit))] {
		name := "a write cut short"
		if call != "" {
			name = "killed at " + call
		}
		t.Run(name, func(t *testing.T) {
			crashed := filepath.Join(t.TempDir(), "store")
			l := s.crash(t, crashed, call, rng)
			again := func(t *testing.T) string {
				dir := filepath.Join(t.TempDir(), "store")
				require.NoError(t, os.CopyFS(dir, os.DirFS(crashed)))
				return dir
			}
			counts := s.count(t, again(t), "o", l)
			t.Run("faults", func(t *testing.T) {
				s.sweepAll(t, name, faults, counts, func(t *testing.T, f fault, call string, n int) bool {
					return s.one(t, f, call, n, again(t), "o", l.clone(t, f.errno), oneThreadOnly)
				})
			})
			t.Logf("the calls of an opening and Close: %v", counts)
		})
	}
	s.sum(t)
}

// crash leaves a store as a process does that is killed at a call, or whose last
// write was cut short.
func (s *tracer) crash(t *testing.T, dir, call string, rng *rand.Rand) *faultLedger {
	t.Helper()
	for range 100 {
		require.NoError(t, os.RemoveAll(dir))
		l := newFaultLedger(t, "")
		if call != "" {
			inject := fmt.Sprintf("signal=KILL:when=%d", 1+rng.IntN(20))
			out := s.run(t, call, inject, l.take, append(faultEnv(dir, "bsa", l.clock), oneThreadOnly)...)
			if out.killed {
				l.again()
				return l
			}
			continue
		}
		l.errno, l.tears = "EFBIG", true
		runFaults(t, exec.Command(os.Args[0]), l.take, append(faultEnv(dir, "b", l.clock), limited(40+rng.IntN(20), 200+rng.IntN(3000))...)...)
		if checked, err := inmem.Check(dir); err == nil && slices.ContainsFunc(checked.Shards, func(s recovery.ShardChecked) bool { return s.TornBytes > 0 }) {
			l.again()
			return l
		}
	}
	require.Fail(t, "it never crashed")
	return nil
}

// TestInterruptedSyscalls interrupts every second call. An interrupted call has
// not happened, and is made again; nobody is told.
func TestInterruptedSyscalls(t *testing.T) {
	s := newTracer(t)
	for first, calls := range map[int][]string{1: otherCalls, 1 + startupCalls: startup} {
		dir := filepath.Join(t.TempDir(), "store")
		l := newFaultLedger(t, "EINTR")
		out := s.run(t, strings.Join(calls, ","), fmt.Sprintf("error=EINTR:when=%d+2", first), l.take, append(faultEnv(dir, "bsa", l.clock), oneThreadOnly)...)
		require.Zero(t, l.incidents)
		l.finish(dir)
		for _, call := range calls {
			require.Contains(t, strings.Join(out.failed, "\n"), call, "no call was interrupted: the test shows nothing")
		}
	}
}

// one lets the n-th call of a kind fail, and checks everything. It reports
// whether there was one.
func (s *tracer) one(t *testing.T, f fault, call string, n int, dir, lives string, l *faultLedger, env ...string) bool {
	t.Helper()
	if slices.Contains(startup, call) {
		n += startupCalls
	}
	out := s.run(t, call, fmt.Sprintf(f.inject, n, n+f.hits-1), l.take, append(faultEnv(dir, lives, l.clock), env...)...)
	defer func() {
		if t.Failed() {
			t.Logf("these failed: %q", out.failed)
		}
	}()
	require.True(t, !out.killed || f.errno == "", "who killed it?")
	if f.hits > 0 {
		require.LessOrEqual(t, len(out.failed), f.hits)
	}
	require.LessOrEqual(t, l.incidents, len(out.failed), "more failures were told than there were")
	if len(out.failed) > 0 && f.errno == "EIO" && !mayBeSilent(out.failed) {
		require.NotZero(t, l.incidents, "nobody was told of a failure")
	}
	l.finish(dir)
	s.told.Add(int64(l.incidents))
	s.acked.Add(int64(l.acked))
	s.torn.Add(int64(l.torn))
	switch {
	case out.killed:
		s.kills.Add(1)
	case len(out.failed) > 0:
		s.failures.Add(int64(len(out.failed)))
	default:
		return false
	}
	return true
}

// silent are the failures that no caller has to be told of: of the note in LOCK of
// who holds the lock, which is for people; of the attempt of os.Remove to remove a
// directory as if it were a file, which has to fail; and of listing the files of
// indexes, which nothing depends on: that is told by an event.
var silent = regexp.MustCompile(`/LOCK", O_WRONLY\|O_CREAT\|O_TRUNC|/shard-[0-9]{4}", 0\)|/vectors", O_RDONLY`)

func mayBeSilent(failed []string) bool {
	return !slices.ContainsFunc(failed, func(call string) bool { return !silent.MatchString(call) })
}

func (s *tracer) sum(t *testing.T) {
	t.Logf("%d children: %d calls failed, of which the store told %d times; %d kills; %d commits acknowledged; %d torn tails",
		s.children.Load(), s.failures.Load(), s.told.Load(), s.kills.Load(), s.acked.Load(), s.torn.Load())
}
