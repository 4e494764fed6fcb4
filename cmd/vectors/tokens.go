package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/imara/apikeys/tokens/httpfeed"
)

// row is a vector about the token alone.
type row struct {
	name, token string
	verdict     httpfeed.Verdict
}

func (b *book) rows(rows []row) {
	for _, r := range rows {
		b.add(r.name, quiet, r.token, r.verdict)
	}
}

// forms are about the text, the header and the claims.
func (b *book) forms() {
	good := b.claimed(nil)
	h, c, s := parts(good)
	b.rows([]row{
		{"a good token", good, accept},
		{"a good RS256 token", b.by(rs256, "RS256", nil), accept},
		{"a good EdDSA token", b.by(eddsa, "EdDSA", nil), accept},
		{"a good EdDSA token that says Ed25519", b.by(eddsa, "Ed25519", nil), accept},
		{"a good token of a key that says Ed25519", b.by(ed25519b, "Ed25519", nil), accept},
		{"a good EdDSA token of a key that says Ed25519", b.by(ed25519b, "EdDSA", nil), accept},
		{"a good token of another key", b.by(es256b, "ES256", nil), accept},
		{"nothing", "", refuse},
		{"no dots", "abc", refuse},
		{"one part", h, refuse},
		{"two parts", h + "." + c, refuse},
		{"four parts", good + "." + s, refuse},
		{"an empty part more", good + ".", refuse},
		{"an empty signature", h + "." + c + ".", refuse},
		{"no header", "." + c + "." + s, refuse},
		{"no claims", h + ".." + s, refuse},
		{"white space before", " " + good, refuse},
		{"white space after", good + " ", refuse},
		{"a line break after", good + "\n", refuse},
		{"a line break inside", h + "." + c[:20] + "\n" + c[20:] + "." + s, refuse},
		{"Bearer before", "Bearer " + good, refuse},
		{"padding", h + "." + c + "." + s + "==", refuse},
		{"the other base64 alphabet", strings.NewReplacer("-", "+", "_", "/").Replace(b.claimed(fields{"scope": "~~~~????"})), refuse},
		{"a zero byte", good + "\x00", refuse},
		{"letters beyond ASCII", h + "." + c + "é." + s, refuse},
		{"bits after the signature", h + "." + c + "." + lastBits(s), refuse},
		{"bits after the claims", h + "." + lastBits(b64([]byte(b.json(claims)+strings.Repeat(" ", padTo(b.json(claims)))))) + "." + s, refuse},
		{"the longest", b.long(8192), accept},
		{"too long", b.long(8196), refuse},
	})
	b.headers()
	b.claimSets()
	b.strictness()
}

// lastBits sets a bit of the last letter that carries nothing.
func lastBits(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + string(alphabet[i|1])
}

// padTo is how many spaces make a text one byte longer than threes.
func padTo(text string) int { return (4 - len(text)%3) % 3 }

// long is a good token of a length.
func (b *book) long(length int) string {
	for n := length/4*3 - 1200; ; n++ {
		raw := b.claimed(fields{"note": strings.Repeat("x", n)})
		if len(raw) >= length {
			return raw
		}
	}
}

