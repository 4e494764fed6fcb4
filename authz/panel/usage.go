package panel

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// A window is how far back a page looks.
type window struct {
	Value string
	Days  int
}

var windows = []window{{"24h", 1}, {week, 7}, {month, 30}, {"90d", 90}}

const week, month = "7d", "30d"

// windowOf is the window that a request asks for, else this one.
func windowOf(r *http.Request, otherwise string) window {
	for _, value := range []string{r.URL.Query().Get("window"), otherwise} {
		if i := slices.IndexFunc(windows, func(w window) bool { return w.Value == value }); i >= 0 {
			return windows[i]
		}
	}
	return windows[0]
}

// A chart is how often tokens were asked for, as bars, and the same as a table.
type chart struct {
	Window   window
	Bars     []bar
	Issued   int
	Refused  int
	Outcomes []outcomeRow // of what was refused, the most frequent first
}

// A bar is an hour of a chart of one day, or a day of another. Positions are those of
// the drawing, in percent.
type bar struct {
	At                        time.Time
	Issued, Refused           int
	X                         string
	IssuedTop, RefusedTop     int
	IssuedHeight, RefusedHigh int
}

type outcomeRow struct {
	Outcome keys.Outcome
	Count   int
}

func (c chart) Windows() []window { return windows }
func (c chart) Hourly() bool      { return c.Window.Days == 1 }
func (c chart) First() bar        { return c.Bars[0] }
func (c chart) Last() bar         { return c.Bars[len(c.Bars)-1] }

// Width of a bar in percent: four fifths of its place.
func (c chart) Width() string { return percent(80 / float64(len(c.Bars))) }

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }

func (c chart) unit() time.Duration {
	if c.Hourly() {
		return time.Hour
	}
	return day
}

// since is where the first bar of a chart begins that ends now.
func (c chart) since(now time.Time) time.Time {
	n := c.Window.Days
	if c.Hourly() {
		n = 24
	}
	return now.UTC().Truncate(c.unit()).Add(-time.Duration(n-1) * c.unit())
}

func (c *chart) draw(rows []keys.UsageRow, now time.Time) {
	begin := c.since(now)
	for t := begin; !t.After(now); t = t.Add(c.unit()) {
		c.Bars = append(c.Bars, bar{At: t})
	}
	outcomes := map[keys.Outcome]int{}
	for _, row := range rows {
		i := int(row.Hour.Sub(begin) / c.unit())
		if row.Hour.Before(begin) || i >= len(c.Bars) {
			continue
		}
		if row.Outcome == keys.Issued {
			c.Bars[i].Issued += int(row.Count)
			c.Issued += int(row.Count)
		} else {
			c.Bars[i].Refused += int(row.Count)
			c.Refused += int(row.Count)
			outcomes[row.Outcome] += int(row.Count)
		}
	}
	for outcome, n := range outcomes {
		c.Outcomes = append(c.Outcomes, outcomeRow{outcome, n})
	}
	slices.SortFunc(c.Outcomes, func(a, b outcomeRow) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return slices.Compare([]byte(a.Outcome), []byte(b.Outcome))
	})
	most := 1
	for _, b := range c.Bars {
		most = max(most, b.Issued+b.Refused)
	}
	high := func(n int) int { // what happened once is seen
		if n == 0 {
			return 0
		}
		return max(n*100/most, 2)
	}
	for i := range c.Bars {
		b := &c.Bars[i]
		b.X = percent(100 * float64(i) / float64(len(c.Bars)))
		b.IssuedHeight, b.RefusedHigh = high(b.Issued), high(b.Refused)
		b.IssuedTop = 100 - b.IssuedHeight
		b.RefusedTop = b.IssuedTop - b.RefusedHigh
	}
}

// When a bar is.
func (c chart) When(b bar) string {
	if c.Hourly() {
		return date(b.At)
	}
	return b.At.Format(time.DateOnly)
}

