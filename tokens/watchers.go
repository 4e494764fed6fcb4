package tokens

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// watchers finds those whom a cut concerns, and knows when to look at the age of the
// view. A watcher stays in it until its caller has left, ended or not: so whoever
// applies a cut finds, and waits for, also the one that somebody else is ending.
type watchers struct {
	mu    sync.Mutex
	of    map[about]map[*watcher]struct{} // everyone is among those of '*'
	timer *time.Timer                     // one for all; nil when it is not set
	due   time.Time
}

// watch adds w. It is to be judged afterwards.
func (r *Revocations) watch(w *watcher) {
	s := &r.watchers
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[about]map[*watcher]struct{})
	}
	for _, subject := range w.subjects {
		if s.of[subject] == nil {
			s.of[subject] = make(map[*watcher]struct{})
		}
		s.of[subject][w] = struct{}{}
	}
	s.wake(r.patience(w.until), r.late)
}

func (s *watchers) remove(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, subject := range w.subjects {
		delete(s.of[subject], w)
		if len(s.of[subject]) == 0 {
			delete(s.of, subject)
		}
	}
	if len(s.of) == 0 && s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// concerned returns those whom cuts among entries are about. What a cut says of them
// is the table's to decide.
func (s *watchers) concerned(entries []Entry) (found []*watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) == 0 {
		return nil
	}
	for _, e := range entries {
		if e.Kind != Cut {
			continue
		}
		dimension, id := e.Subject.split()
		found = slices.AppendSeq(found, maps.Keys(s.of[about{dimension, id}]))
	}
	return found
}

func (s *watchers) all() []*watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.of[about{'*', ""}]))
}

// wake sets the timer, unless it is due earlier anyway. It is called with the lock.
func (s *watchers) wake(after time.Duration, late func()) {
	due := time.Now().Add(after)
	switch {
	case s.timer == nil:
		s.timer, s.due = time.AfterFunc(after, late), due
	case due.Before(s.due):
		s.timer.Reset(after)
		s.due = due
	}
}

// hurry sets the timer anew for those that there are.
func (s *watchers) hurry(after time.Duration, late func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) > 0 {
		s.wake(after, late)
	}
}

// late runs when the view may have become too old for somebody. While all is well
// that is once a lease, and finds that the view was renewed.
func (r *Revocations) late() {
	next := r.patience(0)
	if r.Fresh() != nil {
		all := r.watchers.all()
		settle(all)
		for _, w := range all {
			next = min(next, r.patience(w.until))
		}
	}
	s := &r.watchers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	if len(s.of) > 0 {
		s.wake(next, r.late)
	}
}

// patience is how long the view, if nobody renews it, will be good enough for one
// who accepts it until it has some age; at most a lease, and so when it is no longer.
func (r *Revocations) patience(until time.Duration) time.Duration {
	v := r.view.Load()
	switch age := v.age(); {
	case age <= v.lease && !v.lapsed.Load():
		return v.lease - age + 1
	case age <= until:
		return min(until-age+1, v.lease)
	}
	return v.lease
}