func (b *book) headers() {
	b.rows([]row{
		{"typ with application/", b.headed(fields{"typ": "application/at+jwt"}), accept},
		{"typ in upper case", b.headed(fields{"typ": "AT+JWT"}), accept},
		{"both", b.headed(fields{"typ": "Application/At+Jwt"}), accept},
		{"another member in the header", b.headed(fields{"note": "x"}), accept},
		{"typ JWT", b.headed(fields{"typ": "JWT"}), refuse},
		{"no typ", b.headed(fields{"typ": nil}), refuse},
		{"typ is a number", b.headed(fields{"typ": 1}), refuse},
		{"typ of a logout token", b.headed(fields{"typ": "logout+jwt"}), refuse},
		{"typ with more", b.headed(fields{"typ": "at+jwt; x"}), refuse},
		{"typ twice application", b.headed(fields{"typ": "application/application/at+jwt"}), refuse},
		{"no kid", b.headed(fields{"kid": nil}), refuse},
		{"kid is empty", b.headed(fields{"kid": ""}), refuse},
		{"kid is a number", b.headed(fields{"kid": 1}), refuse},
		{"a kid that is not published", b.headed(fields{"kid": unknown}), refuse},
		{"a kid in upper case", b.headed(fields{"kid": strings.ToUpper(es256)}), refuse},
		{"a kid that is a path", b.headed(fields{"kid": "../" + es256}), refuse},
		{"a long kid", b.headed(fields{"kid": strings.Repeat("k", 65)}), refuse},
		{"no alg", b.headed(fields{"alg": nil}), refuse},
		{"alg in lower case", b.headed(fields{"alg": "es256"}), refuse},
		{"alg ES384", b.headed(fields{"alg": "ES384"}), refuse},
		{"alg of another key", b.headed(fields{"alg": "RS256"}), refuse},
		{"alg Ed25519 of another key", b.headed(fields{"alg": "Ed25519"}), refuse},
		{"alg Ed448", b.by(eddsa, "Ed448", nil), refuse},
		{"alg is a list", b.headed(fields{"alg": []string{"ES256"}}), refuse},
		{"kid twice", b.text(es256, `{"typ":"at+jwt","alg":"ES256","kid":"es256-two","kid":"es256-one"}`, b.json(claims)), refuse},
		{"alg twice, in another case", b.text(es256, `{"typ":"at+jwt","Alg":"none","alg":"ES256","kid":"es256-one"}`, b.json(claims)), refuse},
		{"a header that is a list", b.text(es256, `["at+jwt"]`, b.json(claims)), refuse},
		{"a header that is no JSON", b.text(es256, `typ=at+jwt`, b.json(claims)), refuse},
		{"a header with more after it", b.text(es256, b.json(header)+"{}", b.json(claims)), refuse},
		{"32 members in the header", b.headed(many(29)), accept},
		{"33 members in the header", b.headed(many(30)), refuse},
	})
	for _, member := range []string{"crit", "b64", "jku", "jwk", "x5u", "x5c", "cty", "zip", "enc", "p2c"} {
		b.add(member+" in the header", quiet, b.headed(fields{member: []string{"x"}}), refuse)
	}
}

// many is so many members that say nothing.
func many(n int) fields {
	f := fields{}
	for i := range n {
		f[fmt.Sprintf("x%02d", i)] = true
	}
	return f
}

func (b *book) claimSets() {
	for _, claim := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "org", "rv"} {
		b.add("no "+claim, quiet, b.claimed(fields{claim: nil}), refuse)
		b.add(claim+" is null", quiet, b.text(es256, b.json(header), b.json(claims.with(fields{claim: json.RawMessage("null")}))), refuse)
		b.add(claim+" is an object", quiet, b.claimed(fields{claim: fields{}}), refuse)
	}
	for _, claim := range []string{"iss", "sub", "jti", "client_id", "org"} {
		b.add(claim+" is empty", quiet, b.claimed(fields{claim: ""}), refuse)
		b.add(claim+" is a number", quiet, b.claimed(fields{claim: 7}), refuse)
	}
	for _, claim := range []string{"exp", "iat", "rv"} {
		b.add(claim+" is a string", quiet, b.claimed(fields{claim: fmt.Sprint(claims[claim])}), refuse)
		b.add(claim+" is 0", quiet, b.claimed(fields{claim: 0}), refuse)
		b.add(claim+" is below 0", quiet, b.claimed(fields{claim: -1}), refuse)
		b.add(claim+" is half of something", quiet, b.claimed(fields{claim: 990.5}), refuse)
	}
	body := strings.TrimSuffix(b.json(claims), "}")
	b.rows([]row{
		{"no scope", b.claimed(fields{"scope": nil}), accept},
		{"scope is a list", b.claimed(fields{"scope": []string{"alerts:read"}}), refuse},
		{"no crd", b.claimed(fields{"crd": nil}), accept},
		{"crd is a number", b.claimed(fields{"crd": 7}), refuse},
		{"another claim", b.claimed(fields{"note": fields{"note": 1}}), accept},
		{"sub is not client_id", b.claimed(fields{"sub": "somebody else"}), accept},
		{"aud has ours", b.claimed(fields{"aud": []string{"https://other.example.com", audience}}), accept},
		{"aud has others", b.claimed(fields{"aud": []string{"https://other.example.com", audience + "/v1"}}), refuse},
		{"aud is empty", b.claimed(fields{"aud": ""}), refuse},
		{"aud is an empty list", b.claimed(fields{"aud": []string{}}), refuse},
		{"aud has a number", b.claimed(fields{"aud": []any{audience, 1}}), refuse},
		{"aud is another", b.claimed(fields{"aud": "https://other.example.com"}), refuse},
		{"aud with a slash", b.claimed(fields{"aud": audience + "/"}), refuse},
		{"aud begins with ours", b.claimed(fields{"aud": audience + ".evil.example"}), refuse},
		{"aud in upper case", b.claimed(fields{"aud": strings.ToUpper(audience)}), refuse},
		{"iss is another", b.claimed(fields{"iss": "https://evil.example"}), refuse},
		{"iss with a slash", b.claimed(fields{"iss": issuer + "/"}), refuse},
		{"iss begins with ours", b.claimed(fields{"iss": issuer + ".evil.example"}), refuse},
		{"iss in upper case", b.claimed(fields{"iss": "https://AUTH.example.com"}), refuse},
		{"client_id twice", b.text(es256, b.json(header), body+`,"client_id":"client"}`), refuse},
		{"rv twice, in another case", b.text(es256, b.json(header), body+`,"RV":9000}`), refuse},
		{"a member of ours twice inside another", b.text(es256, b.json(header), body+`,"note":{"rv":1,"rv":2}}`), accept},
		{"claims that are a list", b.text(es256, b.json(header), `[1]`), refuse},
		{"claims that are no JSON", b.text(es256, b.json(header), `iss`), refuse},
		{"claims with more after them", b.text(es256, b.json(header), body+`}x`), refuse},
		{"32 claims", b.claimed(many(21)), accept},
		{"33 claims", b.claimed(many(22)), refuse},
	})
}

