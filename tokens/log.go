package tokens

import "strings"

// Kind says what an entry of the revocation log does.
type Kind string

const (
	// Cut denies every token of the subject that was minted before the entry:
	// revoked, suspended, narrowed, a leaked secret, a plan without API access.
	Cut Kind = "cut"
	// Touch denies nothing: authorization servers read the subject again. A new
	// secret, a wider scope, a resumed or renamed key.
	Touch Kind = "touch"
)

// Subject names what an entry is about, as "<dimension>:<id>", or "*" for
// everything the issuer ever signed.
type Subject string

// Everything is the subject of a cut that denies every older token.
const Everything Subject = "*"

// Client is the subject of one API key.
func Client(clientID string) Subject { return Subject("c:" + clientID) }

// Organization is the subject of all API keys of an organisation.
func Organization(id string) Subject { return Subject("o:" + id) }

// Token is the subject of a single access token.
func Token(jti string) Subject { return Subject("j:" + jti) }

// Credential is the subject of the access tokens that were bought with one secret of a key.
func Credential(id string) Subject { return Subject("s:" + id) }

// SigningKey is the subject of every token that a signing key signed.
func SigningKey(kid string) Subject { return Subject("k:" + kid) }

// Session is the subject of one verifier: its cut ends the session.
func Session(id string) Subject { return Subject("v:" + id) }

// SessionID returns the session that a subject ends.
func (s Subject) SessionID() (id string, ok bool) { return strings.CutPrefix(string(s), "v:") }

// Resource is the subject of an API in the catalogue; it is only ever touched.
func Resource(id string) Subject { return Subject("r:" + id) }

// IsResource tells whether s is about an API in the catalogue.
func (s Subject) IsResource() bool { return strings.HasPrefix(string(s), "r:") }

// IsSigningKey tells whether s is about a key that signs tokens.
func (s Subject) IsSigningKey() bool { return strings.HasPrefix(string(s), "k:") }

// split parts a subject into its dimension and id: "c", "imara_ci_…".
func (s Subject) split() (dimension byte, id string) {
	d, id, ok := strings.Cut(string(s), ":")
	if !ok || len(d) != 1 {
		return '*', ""
	}
	return d[0], id
}

// An Entry is one row of the revocation log.
type Entry struct {
	// Position is the entry's place: gapless, and in the order of the commits.
	Position uint64 `json:"seq"`
	// Subject is what the entry is about.
	Subject Subject `json:"subject"`
	// Kind is [Cut] or [Touch].
	Kind Kind `json:"kind"`
	// Terminal cuts deny tokens of any rv: a stolen signing key may sign any.
	Terminal bool `json:"terminal,omitempty"`
	// Head is random and tells this history from another one that reached the
	// same position, such as a database restored from a backup.
	Head uint64 `json:"head"`
}
