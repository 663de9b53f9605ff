package stores

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/bench/store"
)

func TestStores(t *testing.T) {
	for _, k := range All() {
		for _, c := range k.Classes {
			t.Run(fmt.Sprintf("%s/%s", k.Name, c), func(t *testing.T) {
				if why := k.Missing(); why != "" {
					t.Skip(why)
				}
				require.NoError(t, store.Check(k, c, t.TempDir()))
			})
		}
	}
}

func TestKindsAreDescribed(t *testing.T) {
	names := make(map[string]bool)
	for _, k := range All() {
		assert.False(t, names[k.Name], "%s twice", k.Name)
		names[k.Name] = true
		require.NotEmpty(t, k.Classes, k.Name)
		for _, c := range k.Classes {
			assert.NotEmpty(t, k.Notes[c], "%s, %s", k.Name, c)
		}
		assert.Len(t, k.Notes, len(k.Classes), k.Name)
	}
}

// The versions are asked for by the paths of modules that this one requires.
func TestModulesAreRequired(t *testing.T) {
	file, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	for _, path := range []string{bboltModule, badgerModule, pebbleModule, buntdbModule, sqliteModule, xsyncModule, btreeModule, rueidisModule} {
		assert.Regexp(t, `(?m)^\s`+regexp.QuoteMeta(path)+` v\S+$`, string(file), path)
	}
}

func TestRedisVersion(t *testing.T) {
	if why := redisMissing(); why != "" {
		t.Skip(why)
	}
	assert.Regexp(t, `^\d+\.\d+\.\d+$`, redisVersion())
}

// A directory may be too deep for the address of a socket.
func TestSocketPath(t *testing.T) {
	assert.Equal(t, "/data/redis.sock", socketPath("/data"))
	deep := "/" + strings.Repeat("deep/", 30)
	path := socketPath(deep + "1")
	assert.Less(t, len(path), 108)
	assert.Equal(t, path, socketPath(deep+"1"))
	assert.NotEqual(t, path, socketPath(deep+"2"))
	if why := redisMissing(); why != "" {
		t.Skip(why)
	}
	require.NoError(t, store.Check(Redis(), store.Batched, filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))))
}
