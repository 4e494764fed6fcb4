package keys

import "context"

// Try is what a try of a password takes, or why it may not be made; back gives it back.
func (r *Registry) Try(ctx context.Context, email, address, known string) (back func(), err error) {
	taken, err := r.try(ctx, email, Network(address), known)
	return func() { taken.giveBack(r.config.Limiter) }, err
}

// KnownDevice tells whether a browser showed that somebody signed in with it.
func (r *Registry) KnownDevice(token, email string) bool { return r.device(token, email) != "" }
