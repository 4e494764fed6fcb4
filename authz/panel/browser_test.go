package panel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium is one for all tests; each gets a profile of its own in it.
var chromium = sync.OnceValues(func() (context.Context, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Flag("disable-dev-shm-usage", true))
	if shell, err := exec.LookPath("chromium-headless-shell"); err == nil {
		options = append(options, chromedp.ExecPath(shell)) // the same browser, in half the time
	}
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	stopChromium = func() { cancel(); stop() }
	return ctx, chromedp.Do(ctx)
})

var stopChromium = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	os.Exit(code)
}

// browser is a profile with one tab. It fails its test for what the console, the
// policy of the page, or a request to another origin has to say.
type browser struct {
	t       *testing.T
	ctx     context.Context
	origin  string
	trouble chan string
	wanted  bool // the test makes trouble
	// elsewhere is another origin that pages may lead to.
	elsewhere atomic.Pointer[string]
}

func newBrowser(t *testing.T, origin string) *browser {
	t.Helper()
	parent, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, origin: origin, trouble: make(chan string, 1000)}
	b.watch()
	return b
}

// tab is another tab of the same profile.
func (b *browser) tab() *browser {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	other := &browser{t: b.t, ctx: ctx, origin: b.origin, trouble: make(chan string, 1000)}
	b.must(chromedp.Do(ctx))
	other.watch()
	return other
}

// watch collects what the browser has to say.
func (b *browser) watch() {
	b.t.Helper()
	b.must(chromedp.Listen(b.ctx, func(event any) {
		text := ""
		switch e := event.(type) {
		case *log.EventEntryAdded:
			// The status of a page itself is what the test checks.
			if page := e.Entry.Source == log.EntrySourceNetwork && !strings.Contains(e.Entry.URL, "/assets/"); !page && e.Entry.Level == log.EntryLevelError {
				text = e.Entry.Text
			}
		case *runtime.EventExceptionThrown:
			text = e.ExceptionDetails.Text
		case *runtime.EventConsoleAPICalled:
			text = fmt.Sprintf("console.%s", e.Type)
		case *network.EventRequestWillBeSent:
			// What the browser draws of its own, it reads from data: URLs; the policy forbids
			// them to pages.
			if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && u.Scheme+"://"+u.Host != b.origin && !b.leads(e, u.Scheme+"://"+u.Host) {
				text = "request to " + e.Request.URL
			}
		}
		if text != "" {
			b.trouble <- text
		}
	}))
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(b.ctx, log.Enable, cdp.Empty{}); return err },
		func() error { _, err := chromedp.Call(b.ctx, network.Enable, network.EnableParams{}); return err },
	} {
		b.must(enable())
	}
	b.t.Cleanup(func() {
		for len(b.trouble) > 0 && !b.wanted {
			b.t.Errorf("the browser says: %s", <-b.trouble)
		}
	})
}

// leads tells whether a request is for a page of the origin to which pages may lead.
func (b *browser) leads(e *network.EventRequestWillBeSent, origin string) bool {
	elsewhere := b.elsewhere.Load()
	return elsewhere != nil && *elsewhere == origin && e.Type == network.ResourceTypeDocument
}

