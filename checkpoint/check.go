package checkpoint

import (
	"bytes"
	"fmt"

	"inmem/op"
	"inmem/run"
)

// Check reads the image of a run and holds all that the entry says of it against
// it: the digest and the run's record too, which Image takes on trust.
func (fs *Files) Check(e *Entry) error {
	corrupt := func(reason string) error {
		return &op.CorruptError{File: fs.Name(e), Offset: e.Location.Offset, Reason: reason}
	}
	if _, err := run.DecodeRecord(e.Run, e.Info); err != nil {
		return corrupt(err.Error())
	}
	var digest op.Digester
	var record []byte
	metadata := op.MapKey(op.RunMetadata, "")
	err := fs.Image(e, func(key []byte, it op.Item) {
		digest.Add(string(key), it)
		if string(key) == metadata {
			record = bytes.Clone(it.Value)
		}
	})
	switch {
	case err != nil:
		return err
	case digest.Sum(e.Version) != e.Digest:
		return corrupt(fmt.Sprintf("the image of run %v does not have the digest the index says", e.Run))
	case !bytes.Equal(record, e.Info):
		return corrupt(fmt.Sprintf("the image of run %v has another record than the index", e.Run))
	}
	return nil
}
