package tokens

import (
	"crypto/sha256"
	"sync"
)

// cache remembers tokens whose signature was verified, by the SHA-256 of the
// whole token. It holds what cannot change: everything else, expiry, audience,
// scope, signing key, revocation, is decided anew for each request.
//
// Each shard has two generations. What is asked for moves to the young one;
// when that is full the old one is dropped. It keeps what is in use without a
// list to maintain, in at most twice the size.
type cache struct {
	shards [16]struct {
		mu         sync.Mutex
		young, old map[[sha256.Size]byte]verified
	}
	generation int // entries of one generation of one shard
}

type verified struct {
	claims *Claims // never modified
	kid    string
}

func newCache(size int) *cache {
	return &cache{generation: max(1, size/2/16)}
}

func (c *cache) get(key [sha256.Size]byte) (verified, bool) {
	s := &c.shards[key[0]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.young[key]
	if !ok {
		if v, ok = s.old[key]; ok {
			c.insert(key, v)
		}
	}
	return v, ok
}

func (c *cache) put(key [sha256.Size]byte, v verified) {
	s := &c.shards[key[0]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	c.insert(key, v)
}

// insert is called with the shard locked.
func (c *cache) insert(key [sha256.Size]byte, v verified) {
	s := &c.shards[key[0]&15]
	if len(s.young) >= c.generation {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = make(map[[sha256.Size]byte]verified, min(c.generation, 64))
	}
	s.young[key] = v
}
