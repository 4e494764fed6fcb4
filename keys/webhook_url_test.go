package keys_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// TestWebhooksThatCanNeverWorkAreRefused: at once, with the field, in every spelling of an
// address, and nothing is stored; what may work is decided when it is dialed.
func TestWebhooksThatCanNeverWorkAreRefused(t *testing.T) {
	never := strings.Fields(`
		http://hooks.example https://127.0.0.1/ https://[::1]/ https://169.254.169.254/latest https://10.0.0.1/
		https://172.16.9.9 https://192.168.0.1 https://100.64.0.1 https://0.0.0.0 https://224.0.0.1 https://255.255.255.255
		https://[fd00::1]/ https://[fe80::1]/ https://[fe80::1%25eth0]/ https://[::]/ https://[ff02::1]/
		https://[::ffff:7f00:1]/ https://[::ffff:127.0.0.1]/ https://[::127.0.0.1]/ https://[::ffff:0:127.0.0.1]/
		https://[64:ff9b::7f00:1]/ https://[64:ff9b:1::7f00:1]/ https://[2002:7f00:1::]/ https://[2001:0:7f00:1::]/
		https://0x7f000001/ https://0X7F000001/ https://2130706433/ https://017700000001/ https://127.1/ https://127.0.1/
		https://0x7f.0.0.1/ https://0177.0.0.1/ https://127.0.0.01/ https://0/ https://0x/ https://8.8.8 https://0x08080808/
		https://127.0.0.1./ https://127.0.0.1.:443/ https://１２７.0.0.1/ https://①②⑦.0.0.1/ https://127。0。0。1/
		https://localhost/ https://LOCALHOST:8443/ https://localhost./ https://api.localhost/ https://localhost.localdomain/
		https://ip6-localhost/ https://ip6-loopback/ https://localhost6.localdomain6/ https://ｌocalhost/
		https://me@hooks.example/ https://me:secret@hooks.example/ https://@hooks.example/ https://hooks.example:0/
		https://hooks.example:00/ https://hooks.example:65536/ https://hooks.example:99999999999999999999/ https://hooks.example:x/
		https:///x https://:443/ https:hooks.example hooks.example //hooks.example ftp://hooks.example file:///etc/passwd
		gopher://hooks.example javascript:alert(1) https://a..b/ https://.hooks.example/ https://hooks.example/#x
		https://127.0.0.1\@hooks.example/ https://hooks.example\@127.0.0.1/ https://[::1/ https://[127.0.0.1]/
		http://8.8.8.8/`)
	maybe := strings.Fields(`
		https://hooks.example https://hooks.example:8443/x?y=z https://HOOKS.example. https://8.8.8.8/ https://[2606:4700::1111]/
		https://1.1.1.1:443/ https://1e100.net/ https://10.0.0.1.nip.io/ https://3com.com/ https://intranet/ https://b\u00fccher.example/
		https://mylocalhost.example/ https://localhost.example/ https://my_hooks.example/`)
	r, _ := newRegistry(t, "Starter")
	add := func(r *keys.Registry, url string) error {
		by := keys.Program("test")
		w, err := r.AddWebhook(t.Context(), by, keys.Webhook{OrganizationID: "org", URL: url})
		if err == nil {
			err = r.RemoveWebhook(t.Context(), by, "org", w.ID) // there is room for ten
		}
		return err
	}
	var input *keys.InputError
	for _, url := range never {
		if err := add(r, url); !errors.As(err, &input) || input.Field != "url" {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range maybe {
		if err := add(r, strings.ReplaceAll(url, `\u00fc`, "ü")); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if list, err := r.Webhooks(t.Context(), "org"); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestWebhookNetworksMayBeLedTo: by http and https, literally and by a name; what is in none
// of them is still refused.
func TestWebhookNetworksMayBeLedTo(t *testing.T) {
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey,
		WebhookNetworks: keys.WebhookNetworks{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")}})
	if err == nil {
		_, err = r.CreateOrganization(t.Context(), keys.Program("test"), keys.Organization{ID: "org", Name: "Acme", Plan: "Starter"})
	}
	if err != nil {
		t.Fatal(err)
	}
	for url, may := range map[string]bool{
		"http://10.1.2.3/": true, "https://10.1.2.3/": true, "http://[::ffff:10.1.2.3]/": true, "http://hooks.internal/": true,
		"http://localhost:8080/": true, "http://[::1]/": true, "https://8.8.8.8/": true,
		"http://10.2.0.1/": false, "https://10.2.0.1/": false, "http://127.0.0.1/": false, "http://8.8.8.8/": false, "http://10.1/": false,
	} {
		_, err := r.AddWebhook(t.Context(), keys.Program("test"), keys.Webhook{OrganizationID: "org", URL: url})
		if may != (err == nil) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
