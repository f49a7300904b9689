// Boxo's own client against a running Fingerpost.
//
//	boxo cases URL FIXTURE            runs the cases, and prints how each ended
//	boxo addresses FILE               prints what go-multiaddr makes of each address of a JSON list
//	boxo hostile URL FILE             looks up the answers made from hostile records, each a case
//	boxo announce URL CID TTL         announces CID by a signed PUT, and prints the provider's peer ID
//	                                  and the milliseconds that were granted
//	boxo find URL providers CID       prints a line for each record: the peer ID and its addresses
//	boxo find URL peers ID            the same
//	boxo find URL name NAME           prints the sequence and the value of the IPNS record
//
// FIXTURE is the JSON file in which the suite says what it imported. For each case `begin NAME` is
// printed, then `ok NAME` or `FAIL NAME: REASON`, and `end` after the last one.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// How long one case may take, all its requests together.
const caseTimeout = 20 * time.Second

// The address that announcements here name: of a documentation network, so nobody is dialled.
const announcedAddr = "/ip4/198.51.100.7/tcp/4001"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, oneLine(err.Error()))
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "cases":
		fixture, err := readFixture(arguments[2])
		if err != nil {
			return err
		}
		runCases(arguments[1], fixture)
		return nil
	case len(arguments) == 2 && arguments[0] == "addresses":
		return readAddresses(arguments[1])
	case len(arguments) == 3 && arguments[0] == "hostile":
		return readHostile(arguments[1], arguments[2])
	case len(arguments) == 4 && arguments[0] == "announce":
		return announce(arguments[1], arguments[2], arguments[3])
	case len(arguments) == 4 && arguments[0] == "find":
		return lookUp(arguments[1], arguments[2], arguments[3])
	default:
		return fmt.Errorf("usage: boxo cases URL FIXTURE | boxo addresses FILE | boxo hostile URL FILE | boxo announce URL CID TTL | boxo find URL KIND KEY")
	}
}

// What the suite imported into the server, as far as the cases here ask for it.
type fixture struct {
	One      string
	Many     string
	Filtered string
	None     string
	Peer     string
	NoPeer   string
	ManyIDs  []string
	OneAddrs []string
	ByFilter map[string]string
}

func readFixture(path string) (fixture, error) {
	var read fixture
	text, err := os.ReadFile(path)
	if err != nil {
		return read, err
	}
	return read, json.Unmarshal(text, &read)
}

func runCases(url string, fixture fixture) {
	for _, one := range allCases {
		fmt.Println("begin", one.name)
		ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
		err := one.run(ctx, url, fixture)
		cancel()
		if err != nil {
			fmt.Printf("FAIL %s: %s\n", one.name, oneLine(err.Error()))
		} else {
			fmt.Println("ok", one.name)
		}
	}
	fmt.Println("end")
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// A client with an identity of its own, which can announce.
func announcingClient(url string, options ...client.Option) (*client.Client, peer.ID, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	addr, err := multiaddr.NewMultiaddr(announcedAddr)
	if err != nil {
		return nil, "", err
	}
	identity := []client.Option{
		client.WithIdentity(key), client.WithProviderInfo(id, []multiaddr.Multiaddr{addr}),
	}
	made, err := client.New(url, append(identity, options...)...)
	return made, id, err
}

func announce(url, key, ttl string) error {
	parsed, err := cid.Decode(key)
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(ttl)
	if err != nil {
		return err
	}
	announcer, id, err := announcingClient(url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	defer cancel()
	granted, err := announcer.ProvideBitswap(ctx, []cid.Cid{parsed}, duration)
	if err != nil {
		return err
	}
	fmt.Println(id, granted.Milliseconds())
	return nil
}
