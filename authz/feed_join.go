package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/examination"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// joinFeed answers POST /feed/sessions. A verifier that speaks protocol 2 is examined
// before anything is stored: the answer to its first join is an examination, and to the
// same join with verdicts a session.
func (s *Server) joinFeed(w http.ResponseWriter, r *http.Request) error {
	join, err := s.readJoin(w, r)
	switch {
	case err != nil:
		return err
	case join.Protocol < httpfeed.Protocol:
		return s.joinUnexamined(w, r, join)
	case join.Ticket == "":
		return s.examine(w, r, join)
	}
	return s.joinExamined(w, r, join)
}

// maxJoin bounds the body of a join. The verdicts are 4 KiB of it.
const maxJoin = 16 << 10

func (s *Server) readJoin(w http.ResponseWriter, r *http.Request) (join httpfeed.Join, err error) {
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin)).Decode(&join)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return join, errSlowBody
	}
	if err != nil {
		return join, invalidRequest("Send a JSON object with name and lease_ms.")
	}
	shortest, longest := httpfeed.MinLease.Milliseconds(), httpfeed.MaxLease.Milliseconds()
	switch {
	case join.LeaseMS < shortest || join.LeaseMS > longest:
		err = invalidRequest(fmt.Sprintf("lease_ms must be between %d and %d.", shortest, longest))
	case !short(join.Name, 200):
		err = invalidRequest("name must have 1 to 200 printable bytes.")
	case join.Over != "" && (join.Over != httpfeed.OverRedis || s.config.Relay.config.Publisher == nil):
		err = invalidRequest("This server does not publish to Redis. Follow over HTTP.")
	case join.AcceptStaleMS < 0 || join.AcceptStaleMS > tokens.MaxAcceptUntil.Milliseconds():
		err = invalidRequest(fmt.Sprintf("accept_stale_ms must be between 0 and %d.",
			tokens.MaxAcceptUntil.Milliseconds()))
	case join.Protocol < 0:
		err = invalidRequest("protocol must be 1 or more.")
	case join.Replaces != "" && !short(join.Replaces, 64):
		err = invalidRequest("replaces must be the session of an earlier join.")
	case join.Protocol >= httpfeed.Protocol && !short(join.Implementation, 100):
		err = invalidRequest("implementation must be name/version, 1 to 100 printable bytes.")
	}
	return join, err
}

func short(text string, longest int) bool {
	return text != "" && len(text) <= longest && keys.Printable(text)
}

func leaseOf(join httpfeed.Join) time.Duration {
	return time.Duration(join.LeaseMS) * time.Millisecond
}

// joinUnexamined answers a verifier from before there were examinations.
func (s *Server) joinUnexamined(w http.ResponseWriter, r *http.Request, join httpfeed.Join) error {
	s.examined.not.Add(1)
	if s.config.RequireProof {
		if r.ProtoMajor == 1 { // RFC 9110 §15.5.22; HTTP/2 knows no such header
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "imara-feed/"+strconv.Itoa(httpfeed.Protocol))
		}
		return &oauthError{http.StatusUpgradeRequired, "protocol_too_old", "This server admits verifiers " +
			"after an examination only: join with protocol 2, with a newer version of the verifier."}
	}
	join.Protocol, join.Implementation = 1, ""
	return s.admit(w, r, join, []string{keys.NotExamined})
}

// examine answers with an examination. It stores nothing.
func (s *Server) examine(w http.ResponseWriter, r *http.Request, join httpfeed.Join) error {
	if s.config.RequireProof {
		if wait := s.failures.wait(callerOf(r), time.Now()); wait > 0 {
			w.Header().Set("Retry-After", seconds(wait))
			return &oauthError{http.StatusTooManyRequests, "verifier_unproved",
				"Verifiers of this key failed their examinations. One of them may join each minute."}
		}
	}
	x, err := s.examiner.Examine(callerOf(r), join.Algorithms, leaseOf(join))
	if errors.Is(err, examination.ErrAlgorithms) {
		return invalidRequest("algorithms must name one of ES256, RS256 and EdDSA at least.")
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, httpfeed.Examined{Protocol: httpfeed.Protocol, Examination: x})
}

