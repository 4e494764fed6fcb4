package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// The kids of the vectors. The last is in no JWK Set.
const (
	es256    = "es256-one"
	es256b   = "es256-two"
	rs256    = "rs256-one"
	eddsa    = "eddsa-one"
	ed25519b = "ed25519-one" // published with the name of RFC 9864
	unknown  = "es256-unknown"
)

// newSigners makes the keys, always the same: they are good for nothing else.
func newSigners() (map[string]*signing.Signer, error) {
	signers := make(map[string]*signing.Signer)
	for _, kid := range []string{es256, es256b} {
		seed := sha256.Sum256([]byte("imara test vectors " + kid))
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
		if err != nil {
			return nil, err
		}
		if signers[kid], err = signing.SignerOf(kid, tokens.ES256, private); err != nil {
			return nil, err
		}
	}
	var err error
	for _, kid := range []string{eddsa, ed25519b} {
		seed := sha256.Sum256([]byte("imara test vectors " + kid))
		private := ed25519.NewKeyFromSeed(seed[:])
		if signers[kid], err = signing.SignerOf(kid, tokens.EdDSA, private); err != nil {
			return nil, err
		}
	}
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(rsaTestKey, "\n", ""))
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signers[rs256], err = signing.SignerOf(rs256, tokens.RS256, private)
	return signers, err
}

// rsaTestKey is a PKCS #1 key that protects nothing: RSA keys cannot be derived from a
// few words.
const rsaTestKey = `MIIEowIBAAKCAQEAovBJingPdHK5/62PjPZiBRizartO2Jwga/BH/5mBI5dNal3rawE2qzltzKU1
cH8V0ZjmkpeC74nZWDg/LpE5PZZ8tdO/6Mer9jjSQW+FgMCU+MFtyFOU7NqO0hzAHWCRMipX5Pq8
enVZGPhyDYK1ArUghRt8p/B9I3e6PLAx/cVh7jbH9Lo4ne+ZtXtTtZmIIms22OHtHY3u14i5Hs6v
lt+hXgtQRkzWBZcbcjV19UqbTHhTg0LLAstYMRX2wwSOU9i8q61hI8uTf7mg5gTyRnv8P1LTWnSM
BWOivuQgMjAkqCwsH1b9jRl9nu+5pbyC/f6g4TyLKVc9XpapMEStVQIDAQABAoIBACDL/AmGrBm0
5BJ+VXg6ubUr6SVRKYg5ON9xIJTmyZMn59nCqNnDh0UEzMCV+oE322TygWq9W4oqtZhnzfPqIFrw
uQ6CXk0VL9xiSJQKRhWJ7hJ6IMZjaIUaYwgQ6GyhXOh7lHCPNbPyfeokTBTDG/s9CRwx0bAeHJow
hcikcJOTPqDNkIquyT5qFugtO0La7oHt71et6iPL2jNVukFEl+QsSEUSdmZjMj2f1iSXVauYb7mG
F2RF35Ai8w9mxLGIL6PMrzS9enCVc71jYgPBGc/SUulksybu9rzLTbg0lB31Cn+LzC3phws7mmax
K6/eeVs/BVw1Ut60jxMbWijwEIsCgYEA1DicuQ6bY2fSzcrZ7Wgfm3U9cv46V0F1GUTsThXlsMLf
NAdvPo1RV9No7Y0nXU+TypwQtPhY74VYhD8jOXCgpgTTthaa0h/V73qsibIpzeUhKi1Voowe9JE6
QX4jJnzTku39MJFWO7QmYHffb7Cf8Tjm7uDC8x906hdDO77xjb8CgYEAxI0RVUp78kTEgC/8g5hQ
Pf39AEiWTDpGzuSsKii/1M7bCDHeZqXnbJkNaoCgj7AQvQf4XSVEZD87NIslXACfoxsIf9XPDMSZ
gJsoVFcCL8OADBxXFw+On7JM3UKIjf4JH1gUCEz3zU/FvTEV7cawMxJpAZfIjCbPjckqg3kaMesC
gYB3/bZnT+H995MSdpJ3kDrmzAg9f47/DOynp/ewQuNG6TgIk/eLN535eXhHcFsEgF0A3vL3T8AB
VbTxuT0yWgMLO4l02B0bl5J/wC3UAR9v4hC5Zz6XFIDgKUj2BNrdBREfb16L2nEWesqEGuMDpKsa
WeEAyaaQjoWtYg/KtTCgwwKBgQC+7L0ymZjO3If4cSSb+9+uaENT/C6rO0y++phWl6DIKmvPiQmd
snicIAxNMUdGbGPGC7DxYhsOOfHb93JB7YUkXkUiUGHA6FSn/Y/uZVqFZSXEHd9nUkBb1kod/9w/
+c2Iufkzmvh3Yo8VWVIQ2Bkeczq3RmaT5btl4kw+y+trIwKBgDlpKfuaUkji7TkUAiylcKVxfc1M
TKyg2v7vYTJCHYJHavkr+SO36rQ/RjLpD8qHw1Hl4sY2pn+UvSQ2DPrsPj2w+te6YFC9sowD5OEZ
otplJvW7xVfgkzwSWBI0piOE1xtT60PRnaQUs8FfDejU3QhHjJ2Y1smMGOxAX4y8145T`
