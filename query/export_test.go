package query

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// Forge makes a cursor of a query that has the given bytes behind its fingerprint,
// and a checksum that is right.
func Forge(q *Query, body []byte) string { return ForgeVersion(q, cursorVersion, body) }

// ForgeVersion is Forge for another version.
func ForgeVersion(q *Query, version byte, body []byte) string {
	b := append(append([]byte{version}, q.fingerprint[:]...), body...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
}

// Forged is what Forge was given.
func Forged(cursor string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		panic(err)
	}
	return b[9 : len(b)-4]
}

// Again writes a cursor anew.
func Again(cursor string) (string, error) {
	c, err := parseCursor(cursor)
	if err != nil {
		return "", err
	}
	return c.encode()
}
