package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/boxo/routing/http/contentrouter"
	"github.com/ipfs/go-cid"
)

// A lookup whose answer was made from a hostile record and a good one.
type hostileLookup struct {
	Name string
	CID  string
	// The peer ID of the good record.
	Good string
}

// Looks each up as Kubo does, where a record that is read wrongly ends the process, and record by
// record, where one that cannot be read is an error. The good record must come in every way.
func readHostile(url, path string) error {
	var lookups []hostileLookup
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &lookups); err != nil {
		return err
	}
	for _, lookup := range lookups {
		fmt.Println("begin", lookup.Name)
		if err := readOneHostile(url, lookup); err != nil {
			fmt.Printf("FAIL %s: %s\n", lookup.Name, oneLine(err.Error()))
		} else {
			fmt.Println("ok", lookup.Name)
		}
	}
	fmt.Println("end")
	return nil
}

func readOneHostile(url string, lookup hostileLookup) error {
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	defer cancel()
	key, err := cid.Decode(lookup.CID)
	if err != nil {
		return err
	}
	asking, err := plainClient(url)
	if err != nil {
		return err
	}
	isGood := false
	for found := range contentrouter.NewContentRoutingClient(asking).FindProvidersAsync(ctx, key, 0) {
		isGood = isGood || found.ID.String() == lookup.Good
	}
	if !isGood {
		return fmt.Errorf("the content router lost the good record")
	}
	for _, options := range [][]client.Option{{}, {client.WithHTTPClient(asksForJSON{})}} {
		_, records, err := findProviders(ctx, url, lookup.CID, options...)
		if err != nil {
			return err
		}
		isGood := false
		for _, record := range records {
			id, _ := peerOf(record)
			isGood = isGood || (id != nil && id.String() == lookup.Good)
		}
		if !isGood {
			return fmt.Errorf("%d records, without the good one", len(records))
		}
	}
	return nil
}