// strictness is what two parsers read differently, and what asks for a proof.
func (b *book) strictness() {
	body := strings.TrimPrefix(b.json(claims), "{")
	with := func(members string) string { return b.text(es256, b.json(header), "{"+members+body) }
	headed := func(members string) string {
		return b.text(es256, "{"+members+strings.TrimPrefix(b.json(header), "{"), b.json(claims))
	}
	for _, value := range []string{`{"jkt":"x"}`, `{"x5t#S256":"x"}`, "{}", "false", "null"} {
		b.add("cnf is "+value, quiet, with(`"cnf":`+value+","), refuse)
	}
	for _, text := range []string{"\xff", "\xed\xa0\x80", "\xc0\xaf", `\ud800`, `\udc00`, `\ud83d\ud83d`, `\ud83d\\ude00`} {
		b.add(fmt.Sprintf("claims with %+q", text), quiet, with(`"note":"`+text+`",`), refuse)
		b.add(fmt.Sprintf("claims with %+q deep inside", text), quiet, with(`"note":[{"`+text+`":1}],`), refuse)
		b.add(fmt.Sprintf("a header with %+q", text), quiet, headed(`"note":"`+text+`",`), refuse)
	}
	for _, text := range []string{`\ud83d\ude00`, `\\ud800`, "😀", `\ufffd`} {
		b.add(fmt.Sprintf("claims with %+q", text), quiet, with(`"note":"`+text+`",`), accept)
	}
	b.lone()
	for _, claim := range []string{"exp", "iat", "rv", "nbf"} {
		for _, number := range []string{"9007199254740992", "9223372036854775807", "1e3", "1E3", "1000.0", "-0", "-1"} {
			b.add(claim+" is "+number, quiet, b.claimed(fields{claim: json.RawMessage(number)}), refuse)
		}
	}
	b.rows([]row{
		{"a byte order mark before the claims", b.text(es256, b.json(header), "\ufeff{"+body), refuse},
		{"white space around members", b.text(es256, b.json(header), " {\t"+body+"\r\n"), accept},
		{"an escaped name", with(`"r\u0076":1,`), refuse},
		{"scope is null", b.claimed(fields{"scope": json.RawMessage("null")}), refuse},
		{"crd is null", b.claimed(fields{"crd": json.RawMessage("null")}), refuse},
		{"aud has null", b.claimed(fields{"aud": []any{audience, nil}}), refuse},
		{"exp is as large as it may be", b.claimed(fields{"exp": 1<<53 - 1}), accept},
		{"iat is as large as it may be", b.claimed(fields{"iat": 1<<53 - 1}), refuse},
		{"nbf long ago", b.claimed(fields{"nbf": longAgo}), accept},
		{"nbf is 0", b.claimed(fields{"nbf": 0}), accept},
		{"nbf in 2100", b.claimed(fields{"nbf": farOff - 600}), refuse},
		{"nbf is null", b.claimed(fields{"nbf": json.RawMessage("null")}), refuse},
		{"nbf is a string", b.claimed(fields{"nbf": fmt.Sprint(longAgo)}), refuse},
		{"nbf is a list", b.claimed(fields{"nbf": []int{longAgo}}), refuse},
	})
}

