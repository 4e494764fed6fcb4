package authz

import (
	"context"
	"slices"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed"
)

const (
	// handOverAfter is how long a wait may go on before what it knows is stored, for
	// whoever has to take it over.
	handOverAfter = 500 * time.Millisecond
	// listInterval is how often waits read again who must confirm.
	listInterval = 20 * time.Millisecond
	// listPace is how often they do at most while some wait for a silent verifier: a cut
	// that comes then waits for it too.
	listPace = 15 * time.Millisecond
	// lookInterval is how often the store is asked what became of a cut that another
	// server committed.
	lookInterval = 200 * time.Millisecond
	// restInterval is how long no news is waited for.
	restInterval = time.Second
)

// A settler is the state of the goroutine that settles the waits.
type settler struct {
	*Relay
	roll     keys.Roll
	sessions map[string]*keys.Session // of roll
	listed   time.Time                // when roll was asked for
	acks     redisfeed.Acks
	// pause is how long the store is left alone after an error.
	pause time.Duration
	// ours is our own session, and found how many waits are for cuts found in the log.
	ours  string
	found int
}

// settle settles waits until ctx ends. Then it stores what is known of the rest.
func (r *Relay) settle(ctx context.Context) {
	s := &settler{Relay: r}
	for {
		rest := s.look(ctx)
		timer := time.NewTimer(rest)
		select {
		case <-r.waits.kick:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			s.handOver(ctx)
			return
		}
		timer.Stop()
	}
}

// look finds out what is new for all waits, settles those that it can, and returns how
// long nothing happens by itself.
func (s *settler) look(ctx context.Context) time.Duration {
	open := s.waits.list()
	if len(open) == 0 {
		return time.Hour
	}
	s.ours, s.found = s.own(), 0
	if s.mustList(open, time.Now()) {
		s.list(ctx, open)
	}
	for _, w := range open {
		if w.found {
			s.found++
			s.elsewhere(ctx, w)
		}
	}
	if open = slices.DeleteFunc(open, isDone); len(open) == 0 {
		return 0
	}
	s.readRedis(ctx, open)
	now := time.Now()
	var done []*wait
	for _, w := range open {
		if s.judge(w, now) {
			done = append(done, w)
		}
	}
	s.keep(ctx, done, open, now)
	return s.rest(open, time.Now())
}

// mustList tells whether the list of sessions is to be read now.
func (s *settler) mustList(open []*wait, now time.Time) bool {
	age := now.Sub(s.listed)
	fresh, stuck := false, false
	for _, w := range open {
		fresh = fresh || w.members == nil
		stuck = stuck || now.Sub(w.began) > listPace
	}
	switch {
	case age < s.pause:
		return false
	case fresh:
		return !stuck || age >= listPace
	}
	return age >= listInterval && (age >= restInterval || s.follows(open, func(via string) bool { return via != viaRedis && via != s.ours }))
}

// follows tells whether any member that is waited for follows in such a way.
func (s *settler) follows(open []*wait, such func(via string) bool) bool {
	for _, w := range open {
		for _, m := range w.members {
			if m.State == keys.Waiting && such(m.Session.Via) {
				return true
			}
		}
	}
	return false
}

// list reads who must confirm, and fixes the members of waits that have none: after
// their commits, since a session that is stored later has the cut in its first page.
func (s *settler) list(ctx context.Context, open []*wait) {
	s.mu.Lock()
	session, tip, head := s.session, s.tip, s.head
	s.mu.Unlock()
	positions := []uint64{tip}
	for _, w := range open {
		positions = append(positions, w.position)
	}
	s.listed = time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	roll, err := s.config.Log.Roll(ctx, positions...)
	if err != nil {
		s.pause = min(max(2*s.pause, listInterval), restInterval)
		s.config.Logger.Error("verifiers not listed", "error", err)
		return // the leases go on
	}
	s.roll, s.pause = roll, 0
	heard := time.Now() // what the list says may have come to be while it was read
	s.sessions = make(map[string]*keys.Session, len(roll.Sessions))
	for i, x := range roll.Sessions {
		s.sessions[x.ID] = &roll.Sessions[i]
	}
	s.acks.Forget()
	for _, w := range open {
		if roll.Heads[w.position] != w.head {
			s.config.Logger.Error("a committed change is no longer in the log", "position", w.position)
			s.waits.finish(w, keys.Receipt{}, keys.ErrLost)
			continue
		}
		if roll.Heads[tip] == head && w.position <= tip {
			w.anchored = session
		}
		if w.members == nil {
			w.members, w.recovered = membersOf(roll.Sessions), w.found
		}
		s.update(w, heard)
	}
}

