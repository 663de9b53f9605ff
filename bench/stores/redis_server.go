package stores

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"inmem/bench/store"
)

const redisProgram = "redis-server"

func redisMissing() string {
	if _, err := exec.LookPath(redisProgram); err != nil {
		return redisProgram + " is not in the PATH (Debian: apt-get install redis-server)"
	}
	return ""
}

// redisVersion asks the program, which says "Redis server v=7.0.15 sha=…".
var redisVersion = sync.OnceValue(func() string {
	out, err := exec.Command(redisProgram, "--version").Output()
	if err != nil {
		return ""
	}
	for _, word := range strings.Fields(string(out)) {
		if version, ok := strings.CutPrefix(word, "v="); ok {
			return version
		}
	}
	return ""
})

// redisServer is a process that was started.
type redisServer struct {
	cmd    *exec.Cmd
	dir    string
	socket string
	exited chan struct{} // closed when it has, with
	err    error
}

// patience is for a server that ends, and for one that loads its file.
const (
	patienceEnd  = 30 * time.Second
	patienceLoad = 5 * time.Minute
)

func startRedis(dir string, class store.Class) (*redisServer, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	appendfsync := "always"
	if class == store.Batched {
		appendfsync = "everysec"
	}
	s := &redisServer{dir: dir, socket: socketPath(dir), exited: make(chan struct{})}
	if err := s.vacant(); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(redisProgram, "--port", "0", "--unixsocket", s.socket, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", appendfsync, "--daemonize", "no", "--logfile", s.logPath())
	dieTogether(s.cmd)
	started := make(chan error)
	go func() {
		// Where it dies together with us, it dies with this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
			close(s.exited)
		}
	}()
	return s, <-started
}

func (s *redisServer) logPath() string { return filepath.Join(s.dir, "redis.log") }

// socketPath returns a place for the socket: in the directory, or elsewhere
// where that is too long for the address of a socket.
func socketPath(dir string) string {
	const longest = 100
	path := filepath.Join(dir, "redis.sock")
	if len(path) <= longest {
		return path
	}
	h := fnv.New64a()
	h.Write([]byte(dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("inmem-bench-%x.sock", h.Sum64()))
}

// vacant waits until a server that was killed together with the process before
// has gone.
func (s *redisServer) vacant() error {
	return poll(patienceEnd, func() (bool, error) {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			return true, nil
		}
		return false, errors.Join(fmt.Errorf("another server uses %s", s.socket), conn.Close())
	})
}

// poll asks again and again until it is done, and returns the last error when
// the time is over.
func poll(patience time.Duration, done func() (bool, error)) error {
	end := time.After(patience)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok {
			return err
		}
		select {
		case <-end:
			return err
		case <-ticker.C:
		}
	}
}

// connect waits until the server has loaded its file.
func (s *redisServer) connect() (client rueidis.Client, err error) {
	err = poll(patienceLoad, func() (bool, error) {
		select {
		case <-s.exited:
			log, _ := os.ReadFile(s.logPath())
			return true, fmt.Errorf("%s ended: %w: %s", redisProgram, s.err, log)
		default:
		}
		if client == nil {
			if client, err = s.dial(); err != nil {
				return false, err
			}
		}
		err := client.Do(ctx, client.B().Ping().Build()).Error()
		return err == nil, err
	})
	if err != nil && client != nil {
		client.Close()
	}
	return client, err
}

func (s *redisServer) dial() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.socket},
		DialCtxFn: func(ctx context.Context, path string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		ForceSingleClient:   true,
		DisableCache:        true,
		DisableRetry:        true,
		ClientSetInfo:       rueidis.DisableClientSetInfo,
		MaxFlushDelay:       20 * time.Microsecond, // as is advised: more calls for each write
		ReadBufferEachConn:  64 << 10,              // a transaction takes a connection
		WriteBufferEachConn: 64 << 10,
		ConnWriteTimeout:    time.Minute,
	})
}

// wait waits for the server to end, and ends it where it does not.
func (s *redisServer) wait() error {
	select {
	case <-s.exited:
		return s.err
	case <-time.After(patienceEnd):
		return errors.Join(fmt.Errorf("%s did not end in %v", redisProgram, patienceEnd), s.kill())
	}
}

func (s *redisServer) kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	return nil
}
