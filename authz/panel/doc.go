// Package panel is the web panel, Settings → API keys: what people look at.
// A page is a template and a handler that makes one call of the domain; everything
// works without JavaScript, and nothing comes from another origin.
// Who may do what is decided in package keys, as for the API: the panel acts for the
// member who signed in, with that member's role.
//
// # Accounts and sessions
//
// A person has an account, an address and a password, and is a member of every
// organisation that has a member with that address; package keys keeps them. A session
// is a random cookie, which only this server sees and no script. Membership is read at
// every request, so that a role that is taken away counts at once. There is no
// registration: an account begins with a link that works once. The operator makes such
// links, and a server that nobody owns prints one when it starts, for its first owner.
// What makes secrets or gives power asks for the password again when it was given a
// while ago; what ends something never does. Who guesses passwords is slowed down, and
// keeps nobody else out.
//
// Where a provider of single sign-on (OpenID Connect) speaks for an address, it is asked
// in place of the password, and says at each sign-in of which organisations the person is
// a member. Rejected: roles in the session. A role that is taken away would live on.
//
// # Two sides
//
// Below /o/{organisation} a member looks after the keys of a customer; below /admin the
// operator's staff look after customers, APIs, signing keys and the server. Who is both
// goes from one to the other. The same rules of package keys decide on both.
//
// # A revocation
//
// The form that revokes is answered when the receipt is there. Until then its page asks,
// with a script, which verifiers have confirmed. It does so while the browser waits for
// the answer, so that nothing depends on the script.
//
// # Texts
//
// Every text is in catalogue/, one file for each language; a page whose text is in none
// fails its tests.
//
// # What a browser may do here
//
// The policy of every page allows the panel's own files and nothing inline, and has
// Trusted Types. Requests that change something must come from the panel's own pages
// (Sec-Fetch-Site, or Origin).
//
// Rejected: a single-page application on the management API. It would need a build
// with hundreds of packages in a program that keeps credentials, and could not work
// without JavaScript.
package panel
