package management

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/imara/apikeys/authz/web"
)

// unknownMember finds a member of a body that its type does not have, at whatever depth,
// and names it by its pointer; nil when there is none.
func unknownMember(data []byte, t reflect.Type) error {
	var body any
	if json.Unmarshal(data, &body) != nil {
		return nil // whoever reads it finds out why
	}
	pointer, name, known := unknownIn(body, t)
	if pointer == "" {
		return nil
	}
	return &bodyError{status: http.StatusBadRequest, reason: "unknown field " + quoted(name),
		pointer: pointer, fix: unknownFix(name, known)}
}

// unknownIn returns the pointer and the name of the first unknown member of a value, and
// which members there are beside it.
func unknownIn(value any, t reflect.Type) (pointer, name string, known []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n, ok := reflect.Zero(t).Interface().(interface{ of() reflect.Type }); ok {
		return unknownIn(value, n.of())
	}
	switch v := value.(type) {
	case []any:
		if t.Kind() != reflect.Slice {
			return "", "", nil
		}
		for i, element := range v {
			if pointer, name, known = unknownIn(element, t.Elem()); pointer != "" {
				return "/" + strconv.Itoa(i) + pointer, name, known
			}
		}
	case map[string]any:
		fields := fieldsOf(t)
		for _, member := range slices.Sorted(maps.Keys(v)) {
			at := "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(short(member))
			field, there := fields[member]
			switch {
			case t.Kind() == reflect.Map:
				field = t.Elem()
			case t.Kind() != reflect.Struct:
				return "", "", nil
			case !there:
				return at, member, slices.Sorted(maps.Keys(fields))
			}
			if pointer, name, known = unknownIn(v[member], field); pointer != "" {
				return at + pointer, name, known
			}
		}
	}
	return "", "", nil
}

// fieldsOf is the members of a struct as JSON has them, and their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.IsExported() && name != "" && name != "-" {
			fields[name] = field.Type
		}
	}
	return fields
}

// unknownFix says which name of the known ones may have been meant, or which there are.
func unknownFix(name string, known []string) string {
	best, distance := "", min(3, len(name)/2+1)
	for _, candidate := range known {
		if d := web.EditDistance(strings.ToLower(short(name)), candidate); d < distance {
			best, distance = candidate, d
		}
	}
	switch {
	case best != "":
		return "Did you mean " + best + "?"
	case len(known) == 0:
		return "Leave it out."
	}
	return "Leave it out, or use one of " + strings.Join(known, ", ") + "."
}
