package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/multiformats/go-multiaddr"
)

// Prints what go-multiaddr makes of each address of a JSON list: the text of it, or null.
func readAddresses(path string) error {
	var addresses []string
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &addresses); err != nil {
		return err
	}
	forms := make([]*string, len(addresses))
	for position, address := range addresses {
		if read, err := multiaddr.NewMultiaddr(address); err == nil {
			form := read.String()
			forms[position] = &form
		}
	}
	printed, err := json.Marshal(forms)
	if err != nil {
		return err
	}
	fmt.Println(string(printed))
	return nil
}
