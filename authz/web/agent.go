package web

import (
	"net/http"
	"strings"
)

// families of programs by what they have in User-Agent; the first that fits counts, since
// browsers name those that they are like as well.
var families = []struct{ has, family string }{
	{"imara/", "imara"}, {"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
	{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"Chrome/", "Chrome"}, {"CriOS/", "Chrome"},
	{"Safari/", "Safari"}, {"curl/", "curl"}, {"Wget/", "Wget"}, {"Go-http-client/", "Go"},
	{"python", "Python"}, {"Python", "Python"}, {"okhttp/", "Java"}, {"Apache-HttpClient/", "Java"},
	{"Java", "Java"}, {"axios/", "Node.js"}, {"node", "Node.js"}, {"undici", "Node.js"},
	{"Ruby", "Ruby"}, {"PHP", "PHP"}, {"kube-probe/", "Kubernetes"}, {"Prometheus/", "Prometheus"},
}

// Agent is the family of the program that asks, such as Firefox or curl; other for one that
// is not known, none for one that does not say. It is never text that a caller chose.
func Agent(r *http.Request) string {
	agent := r.UserAgent()
	if agent == "" {
		return "none"
	}
	agent = agent[:min(len(agent), 512)]
	for _, f := range families {
		if strings.Contains(agent, f.has) {
			return f.family
		}
	}
	return "other"
}
