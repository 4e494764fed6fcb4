package main

import (
	"encoding/json"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/imara/apikeys/authz/panel"
	"github.com/imara/apikeys/tokens"
)

// readProviders reads the file of --sso: a JSON list of providers of single sign-on for
// the panel. The secret of each stands in a file of its own, beside this one if its path
// is relative.
func readProviders(path string) ([]panel.Provider, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readSetting("--sso", path)
	if err != nil {
		return nil, err
	}
	var list []struct {
		panel.Provider
		ClientSecretFile string `json:"client_secret_file"`
	}
	d := json.NewDecoder(strings.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, usage("--sso %s: %v", path, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, usage("--sso %s: there is something after the list", path)
	}
	var providers []panel.Provider
	for _, p := range list {
		file := p.ClientSecretFile
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		secret, err := readSetting("--sso "+path+": the client secret of "+strconv.Quote(p.ID), file)
		if err != nil {
			return nil, err
		}
		p.ClientSecret = tokens.Secret(secret)
		providers = append(providers, p.Provider)
	}
	return providers, nil
}
