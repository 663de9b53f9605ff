package stores

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/bench/store"
)

// redisChild is where the directory of the child is written.
const redisChild = "INMEM_BENCH_REDIS_CHILD"

// The server of a process that is killed is gone, and what it acknowledged is
// there when the directory is opened again.
func TestRedisDiesWithItsProcess(t *testing.T) {
	if why := redisMissing(); why != "" {
		t.Skip(why)
	}
	if dir := os.Getenv(redisChild); dir != "" {
		beKilled(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestRedisDiesWithItsProcess$")
	cmd.Env = append(os.Environ(), redisChild+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Equal(t, "ready", lines.Text())

	require.NoError(t, poll(10*time.Second, func() (bool, error) {
		conn, err := net.Dial("unix", socketPath(dir))
		if err != nil {
			return true, nil
		}
		return false, errors.Join(errors.New("the server lives on"), conn.Close())
	}))
	s, err := openRedis(dir, store.Strict)
	require.NoError(t, err)
	value, err := s.Get(0, "key")
	assert.NoError(t, err)
	assert.Equal(t, "value", string(value))
	require.NoError(t, s.Close())
}

func beKilled(t *testing.T, dir string) {
	s, err := openRedis(dir, store.Strict)
	require.NoError(t, err)
	require.NoError(t, s.Put(0, "key", []byte("value")))
	fmt.Println("ready")
	select {}
}
