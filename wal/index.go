package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sort"

	"inmem/op"
	"inmem/vfs"
)

// entry says where one record is: the first 16 bytes of its payload, and the
// offset of its frame.
type entry struct {
	stream [streamSize]byte
	offset int64
}

const (
	indexMagic  = "inmemIDX"
	footerSize  = 48
	indexRecord = streamSize + 8
)

// A sealed segment ends with an index, little endian, right behind its last
// frame:
//
//	streams × ( stream 16 | start 4 | count 4 )     in order of the stream
//	positions × ( offset of the frame / 8, 4 )      a stream's lie together, ascending
//
// and a footer of 48 bytes:
//
//	 0  8  magic "inmemIDX"
//	 8  8  offset of the index = end of the frames
//	16  8  sequence of the last frame
//	24  4  number of streams
//	28  4  number of positions
//	32  4  salt of the segment, so that no payload can pass for a footer
//	36  4  zero
//	40  4  CRC-32C of the index
//	44  4  CRC-32C of bytes 0 … 43
//
// The index is derived: whoever doubts it reads the frames. A footer is written
// once the index is synced, and so vouches for it. It also says that a successor
// exists, because sealing comes after the next segment was made.
func encodeIndex(entries []entry, end int64, last uint64, salt uint32) (index, foot []byte) {
	counts := map[[streamSize]byte]uint32{}
	for i := range entries {
		counts[entries[i].stream]++
	}
	streams := slices.SortedFunc(maps.Keys(counts), func(a, b [streamSize]byte) int { return bytes.Compare(a[:], b[:]) })
	// Entries are in order of the offset: counting is enough to order them by
	// stream, and several times faster than sorting.
	index = make([]byte, 0, len(streams)*indexRecord+len(entries)*4)
	place, start := map[[streamSize]byte]uint32{}, uint32(0)
	for _, stream := range streams {
		index = append(index, stream[:]...)
		index = binary.LittleEndian.AppendUint32(index, start)
		index = binary.LittleEndian.AppendUint32(index, counts[stream])
		place[stream] = start
		start += counts[stream]
	}
	positions := index[len(index) : len(index)+len(entries)*4]
	for i := range entries {
		at := place[entries[i].stream]
		binary.LittleEndian.PutUint32(positions[4*at:], uint32(entries[i].offset/align))
		place[entries[i].stream] = at + 1
	}
	index = index[:len(index)+len(positions)]
	foot = make([]byte, footerSize)
	copy(foot, indexMagic)
	binary.LittleEndian.PutUint64(foot[8:], uint64(end))
	binary.LittleEndian.PutUint64(foot[16:], last)
	binary.LittleEndian.PutUint32(foot[24:], uint32(len(streams)))
	binary.LittleEndian.PutUint32(foot[28:], uint32(len(entries)))
	binary.LittleEndian.PutUint32(foot[32:], salt)
	binary.LittleEndian.PutUint32(foot[40:], crc32.Checksum(index, castagnoli))
	binary.LittleEndian.PutUint32(foot[44:], crc32.Checksum(foot[:44], castagnoli))
	return index, foot
}

// footer is the end of a sealed segment.
type footer struct {
	end                int64
	last               uint64
	streams, positions uint32
	crc                uint32
}

// readFooter returns the footer at the end of a segment of size bytes; ok is
// false where there is none that can be believed.
func readFooter(f io.ReaderAt, size int64, salt uint32) (ft footer, ok bool, err error) {
	if size < segmentHeader+footerSize {
		return ft, false, nil
	}
	b := make([]byte, footerSize)
	if _, err := f.ReadAt(b, size-footerSize); err == io.EOF {
		return ft, false, nil // the log's owner has just cut the file
	} else if err != nil {
		return ft, false, err
	}
	sum := binary.LittleEndian.Uint32(b[44:])
	if string(b[:8]) != indexMagic || binary.LittleEndian.Uint32(b[32:]) != salt || crc32.Checksum(b[:44], castagnoli) != sum {
		return ft, false, nil
	}
	ft = footer{
		end:       int64(binary.LittleEndian.Uint64(b[8:])),
		last:      binary.LittleEndian.Uint64(b[16:]),
		streams:   binary.LittleEndian.Uint32(b[24:]),
		positions: binary.LittleEndian.Uint32(b[28:]),
		crc:       binary.LittleEndian.Uint32(b[40:]),
	}
	fits := ft.end >= segmentHeader && ft.end+ft.length()+footerSize == size
	return ft, fits, nil
}

func (ft *footer) length() int64 { return int64(ft.streams)*indexRecord + int64(ft.positions)*4 }

// readIndex returns the index in front of the footer, checked.
func readIndex(f vfs.File, ft footer) ([]byte, error) {
	b := make([]byte, ft.length())
	if _, err := f.ReadAt(b, ft.end); err != nil {
		return nil, err
	}
	if crc32.Checksum(b, castagnoli) != ft.crc {
		return nil, &op.CorruptError{File: f.Name(), Offset: ft.end, Reason: "the segment index's checksum does not match"}
	}
	return b, nil
}

// lookup returns the offsets of a stream's frames in an index.
func lookup(index []byte, ft footer, stream [streamSize]byte) []int64 {
	at := func(i int) []byte { return index[i*indexRecord : (i+1)*indexRecord] }
	n := int(ft.streams)
	i := sort.Search(n, func(i int) bool { return bytes.Compare(at(i)[:streamSize], stream[:]) >= 0 })
	if i == n || !bytes.Equal(at(i)[:streamSize], stream[:]) {
		return nil
	}
	start := binary.LittleEndian.Uint32(at(i)[streamSize:])
	count := binary.LittleEndian.Uint32(at(i)[streamSize+4:])
	if uint64(start)+uint64(count) > uint64(ft.positions) {
		return nil
	}
	offsets := make([]int64, count)
	positions := index[n*indexRecord:]
	for k := range offsets {
		offsets[k] = int64(binary.LittleEndian.Uint32(positions[4*(int(start)+k):])) * align
	}
	return offsets
}
