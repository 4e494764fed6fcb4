package sqlstore

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// errDatabaseURL never quotes the text: it has the password, wherever that went.
var errDatabaseURL = errors.New("it is neither postgres://USER:PASSWORD@HOST/DATABASE nor a list of name=value, such as host=… dbname=… user=…")

// listStart is how a list of name=value begins.
var listStart = regexp.MustCompile(`^([a-z_]+)\s*=`)

// listNames are the names that a list may begin with: any other is a setting of the
// server, and the connection would go wherever PGHOST or the local socket leads.
var listNames = []string{"host", "hostaddr", "port", "dbname", "database", "user", "password", "passfile", "service",
	"servicefile", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslpassword", "connect_timeout", "target_session_attrs",
	"application_name", "options"}

// checkDatabaseURL refuses what the driver would take for something else, and names the
// sign that stands raw in a password.
func checkDatabaseURL(text string) error {
	scheme, rest, isURL := strings.Cut(text, "://")
	switch {
	case isURL && (scheme == "postgres" || scheme == "postgresql"):
		return checkAuthority(text, rest)
	case isURL && !strings.Contains(scheme, "="):
		return errDatabaseURL
	}
	m := listStart.FindStringSubmatch(text)
	if m == nil || !slices.Contains(listNames, m[1]) {
		return errDatabaseURL
	}
	return nil
}

// rawSigns end an authority, or begin an escape.
const rawSigns = "/?#[]@% \\^|<>{}\"`"

// checkAuthority looks for the sign of a password with which a URL says something else.
func checkAuthority(text, rest string) error {
	u, err := url.Parse(text)
	at := strings.LastIndex(rest, "@")
	if err == nil && (u.User != nil || at < 0) && u.Fragment == "" {
		return nil
	}
	_, password, _ := strings.Cut(rest[:max(at, 0)], ":")
	for i, c := range password {
		if c == '%' && regexp.MustCompile(`^%[0-9A-Fa-f]{2}`).MatchString(password[i:]) || !strings.ContainsRune(rawSigns, c) {
			continue
		}
		return fmt.Errorf("there is a %q in the password, which means something else in a URL: write it as %s",
			c, strings.ReplaceAll(url.QueryEscape(string(c)), "+", "%20"))
	}
	if err == nil && u.Fragment == "" {
		return errors.New("the @ of its query: write it as %40")
	}
	return errDatabaseURL
}