func (b *browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// noticed waits until there was this trouble, which the test has made.
func (b *browser) noticed(want string) {
	b.t.Helper()
	b.wanted = true
	for {
		select {
		case text := <-b.trouble:
			if strings.Contains(text, want) {
				return
			}
		case <-b.ctx.Done():
			b.t.Fatalf("nobody noticed: %s", want)
		}
	}
}

// goes runs actions that lead to another page, and returns its status.
func (b *browser) goes(actions ...chromedp.Action[chromedp.Void]) int64 {
	b.t.Helper()
	response, err := chromedp.RunResponse(b.ctx, actions...)
	b.must(err)
	return response.Status
}

func (b *browser) open(path string) int64 {
	b.t.Helper()
	return b.goes(chromedp.Navigate(b.origin + path))
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.must(chromedp.Do(b.ctx, actions...))
}

// says tells whether the page has these texts, as a person sees them.
func (b *browser) says(texts ...string) {
	b.t.Helper()
	body, err := chromedp.Run(b.ctx, chromedp.Text("body", chromedp.NodeReady))
	b.must(err)
	body = strings.Join(strings.Fields(unmarked.Replace(body)), " ")
	for _, text := range texts {
		if !strings.Contains(body, text) {
			b.t.Errorf("no %q in: %s", text, body)
		}
	}
}

// at is the path of the page.
func (b *browser) at() string {
	b.t.Helper()
	location, err := chromedp.Run(b.ctx, chromedp.Location())
	b.must(err)
	return strings.TrimPrefix(location, b.origin)
}

// focused is what of the page has the focus: its name, or what it says.
func (b *browser) focused() string {
	b.t.Helper()
	name, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.activeElement.name || document.activeElement.textContent.trim()`))
	b.must(err)
	return unmarked.Replace(name)
}

// tabTo presses Tab until this has the focus: it can be reached without a mouse.
func (b *browser) tabTo(want string) {
	b.t.Helper()
	var seen []string
	for range 100 {
		b.do(chromedp.KeyEvent(kb.Tab))
		got := b.focused()
		if got == want {
			return
		}
		seen = append(seen, got)
	}
	b.t.Fatalf("Tab never comes to %q, only to %q", want, seen)
}

// axe is the checker of accessibility, which make test installs.
var axe = sync.OnceValues(func() (string, error) {
	source, err := os.ReadFile("../../.tools/node_modules/axe-core/axe.min.js")
	if err != nil {
		return "", fmt.Errorf("%w: make tools installs it", err)
	}
	return string(source), nil
})

// violations are what axe finds on the page as it is.
func (b *browser) violations() (list []string) {
	b.t.Helper()
	source, err := axe()
	b.must(err)
	there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`'axe' in window`))
	b.must(err)
	if !there {
		_, err = chromedp.Call(b.ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: source})
		b.must(err)
	}
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](
		`axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => JSON.stringify(r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' '))))`,
		chromedp.EvalAwaitPromise))
	b.must(err)
	b.must(json.Unmarshal([]byte(found), &list))
	return list
}

// accessible checks the page, narrow and wide, light and dark.
func (b *browser) accessible(name string) {
	b.t.Helper()
	for _, text := range b.untranslated() {
		b.t.Errorf("%s: not in the catalogue, nor marked as nobody's language: %s", name, text)
	}
	for _, width := range []int64{320, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			b.readable(name, width, scheme)
		}
	}
}

// readable checks the page as somebody sees it: no violation of WCAG 2.2 AA that axe
// finds, nothing to scroll sideways. It keeps a picture.
func (b *browser) readable(name string, width int64, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 800))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.must(err)
	overflow, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - innerWidth`))
	b.must(err)
	if overflow > 0 {
		b.t.Errorf("%s, %d px: %d px to scroll sideways", name, width, overflow)
	}
	for _, v := range b.violations() {
		b.t.Errorf("%s, %d px, %s: %s", name, width, scheme, v)
	}
	if pictures := os.Getenv("IMARA_SCREENSHOTS"); pictures != "" {
		picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		b.must(err)
		b.must(os.MkdirAll(pictures, 0o755))
		b.must(os.WriteFile(filepath.Join(pictures, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), picture, 0o644))
	}
}

// paste puts a text where the focus is, all at once.
func (b *browser) paste(text string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, input.InsertText, input.InsertTextParams{Text: text})
	b.must(err)
}

// enter gives the browser a session.
func (b *browser) enter(session string) {
	b.t.Helper()
	yes := true
	_, err := chromedp.Call(b.ctx, network.SetCookie, network.SetCookieParams{Name: cookieName, Value: session, URL: b.origin, Path: "/", Secure: &yes, HTTPOnly: &yes})
	b.must(err)
}

// cookie is the session.
func (b *browser) cookie() string {
	b.t.Helper()
	answer, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.origin}})
	b.must(err)
	for _, c := range answer.Cookies {
		if c.Name == cookieName {
			return c.Value
		}
	}
	b.t.Fatal("no session")
	return ""
}

// shortcut presses a key as a keyboard does: what the page does with it comes before
// its character.
func (b *browser) shortcut(key string) {
	b.t.Helper()
	for _, event := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		_, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: event, Key: key, Text: key})
		b.must(err)
	}
}
