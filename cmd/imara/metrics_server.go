package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/sqlstore"
	"github.com/imara/apikeys/keys"
)

// serverMetrics say which verifiers follow, and how those that joined here did in
// their examinations.
type serverMetrics struct {
	relay  *authz.Relay
	server *authz.Server
	store  *sqlstore.Store
}

var (
	verifiersNow = prometheus.NewDesc("imara_verifiers",
		"Verifiers that must confirm every revocation, the servers' own among them, by what they have shown.",
		[]string{"proof"}, nil)
	unprovedNow = prometheus.NewDesc("imara_unproved_verifiers",
		"Verifiers that serve --verifiers require would refuse, and what they broke: protocol is no examination.",
		[]string{"verifier", "implementation", "rules"}, nil)
	examinationsTotal = prometheus.NewDesc("imara_examinations_total",
		"Joins that this server graded, or that were too old to be examined.", []string{"result"}, nil)
)

var damagedTotal = prometheus.NewDesc("imara_damaged_rows_total",
	"How often a row of the database could not be read. The log names table and row.", nil, nil)

// maxUnproved bounds the series that verifiers can make by their names.
const maxUnproved = 100

func (m *serverMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- verifiersNow
	ch <- unprovedNow
	ch <- examinationsTotal
	ch <- damagedTotal
}

func (m *serverMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(damagedTotal, prometheus.CounterValue,
		float64(m.store.Damaged()))
	e := m.server.Examinations()
	counted := map[string]uint64{"passed": e.Passed, "failed": e.Failed, "not_taken": e.NotTaken}
	for result, n := range counted {
		ch <- prometheus.MustNewConstMetric(examinationsTotal, prometheus.CounterValue,
			float64(n), result)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	list, err := m.relay.Verifiers(ctx)
	if err != nil {
		return // absent is not zero
	}
	proofs := map[string]int{"proved": 0, "failed": 0, "not_examined": 0}
	unproved := make(map[[3]string]int)
	for _, v := range list {
		proofs[proofOf(v.Session)]++
		who := [3]string{v.Name, v.Implementation, v.Unproved}
		if _, known := unproved[who]; v.Unproved != "" && (known || len(unproved) < maxUnproved) {
			unproved[who]++
		}
	}
	for proof, n := range proofs {
		ch <- prometheus.MustNewConstMetric(verifiersNow, prometheus.GaugeValue,
			float64(n), proof)
	}
	for who, n := range unproved {
		ch <- prometheus.MustNewConstMetric(unprovedNow, prometheus.GaugeValue,
			float64(n), who[:]...)
	}
}

func proofOf(s keys.Session) string {
	switch {
	case s.Unproved == "":
		return "proved"
	case s.Examined():
		return "failed"
	}
	return "not_examined"
}
