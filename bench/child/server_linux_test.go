package child

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/bench/measure"
	"inmem/bench/store"
	"inmem/bench/stores"
	"inmem/bench/workload"
)

// serverArgument is the first of a process that is the server of a store.
const serverArgument = "as-server"

// What the server takes: memory, and processor time for each byte that it is sent.
const (
	serverMemory = 64 << 20
	serverTime   = 10 * time.Millisecond
)

// beServer does that, and does not end with its input: it has to be killed.
func beServer() {
	memory := make([]byte, serverMemory)
	for i := range memory {
		memory[i] = byte(i)
	}
	in := bufio.NewReader(os.Stdin)
	for {
		b, err := in.ReadByte()
		if err != nil {
			time.Sleep(time.Minute)
			return
		}
		for end := measure.CPUTime(nil) + serverTime; measure.CPUTime(nil) < end; {
			b += memory[int(b)<<10]
		}
		if _, err := os.Stdout.Write([]byte{b}); err != nil {
			return
		}
	}
}

// remote is a store of which a server does the puts.
type remote struct {
	store.Store
	cmd *exec.Cmd
	in  io.Writer
	out io.Reader
}

func remoteKind() store.Kind {
	k := stores.Btree()
	open := k.Open
	k.Name = "remote"
	k.Open = func(dir string, class store.Class) (store.Store, error) {
		inner, err := open(dir, class)
		if err != nil {
			return nil, err
		}
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		r := &remote{Store: inner, cmd: exec.Command(program, serverArgument)}
		in, err1 := r.cmd.StdinPipe()
		out, err2 := r.cmd.StdoutPipe()
		r.in, r.out = in, out
		return r, errors.Join(err1, err2, r.cmd.Start(), r.Put(0, "", nil)) // it is there when it answers
	}
	return k
}

func (r *remote) Pid() int { return r.cmd.Process.Pid }

func (r *remote) Put(int, string, []byte) error {
	if _, err := r.in.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(r.out, make([]byte, 1))
	return err
}

func (r *remote) Close() error {
	err := r.cmd.Process.Kill()
	_ = r.cmd.Wait() // says that it was killed
	return errors.Join(err, r.Store.Close())
}

// The server of a store is the store's: its memory, its processor time, and its
// death.
func TestServer(t *testing.T) {
	ctx := t.Context()
	p := start(t, "remote", store.Volatile, t.TempDir())
	require.Len(t, p.servers, 1)
	pid := p.servers[0]
	assert.NotEqual(t, p.cmd.Process.Pid, pid)

	memory, err := p.Memory(ctx)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, memory.Resident, int64(serverMemory)+measure.Resident(p.cmd.Process.Pid)/2)
	assert.GreaterOrEqual(t, memory.Collected, int64(serverMemory))

	put := workload.Cell{Name: workload.Put, Class: store.Volatile, Callers: 1}
	reply, err := p.Cell(ctx, put, 200*time.Millisecond, 0, 1, "")
	require.NoError(t, err)
	used := time.Duration(reply.Result.CPUPerOp() * float64(time.Microsecond))
	assert.Greater(t, used, serverTime/2, "%d puts", reply.Result.Ops)

	p.Kill()
	assert.Eventually(t, func() bool { return measure.Resident(pid) == 0 }, 10*time.Second, time.Millisecond,
		"the server was killed with its child")
}

// A child that ends closes its store, and that ends the server.
func TestServerIsClosed(t *testing.T) {
	p := start(t, "remote", store.Volatile, t.TempDir())
	pid := p.servers[0]
	require.NoError(t, p.Close(t.Context()))
	assert.Zero(t, measure.Resident(pid))
}
