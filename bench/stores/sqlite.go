package stores

import "inmem/bench/store"

// SQLite is a table in a file.
func SQLite() store.Kind {
	const same = "A table without rowid, key (run, key), WAL. One connection that writes, under a lock, two for each " +
		"processor that read, used through the driver: the pool of database/sql would only add to its time. Prepared " +
		"statements, one for each put. 64 MB cache a connection, 4 GiB mapped, a checkpoint each 10,000 pages. "
	return store.Kind{
		Name:    "SQLite",
		Version: sqliteVersion(),
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict: same + "synchronous=FULL: each transaction is synced by itself. A power cut loses nothing.",
			store.Batched: same + "synchronous=NORMAL would sync the log only before a checkpoint, so its file is synced every " +
				"100 ms besides. A killed process loses nothing, a power cut the last 100 ms.",
		},
		Open:    openSQLite,
		Missing: sqliteMissing,
	}
}