// quickStarts ask for a token with a key, in several languages. The secret is a variable.
func quickStarts(id, url string) []format {
	text := func(s string, args ...any) string { return fmt.Sprintf(s, args...) }
	return []format{
		{Name: "curl", Text: curl(id, url)},
		{Name: "Go", Text: text(`config := clientcredentials.Config{ // golang.org/x/oauth2/clientcredentials
	ClientID:     %q,
	ClientSecret: os.Getenv("CLIENT_SECRET"),
	TokenURL:     %q,
}
client := config.Client(ctx) // asks for a token when it needs one
`, id, url)},
		{Name: "Python", Text: text(`import os, requests

answer = requests.post(%q,
    auth=(%q, os.environ["CLIENT_SECRET"]),
    data={"grant_type": "client_credentials"})
answer.raise_for_status()
token = answer.json()["access_token"]
`, url, id)},
		{Name: "Node", Text: text(`const answer = await fetch(%q, {
  method: "POST",
  headers: { Authorization: "Basic " + btoa(%q + ":" + process.env.CLIENT_SECRET) },
  body: new URLSearchParams({ grant_type: "client_credentials" }),
});
if (!answer.ok) throw new Error(await answer.text());
const { access_token } = await answer.json();
`, url, id)},
		{Name: "Java", Text: text(`var basic = Base64.getEncoder().encodeToString((%q + ":" + System.getenv("CLIENT_SECRET")).getBytes());
var request = HttpRequest.newBuilder(URI.create(%q))
    .header("Authorization", "Basic " + basic)
    .header("Content-Type", "application/x-www-form-urlencoded")
    .POST(HttpRequest.BodyPublishers.ofString("grant_type=client_credentials")).build();
var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
`, id, url)},
		{Name: ".NET", Text: text(`var basic = Convert.ToBase64String(Encoding.ASCII.GetBytes(%q + ":" + Environment.GetEnvironmentVariable("CLIENT_SECRET")));
using var http = new HttpClient();
http.DefaultRequestHeaders.Authorization = new("Basic", basic);
var answer = await http.PostAsync(%q, new FormUrlEncodedContent(new Dictionary<string, string> { ["grant_type"] = "client_credentials" }));
`, id, url)},
		{Name: "GitHub Actions", Text: text(`- name: Get a token
  env:
    CLIENT_SECRET: ${{ secrets.CLIENT_SECRET }}
  run: |
    TOKEN=$(curl -sf %s -u "%s:$CLIENT_SECRET" -d grant_type=client_credentials | jq -r .access_token)
    echo "::add-mask::$TOKEN"
    echo "TOKEN=$TOKEN" >> "$GITHUB_ENV"
`, url, id)},
	}
}

// usagePage is what the page of the organisation's usage shows.
type usagePage struct {
	Chart chart
	Keys  []keyUsage
}

// keyUsage is what one key was asked for.
type keyUsage struct {
	ID, Name        string
	Issued, Refused int64
}

// showUsage shows how the keys of the organisation are used, or answers with the same as CSV.
func (p *panel) showUsage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("usage.read"); err != nil {
		return err
	}
	now := time.Now()
	page := usagePage{Chart: chart{Window: windowOf(r, week)}}
	rows, err := p.config.Registry.Usage(r.Context(), v.org.ID, "", page.Chart.since(now), page.Chart.unit())
	if err != nil {
		return err
	}
	list, err := p.config.Registry.Keys(r.Context(), v.org.ID, keys.Page{Order: keys.ByName, Ascending: true})
	if err != nil {
		return err
	}
	if r.URL.Query().Get("format") == "csv" {
		return usageCSV(w, rows, list)
	}
	page.Chart.draw(rows, now)
	of := map[string]*keyUsage{}
	for _, row := range rows {
		u := of[row.KeyID]
		if u == nil {
			u = &keyUsage{}
			of[row.KeyID] = u
		}
		if row.Outcome == keys.Issued {
			u.Issued += row.Count
		} else {
			u.Refused += row.Count
		}
	}
	for _, k := range list {
		if u := of[k.ID]; u != nil {
			page.Keys = append(page.Keys, keyUsage{k.ID, k.Name, u.Issued, u.Refused})
		}
	}
	slices.SortStableFunc(page.Keys, func(a, b keyUsage) int { return cmp.Compare(b.Issued+b.Refused, a.Issued+a.Refused) })
	p.show(w, v, "usage", http.StatusOK, page)
	return nil
}

func usageCSV(w http.ResponseWriter, rows []keys.UsageRow, list []keys.Key) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="usage.csv"`)
	names := map[string]string{}
	for _, k := range list {
		names[k.ID] = k.Name
	}
	c := csv.NewWriter(w)
	c.UseCRLF = true
	c.Write([]string{"from", "key", "name", "outcome", "count"})
	for _, row := range rows {
		c.Write(web.Cells([]string{row.Hour.Format(time.RFC3339), row.KeyID, names[row.KeyID], string(row.Outcome), strconv.FormatInt(row.Count, 10)}))
	}
	c.Flush()
	return c.Error()
}
