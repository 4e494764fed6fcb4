package management

import "strings"

// versions reads an If-Match (RFC 9110 section 13.1.1): the versions of its entity tags,
// separated by spaces, or nothing for *, which is whatever is there. What is no list of
// tags is a version that nothing has.
//
// A proxy that compresses makes a tag weak, or writes how behind it: -gzip, -br, ;gzip.
// What is stored is the same, so these are cut off. A tag without quotes is taken as well.
func versions(header string) string {
	if strings.TrimSpace(header) == "*" {
		return ""
	}
	var list []string
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		tag = strings.TrimSuffix(strings.TrimPrefix(tag, `"`), `"`)
		if i := strings.IndexAny(tag, "-;:"); i > 0 {
			tag = tag[:i]
		}
		if tag != "" && !strings.ContainsAny(tag, " \"") {
			list = append(list, tag)
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}
