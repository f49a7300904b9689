package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/boxo/routing/http/types"
	"github.com/ipfs/boxo/routing/http/types/iter"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

type testCase struct {
	name string
	run  func(ctx context.Context, url string, fixture fixture) error
}

var allCases = []testCase{
	{"providers json", providersJSON},
	{"providers json capped", providersCapped},
	{"providers streaming", providersStreaming},
	{"providers streaming many", providersMany},
	{"providers filtered by protocol", providersByProtocol},
	{"providers filtered by address", providersByAddr},
	{"providers none", providersNone},
	{"providers closed after the first record", providersClosed},
	{"peers", peers},
	{"peers streaming", peersStreaming},
	{"peers none", peersNone},
	{"closest peers refused", closestPeers},
	{"ipns none", ipnsNone},
	{"ipns put and get ed25519", ipnsPutAndGet(func() (crypto.PrivKey, error) {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		return key, err
	})},
	{"ipns put and get rsa", ipnsPutAndGet(func() (crypto.PrivKey, error) {
		key, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
		return key, err
	})},
	{"ipns put and get secp256k1", ipnsPutAndGet(func() (crypto.PrivKey, error) {
		key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
		return key, err
	})},
	{"provide bitswap", provideBitswap},
	{"provide bitswap changed on the way", provideChanged},
}

// No filter of its own, here or on the way, so that what comes is what the server sent.
func plainClient(url string, options ...client.Option) (*client.Client, error) {
	plain := []client.Option{
		client.WithDisabledLocalFiltering(true), client.WithProtocolFilter(nil),
	}
	return client.New(url, append(plain, options...)...)
}

// The peer IDs of the records, in their order.
func findProviders(
	ctx context.Context, url, key string, options ...client.Option,
) ([]string, []types.Record, error) {
	asking, err := plainClient(url, options...)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := cid.Decode(key)
	if err != nil {
		return nil, nil, err
	}
	found, err := asking.FindProviders(ctx, parsed)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	records, err := iter.ReadAllResults(found)
	if err != nil {
		return nil, nil, err
	}
	ids := []string{}
	for _, record := range records {
		if id, _ := peerOf(record); id != nil {
			ids = append(ids, id.String())
		}
	}
	return ids, records, nil
}

// Whom a record names, and the addresses; nil if its schema names nobody.
func peerOf(record types.Record) (*peer.ID, []types.Multiaddr) {
	switch record := record.(type) {
	case *types.PeerRecord:
		return record.ID, record.Addrs
	//nolint:staticcheck // Announcements still come in this schema.
	case *types.BitswapRecord:
		return record.ID, record.Addrs
	default:
		return nil, nil
	}
}

func providersJSON(ctx context.Context, url string, fixture fixture) error {
	ids, _, err := findProviders(ctx, url, fixture.One, client.WithHTTPClient(asksForJSON{}))
	return same(ids, []string{fixture.Peer}, err)
}

func providersCapped(ctx context.Context, url string, fixture fixture) error {
	ids, _, err := findProviders(ctx, url, fixture.Many, client.WithHTTPClient(asksForJSON{}))
	if err == nil && len(ids) != 100 {
		err = fmt.Errorf("%d records instead of 100", len(ids))
	}
	return err
}

func providersStreaming(ctx context.Context, url string, fixture fixture) error {
	ids, records, err := findProviders(ctx, url, fixture.One, client.WithStreamResultsRequired())
	if err := same(ids, []string{fixture.Peer}, err); err != nil {
		return err
	}
	//nolint:staticcheck // Announcements still come in this schema.
	record, isBitswap := records[0].(*types.BitswapRecord)
	if !isBitswap {
		return fmt.Errorf("the record came with the schema %s", records[0].GetSchema())
	}
	return same(texts(record.Addrs), fixture.OneAddrs, nil)
}

func providersMany(ctx context.Context, url string, fixture fixture) error {
	ids, _, err := findProviders(ctx, url, fixture.Many, client.WithStreamResultsRequired())
	slices.Sort(ids)
	expected := slices.Sorted(slices.Values(fixture.ManyIDs))
	return same(ids, expected, err)
}

func providersByProtocol(ctx context.Context, url string, fixture fixture) error {
	filter := client.WithProtocolFilter([]string{"transport-ipfs-gateway-http"})
	ids, _, err := findProviders(ctx, url, fixture.Filtered, filter)
	return same(ids, []string{fixture.ByFilter["gateway"]}, err)
}

func providersByAddr(ctx context.Context, url string, fixture fixture) error {
	ids, _, err := findProviders(ctx, url, fixture.Filtered, client.WithAddrFilter([]string{"webtransport"}))
	if err := same(ids, []string{fixture.ByFilter["webtransport"]}, err); err != nil {
		return err
	}
	ids, _, err = findProviders(ctx, url, fixture.Filtered, client.WithAddrFilter([]string{"unknown"}))
	return same(ids, []string{fixture.ByFilter["withoutAddrs"]}, err)
}

