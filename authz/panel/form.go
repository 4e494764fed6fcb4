package panel

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/keys"
)

// keyForm is the form of a key, new or to be changed, with what was given already.
type keyForm struct {
	Name, Description, Owner string
	Scopes, Resources        []string
	Expires, Date            string // one of the choices, and the day of the choice date
	Networks                 string
	TokenTTL                 string // seconds; empty: that of the API
	Version                  string // of the key that it was shown for; empty: a new one
	Began                    string // preset with which it began
	Problems                 []problem
	// Was is the form as it was shown first: what is as it was, the person did not change.
	Was *keyForm
}

// checkRequest refuses what is not the random text with which a form tells itself from
// the others.
func checkRequest(request string) error {
	odd := func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '0' || c > '9') }
	if len(request) < 20 || len(request) > 64 || strings.ContainsFunc(request, odd) {
		return errForm
	}
	return nil
}

// A problem is what is wrong with a field of a form: a text of the catalogue, and the
// value that it is about.
type problem struct{ Field, Text, Value string }

// readKeyForm reads a form that was sent, or the address of a link that fills one in.
func readKeyForm(values url.Values) keyForm {
	f := keyForm{Name: strings.TrimSpace(values.Get("name")), Description: strings.TrimSpace(values.Get("description")), Owner: values.Get("owner"),
		Resources: values["resource"], Expires: values.Get("expires"), Date: values.Get("date"), Networks: strings.Join(values["networks"], " "), TokenTTL: values.Get("token_ttl"), Version: values.Get("version"), Began: values.Get("began")}
	for name, scopes := range values {
		if name == "scope" || strings.HasPrefix(name, "scope.") {
			f.Scopes = append(f.Scopes, strings.Fields(strings.Join(scopes, " "))...)
		}
	}
	slices.Sort(f.Scopes)
	f.Scopes = slices.Compact(f.Scopes)
	return f
}

// asShown reads what the form of a key was when it was shown.
func asShown(values url.Values) *keyForm {
	return &keyForm{Name: values.Get("was_name"), Description: values.Get("was_description"), Owner: values.Get("was_owner"), Scopes: words(values.Get("was_scopes")),
		Resources: words(values.Get("was_resources")), Expires: "keep", Networks: values.Get("was_networks"), TokenTTL: values.Get("was_token_ttl")}
}

// onTop makes a form one of a key that somebody else changed since it was shown: what the
// person did not change is theirs.
func (f *keyForm) onTop(k *keys.Key) {
	theirs, was := formOf(k), f.Was
	for _, field := range []struct{ mine, was, theirs *string }{{&f.Name, &was.Name, &theirs.Name}, {&f.Description, &was.Description, &theirs.Description},
		{&f.Owner, &was.Owner, &theirs.Owner}, {&f.Networks, &was.Networks, &theirs.Networks}, {&f.TokenTTL, &was.TokenTTL, &theirs.TokenTTL}} {
		if *field.mine == *field.was {
			*field.mine = *field.theirs
		}
	}
	if sameSet(f.Scopes, was.Scopes) {
		f.Scopes = theirs.Scopes
	}
	if sameSet(f.Resources, was.Resources) {
		f.Resources = theirs.Resources
	}
	f.Version, f.Was = theirs.Version, &theirs
}

// formOf is the form of a key as it is.
func formOf(k *keys.Key) keyForm {
	f := keyForm{Name: k.Name, Description: k.Description, Owner: k.OwnerID, Scopes: k.Scopes, Resources: k.Resources, Expires: "keep", Networks: joined(k.Networks), Version: k.Version()}
	if k.TokenTTL > 0 {
		f.TokenTTL = strconv.Itoa(int(k.TokenTTL / time.Second))
	}
	return f
}

// words of a list that a person typed.
func words(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c <= ' ' || c == ',' || c == ';' })
}

func joined(networks []netip.Prefix) string {
	var texts []string
	for _, n := range networks {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, ", ")
}

// A span is a choice of when a key expires.
type span struct {
	Value string
	Days  int
}

var spans = []span{{"30d", 30}, {"90d", 90}, {"1y", 365}}

const day = 24 * time.Hour

// endOf is the end of a day, UTC. On the last day that a limit from now allows it is the
// limit's end: so many days are allowed with their last.
func endOf(date, now time.Time, limit time.Duration) time.Time {
	end, last := date.Add(day-time.Second), now.Add(limit).UTC()
	if limit > 0 && end.After(last) && date.Before(last) {
		return last
	}
	return end
}

