package redistest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// NewClusterNode returns a started node of a cluster, which has no slots and knows no other.
func NewClusterNode(t testing.TB) *Redis {
	t.Helper()
	bus := freePort(t)
	r := New(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "1000",
		"--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0")
	r.bus = bus
	return r
}

// NewCluster returns the nodes of a cluster: a master of all slots but two, two masters of
// one slot each, without which nobody would be elected, and a replica of the first.
func NewCluster(t testing.TB) []*Redis {
	t.Helper()
	nodes := make([]*Redis, 4)
	for i := range nodes {
		nodes[i] = NewClusterNode(t)
	}
	for _, n := range nodes[1:] {
		n.Do("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)
	}
	nodes[0].Do("CLUSTER", "ADDSLOTSRANGE", 0, 16381)
	nodes[1].Do("CLUSTER", "ADDSLOTS", 16382)
	nodes[2].Do("CLUSTER", "ADDSLOTS", 16383)
	first := fmt.Sprint(nodes[0].Do("CLUSTER", "MYID"))
	nodes[3].until("it knows the first", func() bool {
		return strings.Contains(fmt.Sprint(nodes[3].Do("CLUSTER", "NODES")), first)
	})
	nodes[3].Do("CLUSTER", "REPLICATE", first)
	for _, n := range nodes {
		n.until("the cluster is whole", func() bool {
			info := fmt.Sprint(n.Do("CLUSTER", "INFO"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:4") &&
				strings.Contains(info, "cluster_slots_ok:16384")
		})
	}
	nodes[3].until("it replicates", func() bool {
		return strings.Contains(fmt.Sprint(nodes[3].Do("INFO", "replication")), "master_link_status:up")
	})
	return nodes
}

// until waits for a condition.
func (r *Redis) until(what string, condition func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			r.Kill() // it writes to its log
			r.t.Fatalf("not in 30 s: %s\n%s", what, r.log)
		}
	}
}
