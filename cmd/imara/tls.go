package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// tlsFlags say with which certificate a listener speaks TLS, if it does: one in files, or
// those that an ACME server gives (RFC 8555).
type tlsFlags struct {
	cert, key         string
	hosts             []string
	directory, mailTo string
	cache             string
	insecure          bool // serveFlags.insecure
}

func (f *tlsFlags) add(flags *pflag.FlagSet, cache string) {
	flags.StringVar(&f.cert, "tls-cert", "", "file with the certificate chain (PEM); read again when it changes")
	flags.StringVar(&f.key, "tls-key", "", "file with its private key (PEM)")
	flags.StringSliceVar(&f.hosts, "acme-host", nil,
		"host whose certificate comes from an ACME server, repeatable; --listen is its port 443")
	flags.StringVar(&f.directory, "acme-directory", autocert.DefaultACMEDirectory, "URL of the ACME server")
	flags.StringVar(&f.mailTo, "acme-email", "", "address that the ACME server may write to")
	flags.StringVar(&f.cache, "acme-cache", cache, "directory of the certificates from there (default of serve: DATA/acme)")
}

// on tells whether the listener speaks TLS.
func (f *tlsFlags) on() bool { return f.cert != "" || f.key != "" || len(f.hosts) > 0 }

// scheme is that of the listener's URL.
func (f *tlsFlags) scheme() string {
	if f.on() {
		return "https"
	}
	return "http"
}

func (f *tlsFlags) check() error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return usage("--tls-cert and --tls-key belong together")
	case f.cert != "" && len(f.hosts) > 0:
		return usage("--tls-cert and --acme-host are two ways to the same: use one")
	case len(f.hosts) > 0 && f.cache == "":
		return usage("--acme-cache is needed: an ACME server gives only so many certificates")
	case len(f.hosts) > 0:
		return checkTransport("--acme-directory", f.directory, f.insecure)
	}
	return nil
}

// suites of TLS 1.2 (RFC 9325 §4.2): with forward secrecy and authenticated encryption.
// Those of TLS 1.3 are all so.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// config returns nil for a listener without TLS. It reads the certificate, so that a
// program which cannot serve says so when it starts.
func (f *tlsFlags) config(logger *slog.Logger) (*tls.Config, error) {
	if err := f.check(); err != nil || !f.on() {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: suites,
		NextProtos: []string{"h2", "http/1.1"}}
	if len(f.hosts) > 0 {
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
		c.GetCertificate = f.acme(logger)
		return c, nil
	}
	files := &certificateFiles{cert: f.cert, key: f.key, logger: logger}
	if err := files.load(); err != nil {
		return nil, usage("--tls-cert, --tls-key: %v", err)
	}
	c.GetCertificate = files.get
	return c, nil
}

// acme gets certificates when they are first needed, proves that the host is ours in the
// TLS handshake (RFC 8737), and renews them. Who names no host gets the first.
func (f *tlsFlags) acme(
	logger *slog.Logger,
) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	manager := &autocert.Manager{Prompt: autocert.AcceptTOS, Email: f.mailTo,
		Cache: autocert.DirCache(f.cache), HostPolicy: autocert.HostWhitelist(f.hosts...),
		Client: &acme.Client{DirectoryURL: f.directory, UserAgent: "imara/" + version,
			HTTPClient: &http.Client{Timeout: time.Minute}}}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == "" {
			named := *hello
			named.ServerName = f.hosts[0]
			hello = &named
		}
		certificate, err := manager.GetCertificate(hello)
		if err != nil && manager.HostPolicy(context.Background(), hello.ServerName) == nil {
			logger.Warn("no certificate", "host", hello.ServerName, "error", err)
		}
		return certificate, err
	}
}

// certificateFiles is a certificate that is read again when its files have changed. A bad
// one changes nothing, and connections go on.
type certificateFiles struct {
	cert, key string
	logger    *slog.Logger

	mu       sync.Mutex
	current  *tls.Certificate
	read     [2][]byte // the files, when they were last read
	lastLook time.Time
}

// certificateLook is how often the files are looked at, while there are handshakes.
const certificateLook = time.Second

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.lastLook) < certificateLook {
		return f.current, nil
	}
	if err := f.load(); err != nil {
		f.logger.Error("the new certificate is no good; the old one serves on", "error", err)
	}
	return f.current, nil
}

// load reads the files, if they are others than before.
func (f *certificateFiles) load() error {
	f.lastLook = time.Now()
	cert, errCert := os.ReadFile(f.cert)
	key, errKey := os.ReadFile(f.key)
	same := bytes.Equal(cert, f.read[0]) && bytes.Equal(key, f.read[1])
	if same && f.current != nil {
		return nil
	}
	f.read = [2][]byte{cert, key}
	if err := errors.Join(errCert, errKey); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%s ended %v", f.cert, pair.Leaf.NotAfter)
	}
	if f.current != nil {
		f.logger.Info("new certificate", "until", pair.Leaf.NotAfter)
	}
	f.current = &pair
	return nil
}