// membersOf are sessions that have not confirmed. An empty list is not nil.
func membersOf(sessions []keys.Session) []keys.ReceiptMember {
	members := make([]keys.ReceiptMember, 0, len(sessions))
	for _, x := range sessions {
		// As it is stored, so that a receipt is the same wherever it was read.
		kept := keys.Session{ID: x.ID, Name: x.Name, ClientID: x.ClientID, Via: x.Via, Lease: x.Lease,
			AcceptStale: x.AcceptStale, Unproved: x.Unproved}
		members = append(members, keys.ReceiptMember{ID: x.PublicID(), Name: x.Name, State: keys.Waiting, Session: kept})
	}
	return members
}

// update applies the list to the members of a wait. One that is no longer there took
// leave, or was retired after as long a wait: it accepts nothing.
func (s *settler) update(w *wait, heard time.Time) {
	for i := range w.members {
		m := &w.members[i]
		if m.State != keys.Waiting {
			continue
		}
		x := s.sessions[m.Session.ID]
		switch {
		case x == nil:
			m.State, m.At = keys.Left, w.clock(heard)
		case x.Applied >= w.through:
			m.State, m.At = keys.Confirmed, w.clock(heard)
		default:
			m.Session.Via = x.Via
		}
	}
}

// clock is a moment of this process as one wall reading at the beginning of the wait, and
// how much later it was.
func (w *wait) clock(t time.Time) time.Time {
	return w.began.Add(t.Sub(w.began)).UTC().Truncate(time.Microsecond)
}

// elsewhere asks the store, now and then, what another server knows of a cut: its receipt,
// or its members as far as they were settled.
func (s *settler) elsewhere(ctx context.Context, w *wait) {
	interval := lookInterval * time.Duration(1+s.found/20)
	if isDone(w) || time.Since(w.looked) < interval || s.config.Alone && !w.looked.IsZero() {
		return
	}
	w.looked = time.Now()
	stored, err := s.config.Log.Receipt(ctx, w.position)
	switch {
	case err != nil:
	case stored.Settled():
		s.waits.finish(w, stored, nil)
	case stored.Members != nil && (w.members == nil || w.recovered):
		w.members, w.recovered = stored.Members, false
	}
}

// readRedis marks members that follow over Redis and have said that they applied a cut.
func (s *settler) readRedis(ctx context.Context, open []*wait) {
	if s.config.Publisher == nil || !s.follows(open, func(via string) bool { return via == viaRedis }) {
		return
	}
	if newest := open[len(open)-1].through; newest != s.acks.Position {
		s.acks.Position = newest
		s.acks.Forget()
	}
	s.acknowledged(ctx, s.roll.Sessions, &s.acks)
}

// judge settles what it can of a wait's members, and tells whether all are.
func (s *settler) judge(w *wait, now time.Time) bool {
	if w.members == nil || isDone(w) {
		return false
	}
	s.hear(w, now)
	waiting := false
	for i := range w.members {
		m := &w.members[i]
		if m.State != keys.Waiting {
			continue
		}
		switch refuses := s.refusesFrom(w, m.Session); {
		case now.Before(refuses):
			waiting = true
		case m.Session.AcceptStale > 0:
			longest := max(m.Session.Lease, m.Session.AcceptStale)
			m.State, m.At = keys.Waived, w.clock(w.began.Add(longest+margin(longest)))
		default:
			m.State, m.At = keys.LeaseEnded, w.clock(refuses)
		}
	}
	if waiting || w.recovered && now.Before(w.began.Add(longestWait)) {
		return false
	}
	return s.held() == nil
}

// refusesFrom is when a member's lease from before the cut has ended. One that was ended
// earlier has renewed none since.
func (s *settler) refusesFrom(w *wait, x keys.Session) time.Time {
	from := w.began
	if over, ended := s.endOf(x.ID); ended && over.Before(from) {
		from = over
	}
	return from.Add(x.Lease + margin(x.Lease))
}

// hear marks members that have acknowledged a cut: those that follow through this server,
// if the history of our own session has the cut, and those over Redis.
func (s *settler) hear(w *wait, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holds(w.position, w.head) && w.anchored != s.session {
		return
	}
	for i := range w.members {
		m := &w.members[i]
		if m.State != keys.Waiting {
			continue
		}
		f, x := s.followers[m.Session.ID], s.sessions[m.Session.ID]
		switch {
		case f != nil && f.position == left:
			m.State, m.At = keys.Left, w.clock(now)
		case f != nil && f.position >= w.through && s.holds(f.position, f.head),
			x != nil && x.Via == viaRedis && x.Applied >= w.through && (x.Protocol < httpfeed.Protocol || s.holds(x.Applied, x.AppliedHead)):
			m.State, m.At = keys.Confirmed, w.clock(now)
		}
	}
}

