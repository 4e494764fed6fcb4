// Package web is what a request is to every HTTP face of the server: its id and its line of
// log, the address it comes from behind proxies, the route it takes, and how often it may
// fail. It stands below the OAuth endpoints, the management API, the panel and the relay,
// which do not know each other. Of keys it has only how to count, of tokens only how to read
// a path.
//
// Rejected: a router or a framework of middleware. Routes are patterns of [http.ServeMux],
// which redirects, so [Mux] stands before it; the rest is functions around handlers.
package web
