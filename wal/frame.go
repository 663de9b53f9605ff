package wal

import (
	"encoding/binary"
	"hash/crc32"

	"inmem/op"
)

// Kind says what a frame holds. 0 is invalid everywhere.
type Kind uint8

// The kinds below 128 belong to the caller, the others to the log.
const (
	// Record is one commit. Its payload begins with the 16 bytes of its stream.
	Record Kind = 1
	// Base stands for all records of its stream up to its sequence. Its payload is
	// a record, of what these led to. It is in compacted segments only.
	Base Kind = 2
	// Seal says that everything before it was on the device when it was
	// written. Its payload is the time, Unix milliseconds, 8 bytes.
	Seal Kind = 128
	// Packed is several records and bases, compressed. It is in compacted
	// segments only, and nobody but this package gets to see it.
	Packed Kind = 129
)

const (
	frameHeader = 32
	align       = 8
	streamSize  = 16
	// MaxPayload bounds a frame's payload, in bytes. Nothing longer is read
	// or written, whatever a length field says.
	MaxPayload = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Frame is a frame as read. Its payload is valid until the next frame is read.
type Frame struct {
	Kind     Kind
	Sequence uint64
	Synced   int64 // bytes of the segment that were on the device when it was written
	Offset   int64 // in its segment
	Payload  []byte
	// Cut says that records of the stream before this one, but behind the one
	// that was handed out before, may have been there and are not kept.
	Cut bool
}

// frameSize is the space a frame with n bytes of payload takes in a segment.
func frameSize(n int) int64 {
	return (frameHeader + int64(n) + align - 1) &^ (align - 1)
}

// A frame, little endian, begins at a multiple of 8:
//
//	 0  4  CRC-32C of all that follows, padding included
//	 4  4  length of the payload, 1 … MaxPayload
//	 8  1  kind
//	 9  3  zero
//	12  4  salt of the segment
//	16  8  sequence
//	24  8  synced: the segment's bytes below this offset were on the device
//	32  …  payload, then zeros up to a multiple of 8
//
// sealFrame completes the frame that begins at b[start:], whose payload is
// everything after the space left for the header, and returns b with padding.
func sealFrame(b []byte, start int, kind Kind, salt uint32, sequence uint64, synced int64) []byte {
	return sealAround(b, start, nil, kind, salt, sequence, synced)
}

// sealAround is sealFrame of a payload parts of which are elsewhere.
func sealAround(b []byte, start int, gaps []op.Gap, kind Kind, salt uint32, sequence uint64, synced int64) []byte {
	outside := op.InGaps(gaps)
	length := len(b) - start - frameHeader + outside
	for (len(b)-start+outside)%align != 0 {
		b = append(b, 0)
	}
	h := b[start:]
	binary.LittleEndian.PutUint32(h[4:], uint32(length))
	binary.LittleEndian.PutUint32(h[8:], uint32(kind))
	binary.LittleEndian.PutUint32(h[12:], salt)
	binary.LittleEndian.PutUint64(h[16:], sequence)
	binary.LittleEndian.PutUint64(h[24:], uint64(synced))
	sum, at := uint32(0), start+4
	for _, g := range gaps {
		sum = crc32.Update(sum, castagnoli, b[at:g.At])
		sum = crc32.Update(sum, castagnoli, g.Bytes)
		at = g.At
	}
	binary.LittleEndian.PutUint32(h, crc32.Update(sum, castagnoli, b[at:]))
	return b
}

// header is a frame's header as it stands in the file, not yet believed.
type header struct {
	crc, length, kind, salt uint32
	sequence                uint64
	synced                  int64
}

func parseHeader(b []byte) header {
	_ = b[frameHeader-1]
	return header{
		crc:      binary.LittleEndian.Uint32(b),
		length:   binary.LittleEndian.Uint32(b[4:]),
		kind:     binary.LittleEndian.Uint32(b[8:]),
		salt:     binary.LittleEndian.Uint32(b[12:]),
		sequence: binary.LittleEndian.Uint64(b[16:]),
		synced:   int64(binary.LittleEndian.Uint64(b[24:])),
	}
}

// flaw returns what is wrong with a header at offset in a segment of size
// bytes, before anything is read or allocated by its word; "" = plausible.
func (h *header) flaw(salt uint32, offset, size int64) string {
	switch {
	case h.length == 0:
		return "a frame of zero length"
	case h.length > MaxPayload || offset+frameSize(int(h.length)) > size:
		return "a frame longer than its segment"
	case h.kind == 0 || h.kind > 255:
		return "an invalid frame kind"
	case h.salt != salt:
		return "a frame of another segment"
	case h.synced < 0 || h.synced > offset:
		return "a frame that claims more synced than there was"
	}
	return ""
}

// flawFrame is the part of flaw that needs the whole frame.
func (h *header) flawFrame(frame []byte) string {
	if crc32.Checksum(frame[4:], castagnoli) != h.crc {
		return "a frame whose checksum does not match"
	}
	return ""
}
