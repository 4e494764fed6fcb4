package tokens

// Algorithms are the signature algorithms of access tokens, ES256 first: some clients try the
// first key of a JWK Set whatever its type.
func Algorithms() []string { return []string{ES256, RS256, EdDSA} }
