//go:build !cgo

package stores

import (
	"errors"

	"inmem/bench/store"
)

func sqliteVersion() string { return "" }

func sqliteMissing() string { return "built without cgo: set CGO_ENABLED=1 and have a C compiler" }

func openSQLite(string, store.Class) (store.Store, error) { return nil, errors.New(sqliteMissing()) }
