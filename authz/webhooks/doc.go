// Package webhooks tells customers' servers what happened to their keys.
// Each event of the audit log that a webhook wants is sent to its URL, signed as the
// Standard Webhooks specification says, and tried again for a day until it is taken.
// It runs in every server; the store sees to it that one of them sends a delivery.
//
// # Where it may connect
//
// A customer chooses the URL, so the address that it leads to is checked when the
// connection is made, after the name was looked up: only public ones, and those that
// the operator allows. A redirect is not followed, and no proxy of the environment
// is used.
//
// # Rejected: a queue beside the database
//
// A delivery is a row that commits with its event. A queue could have one without
// the other, and would be one more thing to run.
package webhooks
