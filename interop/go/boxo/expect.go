package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/boxo/routing/http/types"
)

func texts(addrs []types.Multiaddr) []string {
	written := []string{}
	for _, addr := range addrs {
		written = append(written, addr.String())
	}
	return written
}

// That `got` is `expected`, unless getting it failed already.
func same(got, expected []string, err error) error {
	switch {
	case err != nil:
		return err
	case slices.Equal(got, expected):
		return nil
	case len(got) > 3 || len(expected) > 3:
		return fmt.Errorf("%d instead of %d, or others", len(got), len(expected))
	default:
		return fmt.Errorf("%q instead of %q", got, expected)
	}
}

// That what is asked for is refused with the status.
func expectStatus(status int, ask func() error) error {
	err := ask()
	var refused *client.HTTPError
	switch {
	case err == nil:
		return fmt.Errorf("accepted instead of refused with %d", status)
	case errors.As(err, &refused) && refused.StatusCode == status:
		return nil
	default:
		return fmt.Errorf("expected the status %d, got: %w", status, err)
	}
}
