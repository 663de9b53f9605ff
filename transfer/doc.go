// Package transfer is the file into which a run is exported, to be imported into
// another store: its whole history, commit by commit, as JSON Lines. The file
// needs no other, and is the same each time the same run is exported.
//
// Format 1. Each line is a JSON object, in UTF-8, and ends with a newline.
// Fields that are not named here are refused; those marked ? may be missing.
// Numbers are whole and not negative.
//
// The first line is the header:
//
//	tool      "inmem"
//	format    1
//	run       the run as of its last version:
//	            id              a UUID
//	            name?           a text
//	            namespace       an object: tenant, app, agent, each a text
//	            parent?         a UUID
//	            tags?           an object of texts
//	            status          "active", "paused", "completed", "failed", "cancelled" or "archived"
//	            space?          true of the space of a namespace
//	            created         Unix milliseconds
//	            ended?          Unix milliseconds
//	            first_version   of the first commit in the file
//	            last_version    of the last one
//	digest    of the run's last version, 32 hexadecimal digits, as inmem shows it
//
// Then a line for each commit, in order, without a gap:
//
//	version   first_version, first_version + 1, …
//	time      Unix milliseconds, never less than in the line before
//	ops       what the commit did, at least one:
//	            kind      "put", "delete" or "expire"
//	            tag       "kv", "event", "state", "trace", "meta" or "vector"
//	            key       a text; with key_base64 instead where it is none
//	            value     of a put: a text; with value_base64 instead where it is none
//	            deadline? of a put: Unix milliseconds
//	            version?  of a put: the version that the key keeps, of an earlier commit
//
// A text is valid UTF-8. What is none is in base64 (RFC 4648, section 4, with
// padding). The first op of the first commit puts the run's metadata, tag
// "meta", whose key is empty; the values of other tags are what their faces
// store, in the forms that docs/format.md describes.
//
// The last line is the trailer:
//
//	commits   how many lines of commits there are
//	sha256    of all bytes before this line, 64 hexadecimal digits
//
// A file may be compressed by zstd (RFC 8878), which its first four bytes tell.
//
// The package knows what an operation and a run's metadata are. It knows no
// store: whether a commit follows from the one before is not its concern, beyond
// versions and times.
//
// Invariant: what a Reader accepts, op.DecodeCommit accepts in its stored form;
// and writing what was read gives a file that reads the same.
//
// transfer carries no compatibility promise of its own; the format does: what is
// written today will be read.
package transfer