// access is what the form asks for, and what of it cannot be read. Old is the end that
// the key has, and longest how long the policy lets keys live.
func (f *keyForm) access(now, old time.Time, longest time.Duration) (a keys.Access) {
	a = keys.Access{Scopes: f.Scopes, Resources: f.Resources, ExpiresAt: old}
	switch f.Expires {
	case "keep":
	case "longest":
		a.ExpiresAt = now.Add(longest)
	case "never":
		a.ExpiresAt = time.Time{}
	case "date":
		date, err := time.Parse(time.DateOnly, f.Date)
		if err != nil {
			f.Problems = append(f.Problems, problem{"expires_at", "form.date_bad", f.Date})
		}
		a.ExpiresAt = endOf(date, now, longest)
	default:
		i := slices.IndexFunc(spans, func(s span) bool { return s.Value == f.Expires })
		if i < 0 {
			f.Problems = append(f.Problems, problem{"expires_at", "form.expires_at", ""})
			break
		}
		a.ExpiresAt = now.Add(time.Duration(spans[i].Days) * day)
	}
	if f.Date != "" && f.Expires != "date" {
		f.Problems = append(f.Problems, problem{"expires_at", "form.date_unclear", f.Date})
	}
	for _, text := range words(f.Networks) {
		networks, err := keys.ParseNetworks([]string{text})
		if err != nil {
			f.Problems = append(f.Problems, problem{"networks", "form.network_bad", text})
			break
		}
		a.Networks = append(a.Networks, networks...)
	}
	if f.TokenTTL != "" {
		seconds, err := strconv.Atoi(f.TokenTTL)
		if err != nil || seconds <= 0 || seconds > int(keys.MaxTokenTTL/time.Second) {
			f.Problems = append(f.Problems, problem{"token_ttl_seconds", "form.token_ttl_seconds", ""})
		}
		a.TokenTTL = time.Duration(seconds) * time.Second
	}
	return a
}

// keyFormPage is what the page with the form shows.
type keyFormPage struct {
	keyForm
	Key         *keys.Key // nil: a new one
	Request     string    // the same for the same form, however often it is sent
	Filled      bool      // by a link
	Unknown     []string  // scopes of that link that there are not
	Presets     []presetChoice
	Owners      []keys.Member
	Expiries    []choice
	TTLs        []choice
	APIs        []apiChoice
	Groups      []scopeGroup
	Can, Cannot []keys.Scope
	Writes      bool // one that it can have writes
	Preset      *presetDifference
	Active, Max int
	Approval    bool
	Address     string
	Theirs      []difference // somebody else changed it meanwhile
	ChangedBy   string
	MaxLifetime time.Duration // 0: the policy has none
}

// A choice of a form.
type choice struct {
	Value, Text       string
	N                 int // that its text counts
	Span              time.Duration
	Checked, Disabled bool
}

type presetChoice struct {
	keys.Preset
	Chosen bool
}

// A presetDifference is how what is chosen differs from the preset that it began with.
type presetDifference struct {
	keys.Preset
	More, Less int
}

// All is how many scopes there are to choose.
func (p keyFormPage) All() int { return len(p.Can) + len(p.Cannot) }

type apiChoice struct {
	keys.Resource
	Chosen bool
}

// A scopeGroup is scopes of one subject. Where they are one to read and one to write
// at most, one level is chosen; otherwise each scope by itself.
type scopeGroup struct {
	API    string // whose first group it is, where there are several; else empty
	Name   string
	Field  string // of its choice
	Levels []level
	Scopes []scopeChoice
	Chosen int
}

// A level of a group: what it is called in the catalogue, and the scopes that it has.
type level struct {
	Name, Value       string
	Checked, Disabled bool
}

type scopeChoice struct {
	keys.Scope
	Checked, Disabled bool
}

// groups are the scopes that a key of the organisation can have, as choices of a form.
// What the key had it may keep.
func groups(catalogue keys.Catalogue, v *visitor, chosen, had []string, own string) (list []scopeGroup) {
	// What belongs to the server itself comes after what the customers came for.
	catalogue = slices.Clone(catalogue)
	slices.SortStableFunc(catalogue, func(a, b keys.Resource) int {
		return cmp.Compare(strings.Count(a.Audience, own), strings.Count(b.Audience, own))
	})
	for _, resource := range catalogue {
		first := len(list)
		for _, scope := range resource.Scopes {
			has := slices.Contains(had, scope.Name)
			if scope.Restricted && !has {
				continue
			}
			name := scope.Group
			if name == "" {
				name, _, _ = strings.Cut(scope.Name, ":")
			}
			i := slices.IndexFunc(list[first:], func(g scopeGroup) bool { return g.Name == name })
			if i < 0 {
				list = append(list, scopeGroup{Name: name, Field: "scope." + strconv.Itoa(len(list))})
				i = len(list) - 1 - first
			}
			c := scopeChoice{scope, slices.Contains(chosen, scope.Name), !has && !v.by.MayGrant(scope)}
			if c.Checked {
				list[first+i].Chosen++
			}
			list[first+i].Scopes = append(list[first+i].Scopes, c)
		}
		if first < len(list) && len(catalogue) > 1 {
			list[first].API = resource.Name
		}
	}
	for i := range list {
		list[i].Levels = levels(list[i].Scopes)
	}
	for _, scope := range had { // that the catalogue does not have any more
		if !slices.ContainsFunc(catalogue, func(r keys.Resource) bool {
			return slices.ContainsFunc(r.Scopes, func(s keys.Scope) bool { return s.Name == scope })
		}) {
			c := scopeChoice{keys.Scope{Name: scope}, slices.Contains(chosen, scope), false}
			list = append(list, scopeGroup{Name: scope, Field: "scope." + strconv.Itoa(len(list)), Scopes: []scopeChoice{c}})
		}
	}
	return list
}

