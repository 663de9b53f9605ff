// Package embed has two embedders, which make vectors of texts: NGrams, which needs
// nothing but the text, for tests and for trying things out, and Client, which asks a
// service.
//
// It knows no store and no collection; both embedders are a vector.Embedder.
//
// Invariant: what is returned without an error is one vector for each text, in
// order, all of one length, finite, and none of them zero.
package embed
