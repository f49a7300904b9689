package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// Sends requests as those clients do that cannot read NDJSON. Boxo's own client always can, and has
// no option for it.
type asksForJSON struct{}

func (asksForJSON) Do(request *http.Request) (*http.Response, error) {
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	got := response.Header.Get("Content-Type")
	if response.StatusCode == http.StatusOK && got != "application/json" {
		response.Body.Close()
		return nil, fmt.Errorf("the answer is %q instead of JSON", got)
	}
	return response, nil
}

// Replaces `from` by `to` in the body of each request.
type changesBody struct {
	from, to []byte
}

func (changes changesBody) Do(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	changed := bytes.ReplaceAll(body, changes.from, changes.to)
	if bytes.Equal(changed, body) {
		return nil, fmt.Errorf("%q is not in the body", changes.from)
	}
	request.Body = io.NopCloser(bytes.NewReader(changed))
	request.ContentLength = int64(len(changed))
	return http.DefaultClient.Do(request)
}