// levels of a group, none if its scopes are more than one to read and one to write.
func levels(scopes []scopeChoice) []level {
	var read, write *scopeChoice
	for i := range scopes {
		kind := &read
		if scopes[i].Writes() {
			kind = &write
		}
		if *kind != nil {
			return nil
		}
		*kind = &scopes[i]
	}
	none := level{Name: "none", Checked: true}
	for _, s := range scopes {
		none.Checked = none.Checked && !s.Checked
	}
	list := []level{none}
	switch {
	case write == nil:
		return append(list, level{"read", read.Name, read.Checked, read.Disabled})
	case read == nil:
		return append(list, level{"write_only", write.Name, write.Checked, write.Disabled})
	}
	list = append(list, level{"read", read.Name, read.Checked && !write.Checked, read.Disabled},
		level{"write", read.Name + " " + write.Name, read.Checked && write.Checked, read.Disabled || write.Disabled})
	if write.Checked && !read.Checked {
		list = append(list, level{"write_only", write.Name, true, write.Disabled})
	}
	return list
}

// keyFormPage reads what the page needs beside the form.
func (p *panel) keyFormPage(r *http.Request, v *visitor, f keyForm, k *keys.Key) (keyFormPage, error) {
	ctx := r.Context()
	page := keyFormPage{keyForm: f, Key: k, Approval: v.org.Policy.Approval, Address: v.by.Address, MaxLifetime: v.org.Policy.MaxLifetime}
	catalogue, err := p.config.Registry.Catalogue(ctx)
	if err != nil {
		return page, err
	}
	members, err := p.config.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return page, err
	}
	presets, err := p.config.Registry.Presets(ctx)
	if err != nil {
		return page, err
	}
	if page.Active, page.Max, err = p.config.Registry.Limits(ctx, v.org.ID); err != nil {
		return page, err
	}
	for _, preset := range presets {
		chosen := preset.ID == f.Began
		page.Presets = append(page.Presets, presetChoice{preset, chosen})
		if chosen {
			page.Preset = &presetDifference{preset, len(without(f.Scopes, preset.Scopes)), len(without(preset.Scopes, f.Scopes))}
		}
	}
	for _, m := range members {
		if m.Active() && (v.by.Role != keys.Developer || m.ID == v.by.MemberID || m.ID == f.Owner) {
			page.Owners = append(page.Owners, m)
		}
	}
	var had []string
	if k != nil {
		had = k.Scopes
		page.Expiries = append(page.Expiries, choice{Value: "keep", Checked: f.Expires == "keep"})
	}
	limit := page.MaxLifetime
	if limit > 0 {
		page.Expiries = append(page.Expiries, choice{Value: "longest", Checked: f.Expires == "longest"})
	}
	for _, s := range spans {
		page.Expiries = append(page.Expiries, choice{Value: s.Value, N: s.Days, Checked: f.Expires == s.Value, Disabled: limit > 0 && time.Duration(s.Days)*day > limit})
	}
	page.Expiries = append(page.Expiries, choice{Value: "date", Checked: f.Expires == "date"}, choice{Value: "never", Checked: f.Expires == "never", Disabled: limit > 0})
	page.TTLs = []choice{{Checked: f.TokenTTL == ""}}
	for _, minutes := range []int{1, 5, 10, 30, 60} {
		seconds := strconv.Itoa(minutes * 60)
		page.TTLs = append(page.TTLs, choice{Value: seconds, Span: time.Duration(minutes) * time.Minute, Checked: f.TokenTTL == seconds})
	}
	if n, err := strconv.Atoi(f.TokenTTL); err == nil && !slices.ContainsFunc(page.TTLs, func(c choice) bool { return c.Checked }) {
		page.TTLs = append(page.TTLs, choice{Value: f.TokenTTL, Span: time.Duration(n) * time.Second, Checked: true}) // set by the API
	}
	for _, resource := range catalogue {
		page.APIs = append(page.APIs, apiChoice{resource, slices.Contains(f.Resources, resource.Audience)})
	}
	page.Groups = groups(catalogue, v, f.Scopes, had, authz.ManagementAudience(p.config.Issuer))
	for _, scope := range f.Scopes {
		if _, _, ok := catalogue.Scope(scope); !ok {
			page.Unknown = append(page.Unknown, scope)
		}
	}
	for _, g := range page.Groups {
		for _, s := range g.Scopes {
			if s.Checked {
				page.Can = append(page.Can, s.Scope)
				page.Writes = page.Writes || s.Writes()
			} else {
				page.Cannot = append(page.Cannot, s.Scope)
			}
		}
	}
	return page, nil
}

// without is a list without what is in another.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}