// lone are names of ours in another case, alone.
func (b *book) lone() {
	for _, names := range [][2]string{{"exp", "EXP"}, {"iss", "Iss"}, {"iss", "iſs"}, {"sub", "ſub"},
		{"aud", "Aud"}, {"client_id", "Client_ID"}, {"rv", "RV"}, {"scope", "Scope"}, {"scope", "ſcope"}, {"crd", "CRD"}} {
		b.add(fmt.Sprintf("%s is called %+q", names[0], names[1]), quiet,
			b.claimed(fields{names[0]: nil, names[1]: claims[names[0]]}), refuse)
	}
	for _, name := range []string{"NBF", "Cnf", "jTi"} {
		b.add("a claim "+name, quiet, b.claimed(fields{name: 1}), refuse)
	}
	for _, names := range [][2]string{{"typ", "TYP"}, {"alg", "Alg"}, {"kid", "\u212aid"}} {
		b.add(fmt.Sprintf("%s is called %+q", names[0], names[1]), quiet,
			b.headed(fields{names[0]: nil, names[1]: header[names[0]]}), refuse)
	}
	b.add("CRIT in the header", quiet, b.headed(fields{"CRIT": []string{"x"}}), refuse)
}

// times are far from now, whenever that is.
func (b *book) times() {
	b.rows([]row{
		{"expired", b.claimed(fields{"exp": longAgo + 600}), refuse},
		{"expired in another algorithm", b.by(rs256, "RS256", fields{"exp": longAgo + 600}), refuse},
		{"issued in 2100", b.claimed(fields{"iat": farOff - 600}), refuse},
		{"expires before it was issued", b.claimed(fields{"exp": longAgo - 600}), refuse},
		{"valid for long", b.claimed(fields{"iat": 1}), accept},
	})
}

// signatures are about who signed.
func (b *book) signatures() {
	h, c, s := parts(b.claimed(nil))
	decoded, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		b.err = err
		return
	}
	jwk, err := b.signers[es256].JWK()
	if err != nil {
		b.err = err
	}
	forged := b64([]byte(b.json(header.with(fields{"alg": "HS256"})))) + "." + c
	mac := hmac.New(sha256.New, []byte(jwk.X))
	mac.Write([]byte(forged))
	_, others, _ := parts(b.claimed(fields{"client_id": "another"}))
	rsa1, rsa2, rsa3 := parts(b.by(rs256, "RS256", nil))
	ed1, ed2, ed3 := parts(b.by(eddsa, "EdDSA", nil))
	b.rows([]row{
		{"signed by another key of the issuer", b.sign(es256b, header, claims), refuse},
		{"signed with another algorithm", b.sign(eddsa, header, claims), refuse},
		{"kid of RSA, alg of ECDSA", b.sign(es256, header.with(fields{"kid": rs256}), claims), refuse},
		{"kid of ECDSA, alg of RSA", b.sign(rs256, header.with(fields{"alg": "RS256"}), claims), refuse},
		{"kid of ECDSA, alg of EdDSA", b.sign(eddsa, header.with(fields{"alg": "EdDSA"}), claims), refuse},
		{"other claims", h + "." + others + "." + s, refuse},
		{"a signature of zeros", h + "." + c + "." + b64(make([]byte, 64)), refuse},
		{"a short signature", h + "." + c + "." + b64(decoded[:63]), refuse},
		{"a long signature", h + "." + c + "." + b64(append(slices.Clone(decoded), 0)), refuse},
		{"a bit of the signature", h + "." + c + "." + b64(flipped(decoded)), refuse},
		{"r and s exchanged", h + "." + c + "." + b64(slices.Concat(decoded[32:], decoded[:32])), refuse},
		{"a signature as DER", h + "." + c + "." + b64(slices.Concat([]byte{0x30, 0x44, 2, 0x20}, decoded[:32], []byte{2, 0x20}, decoded[32:])), refuse},
		{"alg none", b64([]byte(b.json(header.with(fields{"alg": "none"})))) + "." + c + "." + s, refuse},
		{"alg none without a signature", b64([]byte(b.json(header.with(fields{"alg": "none"})))) + "." + c + ".", refuse},
		{"alg HS256 with the public key", forged + "." + b64(mac.Sum(nil)), refuse},
		{"a bit of an RSA signature", rsa1 + "." + rsa2 + "." + lastLetter(rsa3), refuse},
		{"a bit of an EdDSA signature", ed1 + "." + ed2 + "." + lastLetter(ed3), refuse},
		{"an ECDSA signature on RSA", rsa1 + "." + rsa2 + "." + s, refuse},
	})
}

func flipped(data []byte) []byte {
	data = slices.Clone(data)
	data[10] ^= 1
	return data
}

// lastLetter changes the first letter of a part.
func lastLetter(part string) string {
	if part[0] == 'A' {
		return "B" + part[1:]
	}
	return "A" + part[1:]
}
