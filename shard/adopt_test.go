package shard

import (
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
)

// beginning is the first commit of a run whose first version is the given one,
// with a key from an earlier version.
func beginning(id run.ID, version uint64) *op.Commit {
	info := &run.Info{Meta: run.Meta{ID: id}, Status: run.Active, Created: 500, FirstVersion: version}
	c := &op.Commit{Run: id, Version: version, Time: 5_000_000, Ops: []op.Op{metadata(info)}}
	if version > 1 {
		c.Ops = append(c.Ops, op.Op{Kind: op.Put, Tag: op.KV, Key: "old", Value: []byte("v"), Version: version - 1})
	}
	return c
}

func kvCommit(id run.ID, version uint64, key string) *op.Commit {
	return &op.Commit{Run: id, Version: version, Time: 6_000_000, Ops: []op.Op{{Kind: op.Put, Tag: op.KV, Key: key, Value: []byte("v")}}}
}

// Commits that were made elsewhere are carried out as they are, as far as they
// follow from what is there.
func TestAdopt(t *testing.T) {
	r := newRig(t)
	for _, first := range []uint64{1, 7} {
		id := run.ID{byte(first)}
		h, err := r.Adopt(ctx, []*op.Commit{beginning(id, first), kvCommit(id, first+1, "a")}, op.Strict)
		require.NoError(t, err)
		snap := h.snapshot.Load()
		require.Equal(t, first+1, snap.Version)
		require.EqualValues(t, 6_000_000, snap.Time)
		require.Equal(t, first, snap.Info.FirstVersion)
		if it, ok := snap.Get(op.KV, "old"); first > 1 {
			require.True(t, ok)
			require.Equal(t, first-1, it.Version, "as it was")
		}

		_, err = r.Adopt(ctx, []*op.Commit{beginning(id, first)}, op.Default)
		require.ErrorIs(t, err, run.ErrExists)
		_, err = r.Adopt(ctx, []*op.Commit{kvCommit(id, first+2, "b"), kvCommit(id, first+4, "c")}, op.Default)
		var wrong *op.VersionError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, op.VersionError{Key: id.String(), Expected: first + 3, Actual: first + 2}, *wrong)
		require.Equal(t, first+2, h.snapshot.Load().Version, "what followed stands")

		// The run's own commits go on, never before what it has already.
		r.put(h, "mine", "v")
		require.Equal(t, first+3, h.snapshot.Load().Version)
		require.EqualValues(t, 6_000_000, h.snapshot.Load().Time)
	}
	for name, c := range map[string]*op.Commit{
		"no such run":             kvCommit(run.ID{99}, 2, "k"),
		"begins in the middle":    {Run: run.ID{99}, Version: 9, Ops: beginning(run.ID{99}, 1).Ops},
		"begins with no record":   {Run: run.ID{99}, Version: 1, Ops: kvCommit(run.ID{99}, 1, "k").Ops},
		"begins with a bad one":   {Run: run.ID{99}, Version: 1, Ops: []op.Op{{Kind: op.Put, Tag: op.RunMetadata, Value: []byte("x")}}},
		"a bad one in the middle": {Run: run.ID{7}, Version: 11, Ops: []op.Op{{Kind: op.Put, Tag: op.RunMetadata, Value: []byte("x")}}},
	} {
		_, err := r.Adopt(ctx, []*op.Commit{c}, op.Default)
		require.Error(t, err, name)
		require.NoError(t, r.health.Err(), name)
	}
	require.NoError(t, r.Drop(ctx, run.ID{1}, op.Default))
	_, err := r.Adopt(ctx, []*op.Commit{beginning(run.ID{1}, 1)}, op.Default)
	require.ErrorIs(t, err, run.ErrDeleted)
	want := r.digests()
	again := r.reopen()
	require.Equal(t, want, again.digests(), "a replay")
	require.NoError(t, again.Checkpoint(ctx))
	require.Equal(t, want, again.reopen().digests(), "a checkpoint")
}

// A run goes on with whoever took it up last.
func TestFence(t *testing.T) {
	r := newRig(t)
	h := r.begin()
	held := func(v uint64) error {
		_, err := r.Commit(ctx, h.ID, &op.Request{Writes: []op.Write{kvPut("k", "v")}, Fence: op.AtVersion(v)})
		return err
	}
	takeUp := func(held op.Expect) error {
		_, err := r.Commit(ctx, h.ID, &op.Request{Fence: held, Writes: []op.Write{{Kind: op.Put, Tag: op.Epoch.Tag, Key: op.Epoch.Key}}})
		return err
	}
	require.NoError(t, held(0))             // 2
	require.NoError(t, takeUp(op.Expect{})) // 3
	var fenced *op.FencedError
	require.ErrorAs(t, held(0), &fenced)
	require.Equal(t, op.FencedError{Held: 0, Now: 3}, *fenced)
	require.ErrorIs(t, takeUp(op.AtVersion(0)), op.ErrFenced)
	require.ErrorIs(t, r.SetStatus(ctx, h.ID, run.Completed, op.AtVersion(0), op.Default), op.ErrFenced)
	require.NoError(t, held(3))
	r.put(h, "k", "by somebody without a fence")
	require.NoError(t, r.Checkpoint(ctx))
	for range 2 { // from the log, and from the image
		r = r.reopen()
		require.ErrorIs(t, held(0), op.ErrFenced)
		require.NoError(t, held(3))
	}
	require.NoError(t, r.SetStatus(ctx, h.ID, run.Completed, op.AtVersion(3), op.Default))
}
