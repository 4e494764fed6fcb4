package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/gateway"
)

// gatewayMetrics are the state of a gateway's view, and what its resources decided
// while it was stale. No label names a client.
type gatewayMetrics struct {
	revocations *tokens.Revocations
	resources   map[string]gateway.Resource
}

var (
	viewAge = prometheus.NewDesc("imara_revocation_view_age_seconds",
		"How old the view of the revocations is; absent while nothing is known.", nil, nil)
	viewPosition = prometheus.NewDesc("imara_revocation_feed_sequence",
		"Position in the revocation log up to which every entry is applied.", nil, nil)
	staleDecisions = prometheus.NewDesc("imara_stale_decisions_total",
		"Decisions while the view was older than the lease: refused with 503, introspected, or accepted under a waiver.",
		[]string{"resource", "decision"}, nil)
	decisions = prometheus.NewDesc("imara_decisions_total",
		"Requests that the gateway decided: accepted, or refused for a reason.",
		[]string{"resource", "decision", "reason"}, nil)
)

func (m *gatewayMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- viewAge
	ch <- viewPosition
	ch <- staleDecisions
	ch <- decisions
}

func (m *gatewayMetrics) Collect(ch chan<- prometheus.Metric) {
	if age := m.revocations.Age(); age < 365*24*time.Hour {
		ch <- prometheus.MustNewConstMetric(viewAge, prometheus.GaugeValue, age.Seconds())
	}
	ch <- prometheus.MustNewConstMetric(viewPosition, prometheus.GaugeValue, float64(m.revocations.Watermark()))
	for name, resource := range m.resources {
		counts := resource.Verifier.Counts()
		for decision, n := range map[string]uint64{"refused": counts.Refused, "introspected": counts.Introspected, "accepted": counts.Accepted} {
			ch <- prometheus.MustNewConstMetric(staleDecisions, prometheus.CounterValue, float64(n), name, decision)
		}
		for reason, n := range resource.Verifier.Decisions() {
			decision := "refused"
			if reason == "accepted" {
				decision, reason = reason, ""
			}
			ch <- prometheus.MustNewConstMetric(decisions, prometheus.CounterValue, float64(n), name, decision, reason)
		}
	}
}

// serveMetrics answers GET /metrics for Prometheus until ctx ends, on an address
// of its own that callers of the program do not reach.
func serveMetrics(ctx context.Context, address string, logger *slog.Logger, collector prometheus.Collector) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := web.NewMux(nil)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn)}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(listener)
	return nil
}