func providersNone(ctx context.Context, url string, fixture fixture) error {
	ids, _, err := findProviders(ctx, url, fixture.None)
	return same(ids, []string{}, err)
}

func providersClosed(ctx context.Context, url string, fixture fixture) error {
	asking, err := plainClient(url, client.WithStreamResultsRequired())
	if err != nil {
		return err
	}
	key, err := cid.Decode(fixture.Many)
	if err != nil {
		return err
	}
	found, err := asking.FindProviders(ctx, key)
	if err != nil {
		return err
	}
	if !found.Next() {
		return errors.New("no record came")
	}
	if err := found.Val().Err; err != nil {
		return err
	}
	if err := found.Close(); err != nil {
		return err
	}
	ids, _, err := findProviders(ctx, url, fixture.One)
	return same(ids, []string{fixture.Peer}, err)
}

func findPeers(ctx context.Context, url, id string, options ...client.Option) ([]*types.PeerRecord, error) {
	asking, err := plainClient(url, options...)
	if err != nil {
		return nil, err
	}
	parsed, err := peer.Decode(id)
	if err != nil {
		return nil, err
	}
	found, err := asking.FindPeers(ctx, parsed)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	return iter.ReadAllResults(found)
}

func expectPeer(records []*types.PeerRecord, fixture fixture, err error) error {
	if err != nil {
		return err
	}
	if len(records) != 1 {
		return fmt.Errorf("%d records instead of 1", len(records))
	}
	if err := same([]string{records[0].ID.String()}, []string{fixture.Peer}, nil); err != nil {
		return err
	}
	for _, addr := range fixture.OneAddrs {
		if !slices.Contains(texts(records[0].Addrs), addr) {
			return fmt.Errorf("%s is missing among the addresses %v", addr, texts(records[0].Addrs))
		}
	}
	return nil
}

func peers(ctx context.Context, url string, fixture fixture) error {
	records, err := findPeers(ctx, url, fixture.Peer)
	return expectPeer(records, fixture, err)
}

func peersStreaming(ctx context.Context, url string, fixture fixture) error {
	records, err := findPeers(ctx, url, fixture.Peer, client.WithStreamResultsRequired())
	return expectPeer(records, fixture, err)
}

func peersNone(ctx context.Context, url string, fixture fixture) error {
	records, err := findPeers(ctx, url, fixture.NoPeer)
	if err == nil && len(records) > 0 {
		err = fmt.Errorf("%d records instead of none", len(records))
	}
	return err
}

// There is no DHT behind the server, so it must say that it does not offer this.
func closestPeers(ctx context.Context, url string, fixture fixture) error {
	return expectStatus(501, func() error {
		asking, err := plainClient(url)
		if err != nil {
			return err
		}
		_, err = asking.GetClosestPeers(ctx, cid.MustParse(fixture.One))
		return err
	})
}

func ipnsNone(ctx context.Context, url string, fixture fixture) error {
	asking, err := plainClient(url)
	if err != nil {
		return err
	}
	id, err := peer.Decode(fixture.NoPeer)
	if err != nil {
		return err
	}
	_, err = asking.GetIPNS(ctx, ipns.NameFromPeer(id))
	if errors.Is(err, routing.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("expected that nothing is found, got: %v", err)
}

func ipnsPutAndGet(
	generate func() (crypto.PrivKey, error),
) func(context.Context, string, fixture) error {
	return func(ctx context.Context, url string, fixture fixture) error {
		asking, err := plainClient(url)
		if err != nil {
			return err
		}
		key, err := generate()
		if err != nil {
			return err
		}
		id, err := peer.IDFromPrivateKey(key)
		if err != nil {
			return err
		}
		name, value := ipns.NameFromPeer(id), path.FromCid(cid.MustParse(fixture.One))
		for _, sequence := range []uint64{1, 2} {
			if err := putAndGet(ctx, asking, key, name, value, sequence); err != nil {
				return fmt.Errorf("sequence %d: %w", sequence, err)
			}
		}
		// Older than what is stored.
		return expectStatus(409, func() error {
			record, err := newRecord(key, value, 1)
			if err != nil {
				return err
			}
			return asking.PutIPNS(ctx, name, record)
		})
	}
}

func newRecord(key crypto.PrivKey, value path.Path, sequence uint64) (*ipns.Record, error) {
	return ipns.NewRecord(key, value, sequence, time.Now().Add(time.Hour), time.Minute)
}

func putAndGet(
	ctx context.Context, asking *client.Client, key crypto.PrivKey,
	name ipns.Name, value path.Path, sequence uint64,
) error {
	record, err := newRecord(key, value, sequence)
	if err != nil {
		return err
	}
	if err := asking.PutIPNS(ctx, name, record); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	got, err := asking.GetIPNS(ctx, name)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	if stored, err := got.Sequence(); err != nil || stored != sequence {
		return fmt.Errorf("got sequence %d (%v)", stored, err)
	}
	if stored, err := got.Value(); err != nil || stored.String() != value.String() {
		return fmt.Errorf("got the value %s (%v) instead of %s", stored, err, value)
	}
	return nil
}
