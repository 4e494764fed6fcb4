package tokens_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// vectors is testdata/vectors.json, as PROTOCOL.md describes it.
type vectors struct {
	Issuer   string        `json:"issuer"`
	Audience string        `json:"audience"`
	LeaseMS  int64         `json:"lease_ms"`
	Keys     tokens.JWKSet `json:"keys"`
	Feeds    map[string]struct {
		Joined *httpfeed.Joined `json:"joined"`
		Pages  []httpfeed.Page  `json:"pages"`
	} `json:"feeds"`
	Vectors []struct {
		Name    string           `json:"name"`
		Feed    string           `json:"feed"`
		Token   string           `json:"token"`
		Verdict httpfeed.Verdict `json:"verdict"`
	} `json:"vectors"`
}

// TestVerifierGivesEveryVerdictOfTheVectors: what other languages are measured by.
func TestVerifierGivesEveryVerdictOfTheVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	byFeed := make(map[string][]int)
	names := make(map[string]bool)
	for i, v := range all.Vectors {
		byFeed[v.Feed] = append(byFeed[v.Feed], i)
		if names[v.Name] {
			t.Errorf("%s: there are two of this name", v.Name)
		}
		names[v.Name] = true
	}
	if len(all.Vectors) < 200 {
		t.Errorf("%d vectors", len(all.Vectors))
	}
	for name, feed := range all.Feeds {
		x := httpfeed.Examination{Issuer: all.Issuer, Audience: all.Audience, Keys: all.Keys}
		for _, i := range byFeed[name] {
			x.Tokens = append(x.Tokens, all.Vectors[i].Token)
		}
		if len(x.Tokens) == 0 {
			t.Errorf("nothing is asked of the feed %s", name)
		}
		moment := 0 // nothing is known
		if feed.Joined != nil {
			moment = 1 + len(feed.Pages)
			x.Sessions = []httpfeed.Trial{{Joined: *feed.Joined, Pages: feed.Pages}}
		} else {
			x.Sessions = make([]httpfeed.Trial, 1)
		}
		verdicts, err := x.Answer(time.Duration(all.LeaseMS) * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for j, i := range byFeed[name] {
			if got, want := verdicts[moment][j], all.Vectors[i].Verdict; got != want {
				t.Errorf("%s: %s, want %s\n%s", all.Vectors[i].Name, got, want, all.Vectors[i].Token)
			}
		}
	}
}
