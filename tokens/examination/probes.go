package examination

import (
	"encoding/json"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// A set is what the examinations of some minutes share: an issuer that does not exist,
// and its tokens.
type set struct {
	issuer, audience string
	base             uint64 // of the positions
	made             time.Time

	mu   sync.Mutex
	kits map[string]func() (*kit, error) // by algorithm; each is made once
}

// A kit is what one algorithm signed.
type kit struct {
	keys  []tokens.JWK // the second is cut
	pairs map[string]pair
}

// A pair of tokens: by one rule the first is refused and the second accepted.
type pair struct {
	bad, good probe
	cut       tokens.Subject // what is cut so that the first is refused, if anything
}

// A probe is a token, and what decides about it.
type probe struct {
	raw      string
	flawed   bool
	rv       uint64
	subjects []tokens.Subject
}

// tokenLife is that of every good token, from drift before it is signed.
const tokenLife = time.Hour

func newSet(issuer string) *set {
	return &set{issuer: issuer + "/probe/" + name(), audience: audience(),
		base: 1 + mathrand.Uint64N(1<<40), made: time.Now(),
		kits: make(map[string]func() (*kit, error))}
}

// kit returns the tokens of an algorithm, and signs them when it is asked first.
func (s *set) kit(algorithm string) (*kit, error) {
	s.mu.Lock()
	made := s.kits[algorithm]
	if made == nil {
		made = sync.OnceValues(func() (*kit, error) { return s.sign(algorithm) })
		s.kits[algorithm] = made
	}
	s.mu.Unlock()
	return made()
}

// algorithms are those that were asked for.
func (s *set) algorithms() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.kits {
		names = append(names, name)
	}
	return names
}

// sign makes a pair for each rule. The private keys end with it.
func (s *set) sign(algorithm string) (*kit, error) {
	k := &kit{pairs: make(map[string]pair)}
	var signers [2]*signing.Signer
	for i := range signers {
		var err error
		if signers[i], err = signing.NewSigner(name(), algorithm); err != nil {
			return nil, err
		}
		jwk, err := signers[i].JWK()
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, jwk)
	}
	for _, rule := range pairRules {
		bad := s.draft()
		good := bad
		p := pair{cut: rule.spoil(s, &bad, &good)}
		var err error
		if p.bad, err = bad.sign(signers, k.keys); err != nil {
			return nil, err
		}
		if p.good, err = good.sign(signers, k.keys); err != nil {
			return nil, err
		}
		k.pairs[rule.name] = p
	}
	return k, nil
}

// draft is a token that is accepted.
func (s *set) draft() draft {
	return draft{typ: tokens.Type, claims: tokens.Claims{
		Issuer: s.issuer, Audience: tokens.Audience{s.audience}, Subject: name(),
		IssuedAt: s.made.Add(-drift).Unix(), ExpiresAt: s.made.Add(tokenLife - drift).Unix(),
		ID: name(), ClientID: name(), Organization: name(), Credential: name(),
		Position: s.base + usual}}
}

func (d *draft) sign(signers [2]*signing.Signer, keys []tokens.JWK) (probe, error) {
	c, kid := &d.claims, keys[d.kid]
	header, err := json.Marshal(map[string]string{"typ": d.typ, "alg": kid.Algorithm, "kid": kid.ID})
	if err != nil {
		return probe{}, err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return probe{}, err
	}
	raw, err := signers[d.signer].JWS(header, payload)
	return probe{raw: raw, flawed: d.flawed, rv: c.Position, subjects: []tokens.Subject{
		tokens.Everything, tokens.Client(c.ClientID), tokens.Organization(c.Organization),
		tokens.Token(c.ID), tokens.Credential(c.Credential), tokens.SigningKey(kid.ID)}}, err
}