// isDone tells whether a wait has ended.
func isDone(w *wait) bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// receiptOf is what a wait would say now.
func (s *settler) receiptOf(w *wait, now time.Time) keys.Receipt {
	receipt := keys.Receipt{Position: w.position, Head: w.head, Members: slices.Clone(w.members), Recovered: w.recovered,
		Waited: now.Sub(w.began).Truncate(time.Microsecond)}
	receipt.Sum()
	if w.recovered && time.Since(time.UnixMicro(s.waiverAt.Load())) < time.Hour {
		receipt.State = keys.Waived // of those who are not there any more, some may have had one
	}
	latest := w.began
	for _, m := range w.members {
		if m.State == keys.Waiting {
			receipt.State = keys.Waiting
			if refuses := s.refusesFrom(w, m.Session); refuses.After(latest) {
				latest = refuses
			}
		}
	}
	if w.recovered {
		latest = w.began.Add(longestWait)
	}
	receipt.Latest = w.clock(latest)
	return receipt
}

// keep stores the receipts of waits that are done, and what is known of those that have
// gone on for long. What is stored then is what their callers are told.
func (s *settler) keep(ctx context.Context, done, open []*wait, now time.Time) {
	var receipts []keys.Receipt
	byPosition := make(map[uint64]*wait)
	for _, w := range done {
		receipt := s.receiptOf(w, now)
		if receipt.Latest = (time.Time{}); receipt.State == keys.Waiting {
			continue
		}
		receipt.SettledAt = w.clock(now)
		receipts = append(receipts, receipt)
		byPosition[w.position] = w
		for _, e := range w.also {
			receipt.Position, receipt.Head = e.Position, e.Head
			receipts = append(receipts, receipt)
		}
	}
	for _, w := range open {
		if w.members == nil || isDone(w) || byPosition[w.position] != nil {
			continue
		}
		receipt := s.receiptOf(w, now)
		receipt.State = keys.Waiting
		s.waits.show(w, receipt)
		if settled := settledOf(w); now.Sub(w.began) > handOverAfter && !w.recovered && settled+1 > w.kept {
			w.kept = settled + 1
			receipts = append(receipts, receipt)
		}
	}
	if len(receipts) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	stored, err := s.config.Log.PutReceipts(bounded, receipts)
	if err != nil {
		s.pause = min(max(2*s.pause, listInterval), restInterval)
		s.config.Logger.Warn("receipts not stored", "from", receipts[0].Position, "count", len(receipts), "error", err)
		return
	}
	for _, receipt := range stored {
		w := byPosition[receipt.Position]
		if w == nil {
			continue
		}
		s.config.Logger.Info("revoked", "subject", string(receipt.Subject), "position", receipt.Position, "state", string(receipt.State),
			"confirmed", receipt.Confirmed, "total", receipt.Total, "waited_us", receipt.Waited.Microseconds())
		s.waits.finish(w, receipt, nil)
	}
}

// settledOf counts the members of a wait that are settled.
func settledOf(w *wait) (n int) {
	for _, m := range w.members {
		if m.State != keys.Waiting {
			n++
		}
	}
	return n
}

// handOver stores what is known of the waits that are left, for whoever takes them over.
func (s *settler) handOver(ctx context.Context) {
	now := time.Now()
	var receipts []keys.Receipt
	for _, w := range s.waits.list() {
		if w.members != nil && !w.recovered {
			receipt := s.receiptOf(w, now)
			receipt.State = keys.Waiting
			receipts = append(receipts, receipt)
		}
	}
	if len(receipts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := s.config.Log.PutReceipts(ctx, receipts); err != nil {
		s.config.Logger.Warn("waits not handed over", "from", receipts[0].Position, "count", len(receipts), "error", err)
	}
}

// rest is how long nothing happens by itself: no lease ends, and nobody who cannot call
// is to be asked.
func (s *settler) rest(open []*wait, now time.Time) time.Duration {
	rest := restInterval
	asked := s.follows(open, func(via string) bool { return via != s.ours })
	for _, w := range open {
		if isDone(w) {
			continue
		}
		age := now.Sub(w.began)
		switch {
		case w.members == nil:
			rest = min(rest, max(s.pause, listPace/3))
		case w.kept == 0 && age < handOverAfter:
			rest = min(rest, handOverAfter-age+time.Millisecond)
		}
		if w.found {
			rest = min(rest, lookInterval)
		}
		if asked {
			// A tenth of the wait so far is not noticed.
			rest = min(rest, max(50*time.Microsecond, age/10), listInterval)
		}
		for _, m := range w.members {
			if m.State == keys.Waiting {
				rest = min(rest, max(s.refusesFrom(w, m.Session).Sub(now), 0))
			}
		}
		if w.recovered {
			rest = min(rest, max(w.began.Add(longestWait).Sub(now), lookInterval))
		}
	}
	return max(rest, s.pause, 50*time.Microsecond)
}
