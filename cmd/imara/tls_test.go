//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// certify writes a certificate of one day, from its serial number on, for this machine and
// some names, and returns its pool.
func certify(t *testing.T, dir string, serial int64, ends time.Time, names ...string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: ends.Add(-24 * time.Hour), NotAfter: ends, DNSNames: append(names, "localhost"),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := writeFile(filepath.Join(dir, name), pem.EncodeToMemory(block)); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return pool
}

func trusting(pool *x509.CertPool, name string) *http.Client {
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}}
}

// serving runs a command until the test ends, and waits until it is ready for a client.
func serving(t *testing.T, client *http.Client, url string, args ...string) *bytes.Buffer {
	t.Helper()
	var talk bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, strings.NewReader(""), io.Discard, &talk) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, url+" is ready", func() bool {
		response, err := client.Get(url + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return &talk
}

// TestListenerSpeaksModernTLS: 1.2 with authenticated encryption or 1.3, and nothing in
// clear, not even where to go instead.
func TestListenerSpeaksModernTLS(t *testing.T) {
	t.Parallel()
	dir, listen := t.TempDir(), address(t)
	pool := certify(t, dir, 1, time.Now().Add(time.Hour))
	client := trusting(pool, "")
	serving(t, client, "https://"+listen, "serve", "--listen", listen, "--data", filepath.Join(dir, "data"),
		"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	response, err := client.Get("https://" + listen + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.ProtoMajor != 2 || !strings.Contains(string(body), `"issuer":"https://`+listen) {
		t.Errorf("%s %s", response.Proto, body)
	}
	hsts := response.Header.Get("Strict-Transport-Security")
	if !strings.Contains(hsts, "max-age=31536000") {
		t.Errorf("Strict-Transport-Security: %q", hsts)
	}
	for name, row := range map[string]struct {
		config *tls.Config
		good   bool
	}{
		"1.0":               {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, false},
		"1.1":               {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"1.2":               {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"1.3":               {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"1.2 with CBC":      {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		"1.2 without ECDHE": {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
	} {
		row.config.RootCAs, row.config.ServerName = pool, "localhost"
		conn, err := tls.Dial("tcp", listen, row.config)
		if (err == nil) != row.good {
			t.Errorf("TLS %s: %v", name, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
	plain, err := http.Get("http://" + listen + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest || plain.Header.Get("Location") != "" {
		t.Errorf("plain http: %d %v", plain.StatusCode, plain.Header)
	}
}

// TestCertificateIsReadAgain: a new certificate serves new connections, those that are there
// go on, and files that are no good change nothing.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir, listen := t.TempDir(), address(t)
	first := certify(t, dir, 1, time.Now().Add(time.Hour))
	client := trusting(first, "")
	talk := serving(t, client, "https://"+listen, "serve", "--listen", listen, "--data", filepath.Join(dir, "data"),
		"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	serial := func() int64 {
		conn, err := tls.Dial("tcp", listen, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	certify(t, dir, 2, time.Now().Add(time.Hour))
	eventually(t, "the new certificate serves", func() bool { return serial() == 2 })
	old := func() { // over the connection that is there: nobody else trusts the first
		t.Helper()
		response, err := client.Get("https://" + listen + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	old()
	good, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	goodKey, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	look := &certificateFiles{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
		logger: slog.New(slog.DiscardHandler)}
	if err := look.load(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(){
		"text":          func() { os.WriteFile(look.cert, []byte("none"), 0o600) },
		"empty":         func() { os.WriteFile(look.cert, nil, 0o600) },
		"gone":          func() { os.Remove(look.cert) },
		"another's key": func() { certify(t, dir, 3, time.Now().Add(time.Hour)); os.WriteFile(look.cert, good, 0o600) },
		"ended":         func() { certify(t, dir, 4, time.Now().Add(-time.Hour)) },
	} {
		os.WriteFile(look.cert, good, 0o600)
		os.WriteFile(look.key, goodKey, 0o600)
		look.load()
		spoil()
		if err := look.load(); err == nil || look.current.Leaf.SerialNumber.Int64() != 2 {
			t.Errorf("%s: %v, serial %v", name, err, look.current.Leaf.SerialNumber)
		}
	}
	if serial() != 2 {
		t.Error("a bad certificate serves")
	}
	certify(t, dir, 5, time.Now().Add(time.Hour))
	eventually(t, "a good one after a bad one serves", func() bool { return serial() == 5 })
	old()
	if strings.Contains(talk.String(), "PRIVATE KEY") {
		t.Error("the log has the key")
	}
}

// TestTLSSettingsAreRefused that cannot work, before anything is opened.
func TestTLSSettingsAreRefused(t *testing.T) {
	dir := t.TempDir()
	certify(t, dir, 1, time.Now().Add(time.Hour))
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, args := range map[string][]string{
		"no key":            {"--tls-cert", cert},
		"no certificate":    {"--tls-key", key},
		"no file":           {"--tls-cert", cert + "x", "--tls-key", key},
		"the wrong file":    {"--tls-cert", key, "--tls-key", cert},
		"two certificates":  {"--tls-cert", cert, "--tls-key", key, "--acme-host", "auth.example.com"},
		"a plain directory": {"--acme-host", "auth.example.com", "--acme-directory", "http://ca.example.com/dir"},
	} {
		var talk bytes.Buffer
		args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data")}, args...)
		if code := run(t.Context(), args, strings.NewReader(""), io.Discard, &talk); code != exitUsage {
			t.Errorf("%s: code %d, %s", name, code, talk.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a refused server made its store")
	}
}

// TestCertificateFromAnACMEServer: Pebble, Let's Encrypt's own for tests, gives one after it
// has asked the listener itself (RFC 8737).
func TestCertificateFromAnACMEServer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("pebble"); err != nil {
		if out, err := exec.Command("apt-get", "install", "-y", "pebble").CombinedOutput(); err != nil {
			t.Fatalf("pebble is needed: apt-get install pebble: %v\n%s", err, out)
		}
	}
	dir, directory, manage, names := t.TempDir(), address(t), address(t), address(t)
	certify(t, dir, 1, time.Now().Add(time.Hour))
	listen := address(t)
	_, port, _ := strings.Cut(listen, ":")
	config := fmt.Sprintf(`{"pebble":{"listenAddress":%q,"managementListenAddress":%q,"certificate":%q,"privateKey":%q,"httpPort":1,"tlsPort":%s,"ocspResponderURL":""}}`,
		directory, manage, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), port)
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	child := func(words ...string) {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "SSL_CERT_FILE="+filepath.Join(dir, "cert.pem"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Signal(syscall.SIGTERM)
			if cmd.Wait(); t.Failed() {
				t.Logf("%s: %s", words[0], log.String())
			}
		})
	}
	child("pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", names,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-management", address(t))
	child("pebble", "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", names)
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	root := x509.NewCertPool()
	eventually(t, "Pebble answers", func() bool {
		response, err := insecure.Get("https://" + manage + "/roots/0")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		chain, _ := io.ReadAll(response.Body)
		return root.AppendCertsFromPEM(chain)
	})
	child("imara", "serve", "--listen", listen, "--issuer", "https://auth.example.com",
		"--data", filepath.Join(dir, "data"), "--acme-host", "auth.example.com",
		"--acme-directory", "https://"+directory+"/dir", "--acme-email", "ops@example.com")
	client := trusting(root, "auth.example.com")
	eventually(t, "the server has a certificate", func() bool {
		response, err := client.Get("https://" + listen + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	other := &tls.Config{RootCAs: root, ServerName: "other.example.com"}
	if conn, err := tls.Dial("tcp", listen, other); err == nil {
		conn.Close()
		t.Error("a host that is not configured has a certificate")
	}
	kept, err := os.ReadDir(filepath.Join(dir, "data", "acme"))
	if err != nil || len(kept) < 2 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	for _, file := range kept {
		if info, err := file.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", file.Name(), info.Mode(), err)
		}
	}
}
