package actor

import (
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGoRunsToItsEnd(t *testing.T) {
	release := make(chan struct{})
	a := Go("worker", func() { <-release }, func(*PanicError) { t.Error("no panic happened") })
	select {
	case <-a.Done():
		t.Fatal("done before the function returned")
	default:
	}
	require.NoError(t, a.Err())
	close(release)
	a.Wait()
	<-a.Done()
	require.NoError(t, a.Err())
}

func TestGoCatchesAPanic(t *testing.T) {
	var told *PanicError
	a := Go("worker", func() { panic(io.ErrUnexpectedEOF) }, func(p *PanicError) { told = p })
	a.Wait()
	require.NotNil(t, told, "onPanic runs before Done closes")
	assert.Equal(t, "worker", told.Actor)
	assert.Contains(t, string(told.Stack), "TestGoCatchesAPanic", "the stack is where it panicked")
	assert.EqualError(t, told, "actor worker panicked: unexpected EOF")
	assert.ErrorIs(t, a.Err(), io.ErrUnexpectedEOF)
}

func TestGoCatchesGoexit(t *testing.T) {
	var told *PanicError
	a := Go("worker", runtime.Goexit, func(p *PanicError) { told = p })
	a.Wait()
	require.NotNil(t, told)
	assert.ErrorIs(t, told, ErrGoexit)
	assert.ErrorIs(t, a.Err(), ErrGoexit)
}

func TestGoWithoutOnPanic(t *testing.T) {
	a := Go("worker", func() { panic("lost") }, nil)
	a.Wait()
	var p *PanicError
	require.ErrorAs(t, a.Err(), &p)
	assert.Equal(t, "lost", p.Value)
}

func TestGoCatchesAPanicOfOnPanic(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	for name, fn := range map[string]func(){"panic": func() { panic(first) }, "goexit": runtime.Goexit} {
		a := Go(name, fn, func(*PanicError) { panic(second) })
		a.Wait()
		assert.ErrorIs(t, a.Err(), second, name)
	}
}

func TestGoEndsWhenOnPanicExits(t *testing.T) {
	a := Go("worker", func() { panic("lost") }, func(*PanicError) { runtime.Goexit() })
	a.Wait()
	assert.ErrorContains(t, a.Err(), "lost")
}

func TestGuard(t *testing.T) {
	require.NoError(t, Guard("owner", func() {}))

	err := Guard("owner", func() { panic("value") })
	var p *PanicError
	require.ErrorAs(t, err, &p)
	assert.Equal(t, "owner", p.Actor)
	assert.Equal(t, "value", p.Value)
	assert.NoError(t, p.Unwrap(), "the value is no error")
	assert.Contains(t, string(p.Stack), "TestGuard")

	err = Guard("owner", func() { panic(nil) })
	var nilPanic *runtime.PanicNilError
	assert.ErrorAs(t, err, &nilPanic)
}
