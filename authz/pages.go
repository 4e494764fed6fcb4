package authz

// An ErrorPage explains an error code to the person who meets it.
type ErrorPage struct {
	Code string
	// Title says what happened, and Fix what to do.
	Title, Fix string
}

// ErrorURI is where an issuer explains an error code.
func ErrorURI(issuer, code string) string { return ManagementAudience(issuer) + "/errors/" + code }

// ErrorPages explains the codes of the OAuth endpoints and of bearer challenges
// (RFC 6749 §5.2, RFC 6750 §3.1, RFC 7009 §2.2.1, RFC 8707 §2), and those of verifiers.
func ErrorPages() []ErrorPage { return errorPages }

// errorPages is made once: each refusal looks for its page.
var errorPages = []ErrorPage{
	{"invalid_request", "The request is not formed as it must be: a parameter is missing, wrong, or there twice",
		"Change what the description names. The token endpoint takes POST with application/x-www-form-urlencoded; an API takes one access token, in the Authorization header."},
	{"invalid_client", "The client did not prove who it is, or its key or secret has ended",
		"Send the client ID and the current secret of a key that is active, with HTTP Basic or in the body. Who has lost the secret rotates the key."},
	{"invalid_grant", "The token belongs to another client", "Use the key with which the token was bought."},
	{"unauthorized_client", "The key may not get a token here: from this network, or on the plan of its organisation",
		"Ask from a network that the key allows, or have the key or the plan changed."},
	{"unsupported_grant_type", "The server does not have this grant type", "Use grant_type=client_credentials."},
	{"unsupported_response_type", "The server has no users to authorize anything", "Use grant_type=client_credentials at the token endpoint."},
	{"invalid_scope", "A scope is not granted to the key, or belongs to another resource",
		"Ask for scopes that the description names as granted, or have the scope granted to the key. Ask for one resource at a time."},
	{"invalid_target", "The resource is not one of the key's, or audience is another than the token would be for",
		"Name with resource one of those that the description names, and leave audience out."},
	{"invalid_token", "The access token is not accepted",
		"Get a new one from the token endpoint for this API, and send it as it is, in the Authorization header with Bearer."},
	{"insufficient_scope", "The access token lacks a scope", "Ask the token endpoint for the scope that the answer names, or have it granted to the key."},
	{"temporarily_unavailable", "The server cannot decide at the moment", "Try again after Retry-After. Nothing is half-done."},
	{"server_error", "The server failed", "Try again, and give the operator the request id: it finds the reason in the server's log."},
	{"not_found", "There is no such thing here", "Check the path, the identifiers in it, and to which organisation they belong."},
	{"gone", "The session followed another revocation log", "Join again: verifiers do so by themselves."},
	{"lease_too_long", "The lease is longer than the key may have", "Ask for a shorter lease_ms, or have the operator grant the key more."},
	{"slow_down", "Too many requests: failures of a network or a client, or tokens of a key",
		"Wait as long as Retry-After says; keep a token until it expires, and mend what fails."},
	{"too_many_verifiers", "All verifiers that this key may have are alive", "End one, give this one a key of its own, or have the operator grant more."},
	{"protocol_too_old", "The verifier speaks a protocol that the server does not admit", "Upgrade the verifier."},
	{"verifier_unproved", "The verifier did not pass its examination", "Upgrade the verifier; its operator sees which rules it broke."},
}

// errorURI is empty for a code that no page explains.
func (s *Server) errorURI(code string) string {
	for _, page := range errorPages {
		if page.Code == code {
			return ErrorURI(s.config.Issuer, code)
		}
	}
	return ""
}
