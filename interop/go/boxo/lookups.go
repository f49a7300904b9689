package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/routing/http/types"
)

// Looks up one thing and prints what is found.
func lookUp(url, kind, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	defer cancel()
	switch kind {
	case "providers":
		_, records, err := findProviders(ctx, url, key)
		return printRecords(records, err)
	case "peers":
		found, err := findPeers(ctx, url, key)
		records := []types.Record{}
		for _, record := range found {
			records = append(records, record)
		}
		return printRecords(records, err)
	case "name":
		return printName(ctx, url, key)
	default:
		return fmt.Errorf("%q cannot be looked up", kind)
	}
}

// A line for each: the peer ID, and its addresses, sorted.
func printRecords(records []types.Record, err error) error {
	if err != nil {
		return err
	}
	for _, record := range records {
		id, addrs := peerOf(record)
		if id == nil {
			return fmt.Errorf("a record came with the schema %s", record.GetSchema())
		}
		fmt.Println(id, strings.Join(slices.Sorted(slices.Values(texts(addrs))), " "))
	}
	return nil
}

// The sequence and the value.
func printName(ctx context.Context, url, key string) error {
	asking, err := plainClient(url)
	if err != nil {
		return err
	}
	name, err := ipns.NameFromString(key)
	if err != nil {
		return err
	}
	record, err := asking.GetIPNS(ctx, name)
	if err != nil {
		return err
	}
	sequence, sequenceErr := record.Sequence()
	value, valueErr := record.Value()
	if err := errors.Join(sequenceErr, valueErr); err != nil {
		return err
	}
	fmt.Println(sequence, value)
	return nil
}