// joinExamined grades the verdicts. Who broke a rule is refused, or admitted and marked.
func (s *Server) joinExamined(w http.ResponseWriter, r *http.Request, join httpfeed.Join) error {
	result, err := s.examiner.Grade(callerOf(r), join.Ticket, leaseOf(join), join.Verdicts)
	switch {
	case errors.Is(err, examination.ErrTicket):
		return invalidRequest("The ticket is not one of this key and lease, or older than a minute. " +
			"Ask for another examination.")
	case errors.Is(err, examination.ErrVerdicts):
		return invalidRequest("verdicts must have a list for each time that they are asked for, " +
			"with accept, refuse or unknown for each token.")
	case err != nil:
		return err
	}
	broken := result.Broken()
	if len(broken) == 0 {
		s.examined.passed.Add(1)
		s.failures.passed(callerOf(r))
		return s.admit(w, r, join, nil)
	}
	s.examined.failed.Add(1)
	s.config.Logger.Warn("verifier does not refuse what it must", "verifier", join.Name,
		"implementation", join.Implementation, "client_id", callerOf(r),
		"accepted", result.Accepted, "mistaken", result.Mistaken)
	if s.config.RequireProof {
		return s.refuse(w, r, join, result)
	}
	return s.admit(w, r, join, broken)
}

// refuse answers a verifier that failed its examination, and remembers that it did.
func (s *Server) refuse(
	w http.ResponseWriter, r *http.Request, join httpfeed.Join, result examination.Result,
) error {
	if s.failures.failed(callerOf(r), time.Now()) == freeFailures {
		actor := keys.Actor{ClientID: callerOf(r),
			RequestID: w.Header().Get("X-Request-Id"), Address: web.Address(r)}
		reason := join.Name + ", " + join.Implementation + ": " + strings.Join(result.Broken(), " ")
		_, err := s.config.Relay.config.Log.Append(r.Context(), keys.Entry{
			Kind: tokens.Touch, Subject: tokens.Organization(""), Actor: actor,
			Action: "verifier.unproved", Target: actor.ClientID, Reason: reason})
		if err != nil {
			s.config.Logger.Error("failed examinations not recorded",
				"client_id", actor.ClientID, "error", err)
		}
	}
	web.Observe(w, "outcome", "verifier_unproved")
	w.Header().Set("Retry-After", "1")
	return web.WriteJSON(w, http.StatusConflict, struct {
		Error       string   `json:"error"`
		Description string   `json:"error_description"`
		Rules       []string `json:"rules"`
	}{"verifier_unproved", explainResult(result), result.Broken()})
}

// explainResult says to who wrote a verifier what is wrong with it.
func explainResult(result examination.Result) string {
	text := "This verifier may not join."
	if len(result.Accepted) > 0 {
		text += " It accepts what it must not: " + strings.Join(result.Accepted, ", ") + "."
	}
	if len(result.Mistaken) > 0 {
		text += " It does not decide as it must: " + strings.Join(result.Mistaken, ", ") + "."
	}
	return text + " PROTOCOL.md of package tokens explains each rule."
}

// admit stores a session and answers with it.
func (s *Server) admit(
	w http.ResponseWriter, r *http.Request, join httpfeed.Join, unproved []string,
) error {
	joined, err := s.config.Relay.join(r.Context(), join, callerOf(r), strings.Join(unproved, " "))
	if err != nil {
		return err
	}
	joined.Unproved = unproved
	return web.WriteJSON(w, http.StatusCreated, joined)
}

// seconds writes a wait for Retry-After, rounded up.
func seconds(wait time.Duration) string {
	return strconv.Itoa(int((wait + time.Second - 1) / time.Second))
}

// examined counts joins.
type examined struct{ passed, failed, not atomic.Uint64 }

// Examinations are the joins that this process has seen since it started.
type Examinations struct {
	Passed, Failed uint64
	// NotTaken are those of verifiers from before protocol 2.
	NotTaken uint64
}

// Examinations returns how verifiers that joined here did.
func (s *Server) Examinations() Examinations {
	return Examinations{s.examined.passed.Load(), s.examined.failed.Load(), s.examined.not.Load()}
}
