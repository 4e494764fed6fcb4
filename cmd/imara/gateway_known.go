package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What a gateway protects may be registered after it has started, so an audience or a
// scope that the server does not know stops nothing: such a gateway refuses every token
// for it. It says so where it says that it is ready, and in its log.

// served is what the server's metadata says of APIs (RFC 8414 section 2, RFC 9728
// section 4): every audience, and the scopes that any key may have.
type served struct {
	Audiences []string `json:"protected_resources"`
	Scopes    []string `json:"scopes_supported"`
}

// readServed asks the server. Its metadata is below its path too.
func readServed(ctx context.Context, url string) (s served, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/.well-known/openid-configuration", nil)
	if err != nil {
		return s, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the metadata is answered with %d", response.StatusCode)
	}
	return s, json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&s)
}

// unknown says of which --resource and --require the server knows nothing.
func (f *gatewayFlags) unknown(s served) (list []string) {
	for _, text := range f.resources {
		if _, audience, _ := strings.Cut(text, "="); !slices.Contains(s.Audiences, audience) {
			list = append(list, "--resource "+text+": the server knows no such API")
		}
	}
	for _, text := range f.requires {
		if _, scope, _ := strings.Cut(text, "="); !slices.Contains(s.Scopes, scope) {
			list = append(list, "--require "+text+": no such scope, or one that only the operator's keys may have")
		}
	}
	return list
}
