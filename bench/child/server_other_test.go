//go:build !linux

package child

import "inmem/bench/store"

// Elsewhere nothing tells what a server takes.
const serverArgument = ""

func beServer() {}

func remoteKind() store.Kind { return store.Kind{} }
