// Package alone has Go benchmarks of inmem by itself, to compare two commits with
// benchstat: the README beside it says how. It has tests only.
package alone
