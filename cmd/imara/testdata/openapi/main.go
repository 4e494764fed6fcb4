// Command story plays the README's story over the management API. All that it has
// of Imara is the client in package imara, which oapi-codegen made of the OpenAPI
// document, and the variables of demo.env.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"

	"golang.org/x/oauth2/clientcredentials"

	"story/imara"
)

func main() {
	log.SetFlags(0)
	ctx, org := context.Background(), os.Getenv("IMARA_ORG")
	operator := clientcredentials.Config{ClientID: os.Getenv("IMARA_CLIENT_ID"), ClientSecret: os.Getenv("IMARA_CLIENT_SECRET"),
		TokenURL: os.Getenv("TOKEN_URL"), EndpointParams: url.Values{"resource": {os.Getenv("MANAGEMENT_URL")}}}
	client := must(imara.NewClientWithResponses(os.Getenv("IMARA_URL"), imara.WithHTTPClient(operator.Client(ctx))))

	list := must(client.ListKeysWithResponse(ctx, org, nil))
	for _, key := range body(list.JSON200, list.ApplicationProblemJSONDefault).Data {
		fmt.Printf("listed %q, %s, %d secret\n", key.Name, key.Status, len(key.Secrets))
	}

	wanted := imara.CreateKey{Name: "Generated", Scopes: []string{"alerts:read"}}
	made := must(client.CreateKeyWithResponse(ctx, org, nil, wanted))
	created := body(made.JSON201, made.ApplicationProblemJSONDefault)
	fmt.Printf("created %q, uses %d of %d\n", created.Key.Name, created.Limits.Active, created.Limits.Max)

	again := must(client.CreateKeyWithResponse(ctx, org, nil, wanted))
	if problem := again.ApplicationProblemJSONDefault; problem != nil {
		fmt.Printf("refused with %d %s: %s\n", problem.Status, problem.Code, *problem.Fix)
	}

	key := clientcredentials.Config{ClientID: created.Key.ClientID, ClientSecret: *created.Secret.Value, TokenURL: os.Getenv("TOKEN_URL")}
	token := must(key.Token(ctx)).AccessToken
	fmt.Println("the API answers", call(token))
	inspection := must(client.InspectTokenWithResponse(ctx, nil, imara.InspectToken{Token: token}))
	claims := body(inspection.JSON200, inspection.ApplicationProblemJSONDefault).Claims
	fmt.Println("the token is for", must(claims.Aud.AsClaimsAud0()))

	reason := "the story ends"
	revoked := must(client.RevokeKeyWithResponse(ctx, org, created.Key.ID, nil, imara.Reason{Reason: &reason}))
	receipt := body(revoked.JSON200, revoked.ApplicationProblemJSONDefault).Receipt
	fmt.Printf("revoked, %s by %d of %d\n", receipt.State, *receipt.Confirmed, *receipt.Total)
	fmt.Println("the API answers", call(token))

	action := "key.revoke"
	events := must(client.ListEventsWithResponse(ctx, org, &imara.ListEventsParams{Action: &action, Target: &created.Key.ID}))
	for _, event := range body(events.JSON200, events.ApplicationProblemJSONDefault).Data {
		fmt.Printf("logged %s, %q, a %s\n", event.Action, *event.Reason, event.Kind)
	}
}

// call asks the demo API with a token, and returns the status.
func call(token string) int {
	r := must(http.NewRequest("GET", os.Getenv("API_URL"), nil))
	r.Header.Set("Authorization", "Bearer "+token)
	response := must(http.DefaultClient.Do(r))
	response.Body.Close()
	return response.StatusCode
}

// body is that of a success.
func body[T any](success *T, problem *imara.Problem) *T {
	if problem != nil {
		log.Fatalf("%s: %s", problem.Code, problem.Title)
	}
	if success == nil {
		log.Fatal("the token was refused")
	}
	return success
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
