// Package model is the protocol over Redis as models that are explored whole, by its tests:
// every order of the steps of few publishers, verifiers and faults. It has no other code.
// Each model has mutants too, of which each breaks one rule, and must be caught.
//
// It is a package of its own since one goroutine visits millions of states: the race
// detector would find nothing there, and take minutes.
package model
