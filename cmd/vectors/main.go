// Command vectors writes tokens/testdata/vectors.json: tokens, what a feed told, and the
// verdict that is right. It is run in the root of the repository, and writes the same
// bytes each time.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

const path = "tokens/testdata/vectors.json"

func main() {
	text, err := vectors()
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	issuer   = "https://auth.example.com"
	audience = "https://api.example.com"
	leaseMS  = 10_000
)

// A feed is what a session told. Without Joined there was none.
type feed struct {
	Joined *httpfeed.Joined `json:"joined"`
	Pages  []httpfeed.Page  `json:"pages"`
}

// A vector is one decision.
type vector struct {
	Name    string           `json:"name"`
	Feed    string           `json:"feed"`
	Token   string           `json:"token"`
	Verdict httpfeed.Verdict `json:"verdict"`
}

// vectors are all of them, as the file has them: a line for each.
func vectors() ([]byte, error) {
	s, err := newSigners()
	if err != nil {
		return nil, err
	}
	b := &book{signers: s, feeds: feeds()}
	b.forms()
	b.times()
	b.signatures()
	b.revocations()
	b.views()
	if b.err != nil {
		return nil, b.err
	}
	set := tokens.JWKSet{}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		jwk, err := s[name].JWK()
		if err != nil {
			return nil, err
		}
		if name == ed25519b {
			jwk.Algorithm = "Ed25519"
		}
		set.Keys = append(set.Keys, jwk)
	}
	var out bytes.Buffer
	line := func(format string, value any) {
		text, e := json.Marshal(value)
		err = cmp.Or(err, e)
		fmt.Fprintf(&out, format, text)
	}
	line("{\n\"issuer\": %s,\n", issuer)
	line("\"audience\": %s,\n", audience)
	line("\"lease_ms\": %s,\n", leaseMS)
	line("\"keys\": %s,\n\"feeds\": {\n", set)
	for i, name := range slices.Sorted(maps.Keys(b.feeds)) {
		line(separator(i)+"%s: ", name)
		line("%s", b.feeds[name])
	}
	out.WriteString("\n},\n\"vectors\": [\n")
	for i, v := range b.vectors {
		line(separator(i)+"%s", v)
	}
	out.WriteString("\n]\n}\n")
	return out.Bytes(), err
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ",\n"
}
