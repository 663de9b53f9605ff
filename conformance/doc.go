// Package conformance holds the faces of inmem against test suites that others
// wrote for their own interfaces: github.com/ipfs/go-datastore's for stores of
// keys and values, and github.com/hallgren/eventsourcing's for stores of events
// and of snapshots.
//
// It has tests only, and adapters that make a face look like the interface its
// suite is for. They show what such a thing takes; they are no part of inmem.
package conformance
