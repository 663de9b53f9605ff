package checkpoint

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

const (
	// packedBlock is the bit in the length of a block that is compressed.
	packedBlock = 1 << 31
	packedHead  = 4
	// maxRatio bounds what unpacking a large block allocates, as a multiple of its
	// packed size. What would be packed better than that is not packed.
	maxRatio = 1024
)

// maxBody bounds the body of a block that is packed in n bytes.
func maxBody(n int) int { return max(4*blockTarget, min(n*maxRatio, maxBlock)) }

// appendPacked appends the body of a block as it is compressed, or returns nil
// where that is of no use.
func appendPacked(dst []byte, enc *zstd.Encoder, body []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = enc.EncodeAll(body, dst)
	if len(dst) >= len(body) || len(body) > maxBody(len(dst)) {
		return nil
	}
	return dst
}

// unpacker reads the bodies of compressed blocks.
type unpacker struct {
	zstd *zstd.Decoder
	body []byte
}

// unpack returns a body as it was, valid until the next call. What cannot be
// unpacked is an errMalformed.
func (u *unpacker) unpack(b []byte) ([]byte, error) {
	if u.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, err
		}
		u.zstd = z
	}
	if len(b) < packedHead {
		return nil, fmt.Errorf("%w: too short to be unpacked", errMalformed)
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n == 0 || n > maxBody(len(b)) {
		return nil, fmt.Errorf("%w: a length that none has", errMalformed)
	}
	if cap(u.body) < n {
		u.body = make([]byte, 0, n)
	}
	body, err := u.zstd.DecodeAll(b[packedHead:], u.body[:0])
	if err != nil || len(body) != n {
		return nil, fmt.Errorf("%w: %d bytes unpacked, not %d: %v", errMalformed, len(body), n, err)
	}
	if n <= writeChunk {
		u.body = body
	} else {
		u.body = nil // a single large value is not worth keeping room for
	}
	return body, nil
}
