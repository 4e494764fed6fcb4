package management

import (
	"encoding/json"

	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Null is a member of a request that may be left out, null, or a value: the three
// mean as it was, none, and this.
type Null[T any] struct {
	Set, IsNull bool
	Value       T // zero for null
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *Null[T]) UnmarshalJSON(data []byte) error {
	n.Set = true
	if n.IsNull = string(data) == "null"; n.IsNull {
		return nil
	}
	return json.Unmarshal(data, &n.Value)
}

// MarshalJSON implements json.Marshaler, for clients.
func (n Null[T]) MarshalJSON() ([]byte, error) {
	if n.IsNull {
		return []byte("null"), nil
	}
	return json.Marshal(n.Value)
}

// of is the type of the value, for [unknownIn].
func (Null[T]) of() reflect.Type { return reflect.TypeFor[T]() }

// Schema implements huma.SchemaProvider.
func (Null[T]) Schema(r huma.Registry) *huma.Schema {
	schema := *huma.SchemaFromType(r, reflect.TypeFor[T]())
	schema.Nullable = true
	return &schema
}

// given is a body that may be left out.
func given[T any](body *T) (v T) {
	if body != nil {
		v = *body
	}
	return v
}
