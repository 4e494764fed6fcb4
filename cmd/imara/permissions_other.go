//go:build !unix

package main

import "io/fs"

// permissions are those of the owner alone: what Go says of others on Windows is made up,
// and the access list of a file, which it has from its directory, is not looked at.
func permissions(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() & 0o700 }

// groupIsOurs tells whether the group of a file is one of this process: nothing says so here.
func groupIsOurs(fs.FileInfo) bool { return false }
