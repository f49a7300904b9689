package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// A key that nobody announced before.
func freshKey() (cid.Cid, error) {
	text := fmt.Sprintf("boxo announces this at %d", time.Now().UnixNano())
	hash, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	return cid.NewCidV1(cid.Raw, hash), err
}

// What was announced is found at once, and the answer says the time that it holds.
func provideBitswap(ctx context.Context, url string, _ fixture) error {
	announcer, id, err := announcingClient(url)
	if err != nil {
		return err
	}
	keys := []cid.Cid{}
	for range 3 {
		key, err := freshKey()
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	granted, err := announcer.ProvideBitswap(ctx, keys, time.Hour)
	if err != nil {
		return err
	}
	// A server may round down a little, and names what holds.
	if granted > time.Hour || granted < time.Hour*49/50 {
		return fmt.Errorf("%s were granted instead of about an hour", granted)
	}
	for _, key := range keys {
		ids, _, err := findProviders(ctx, url, key.String())
		if err := same(ids, []string{id.String()}, err); err != nil {
			return err
		}
	}
	return nil
}

// A client whose announcement is changed on the way, after it was signed.
func provideChanged(ctx context.Context, url string, _ fixture) error {
	announcer, _, err := announcingClient(url, client.WithHTTPClient(changesBody{
		from: []byte(announcedAddr), to: []byte("/ip4/198.51.100.8/tcp/4001"),
	}))
	if err != nil {
		return err
	}
	key, err := freshKey()
	if err != nil {
		return err
	}
	err = expectStatus(http.StatusForbidden, func() error {
		_, err := announcer.ProvideBitswap(ctx, []cid.Cid{key}, time.Hour)
		return err
	})
	if err != nil {
		return err
	}
	ids, _, err := findProviders(ctx, url, key.String())
	return same(ids, []string{}, err)
}
