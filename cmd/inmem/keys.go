package main

import (
	"encoding/json"
	"time"

	"inmem/kv"
)

// keyInfo is what the store knows of a key.
type keyInfo struct {
	key      string
	size     int
	version  uint64
	deadline time.Time // zero = it does not expire
	value    *string   // only where it was asked for
}

func infoOf(it kv.Item) keyInfo {
	return keyInfo{key: it.Key, size: len(it.Value), version: it.Version, deadline: it.Deadline}
}

// withValue is infoOf with the value.
func withValue(it kv.Item) keyInfo {
	k := infoOf(it)
	value := string(it.Value)
	k.value = &value
	return k
}

// MarshalJSON gives text as text, and what is no text in base64 under another
// name.
func (k keyInfo) MarshalJSON() ([]byte, error) {
	var j struct {
		Key         *string `json:"key,omitempty"`
		KeyBase64   string  `json:"key_base64,omitempty"`
		Size        int     `json:"size"` // of the value, in bytes
		Version     uint64  `json:"version"`
		Deadline    string  `json:"deadline,omitempty"`
		Value       *string `json:"value,omitempty"`
		ValueBase64 string  `json:"value_base64,omitempty"`
	}
	j.Key, j.KeyBase64 = jsonText(k.key)
	j.Size, j.Version = k.size, k.version
	if !k.deadline.IsZero() {
		j.Deadline = isoTime(k.deadline.UnixMilli())
	}
	if k.value != nil {
		j.Value, j.ValueBase64 = jsonText(*k.value)
	}
	return json.Marshal(j)
}

// keyTable is a table of keys.
func keyTable() *table { return newTable("KEY", ">SIZE", ">VERSION", "EXPIRES") }

func (k *keyInfo) addTo(t *table) {
	expires := ""
	if !k.deadline.IsZero() {
		expires = timeText(k.deadline.UnixMilli(), timeLayout)
	}
	t.row(plain(k.key), bytesText(k.size), count(k.version), expires)
}
