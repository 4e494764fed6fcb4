package sqlstoretest

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
	"testing"
)

// child is a process that ends with this one, however this one ends, and is not root's.
func child(t testing.TB) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: unprivileged(t)}
}

// unprivileged is whom to become, when this process is root.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("%v: apt-get install postgresql", err)
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if errUID != nil || errGID != nil {
		t.Fatal(errUID, errGID)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// giveAway makes a directory theirs whom [child] becomes.
func giveAway(t testing.TB, dir string) {
	t.Helper()
	id := unprivileged(t)
	if id == nil {
		return
	}
	if err := os.Chown(dir, int(id.Uid), int(id.Gid)); err != nil {
		t.Fatal(err)
	}
}
