// Package measure says how a cell is timed: for how long, by how many callers,
// what is counted, and what the machine is. It knows no store.
package measure
