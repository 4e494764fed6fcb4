// Package management is the JSON API with which panels, scripts and the command
// line manage keys: everything below /v1, described by /v1/openapi.json.
// It is itself a resource server: callers come with an access token of this
// issuer for the audience {issuer}/v1 and a scope such as keys:read or keys:write.
// A token acts on its own organisation; with the scope operator, on any; with
// members:act, for a member that the request names, with that member's role. Its scopes
// stay a ceiling: for a member, too, it gives away no scope that some roles only may give
// unless it has that itself, and does not approve what it asked for.
//
// # A route is a row
//
// A route says its path, the scope of the token, the action that is asked for,
// and the types of what comes and goes. The scope is checked here, the action
// against the roles in package keys, and the OpenAPI document is made from the same
// row. Handlers make one call of the domain and write what it returned; the rules
// are in package keys, so that no face can have its own.
//
// # Requests
//
// Errors are RFC 9457 documents with a stable code and, where there is one, a
// fix. What belongs to another organisation is answered like what does not
// exist. A secret is in the one answer that makes it, and in no other: a POST that
// is repeated with its Idempotency-Key finds what it did in the audit log and says
// so again, without the secret.
//
// Rejected: a table of answers for idempotency. It would hold secrets, or lie; and
// it could not commit with the change.
//
// # The library
//
// huma makes the OpenAPI document and reads parameters. Bodies are checked before
// it: it takes members twice, or in another case, and repeats what was sent in its
// errors.
package management
