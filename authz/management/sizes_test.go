package management

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// askedLists calls visit with each list that a request can hold: the operation, the place of
// the list in the body, and its schema.
func (w *world) askedLists(visit func(op *huma.Operation, path, field string, list *huma.Schema)) {
	schemas := w.server.api.OpenAPI().Components.Schemas
	for path, item := range w.server.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			body := op.RequestBody.Content["application/json"].Schema
			if body.Ref != "" {
				body = schemas.SchemaFromRef(body.Ref)
			}
			if body.Type == huma.TypeArray {
				visit(op, path, "", body)
			}
			for name, property := range body.Properties {
				if property.Type == huma.TypeArray {
					visit(op, path, name, property)
				}
			}
		}
	}
}

// TestEveryListOfARequestHasABound: the document says of each how long it may be.
func TestEveryListOfARequestHasABound(t *testing.T) {
	lists := 0
	newWorld(t).askedLists(func(op *huma.Operation, _, field string, list *huma.Schema) {
		lists++
		if list.MaxItems == nil {
			t.Errorf("%s: %s has no maxItems", op.OperationID, field)
		}
	})
	if lists < 10 {
		t.Errorf("%d lists: the search for them found too few", lists)
	}
}

// TestLongListsAreRefusedForTheirLength: one more than the document says is refused, and so
// is what fills the largest body, whether anything would be changed or not.
func TestLongListsAreRefusedForTheirLength(t *testing.T) {
	w := newWorld(t)
	token, ids := w.token("staff", everything+" operator"), w.ids["org"]
	w.askedLists(func(op *huma.Operation, path, field string, list *huma.Schema) {
		good := bodies[op.Method+" "+strings.TrimPrefix(path, "/v1")]
		if field == "" || list.MaxItems == nil || good == "" {
			return
		}
		for n, want := range map[int]int{*list.MaxItems + 1: 422, 100_000: 400} {
			var body map[string]any
			if err := json.Unmarshal([]byte(good), &body); err != nil {
				t.Fatal(err)
			}
			items := make([]any, n)
			for i := range items {
				if items[i] = fmt.Sprintf("%04x", i); list.Items.Ref != "" {
					items[i] = map[string]any{"name": items[i]}
				}
			}
			body[field] = items
			data, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > maxBody {
				want = 413
			}
			got := w.call(op.Method, fill(strings.TrimPrefix(path, "/v1"), ids)+"?dry_run=true", token, string(data), "If-Match", "*")
			if got.Code != want {
				t.Errorf("%s: %d %s: %d %.200s", op.OperationID, n, field, got.Code, got.Body)
			}
		}
	})
}
