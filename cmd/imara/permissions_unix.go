//go:build unix

package main

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// permissions are those of a file.
func permissions(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() }

// groupIsOurs tells whether the group of a file is one of this process.
func groupIsOurs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	groups, err := os.Getgroups()
	gid := int(stat.Gid)
	return gid == os.Getegid() || err == nil && slices.Contains(groups, gid)
}
