// Package management is the JSON API with which panels, scripts and the command
// line manage keys: /v1/orgs/{org}/keys and what is below.
// It is itself a resource server: callers come with an access token of this
// issuer for the audience {issuer}/v1 and the scope keys:read or keys:write.
// A token acts on its own organisation; with the scope operator, on any.
//
// Errors are RFC 9457 documents with a stable code and, where there is one, a
// fix. What belongs to another organisation is answered like what does not
// exist. A secret is in the one answer that makes it, and in no other.
//
// Handlers read a request, make one call of the domain, and write what it
// returned. The rules are in package keys, so that no face can have its own.
package management
