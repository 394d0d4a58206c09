// Command smb-load puts load on an SMB 3.1.1 server, as bench/smb/ wants it: few, cheap instructions a request, so that
// the server is what is measured. Requests are packed by hand and sent again and again with a few bytes changed.
//
// It takes orders as lines of JSON on its standard input and answers each with a line on its standard output: first
// what to do (type order; the answer is {}), then any number of {"seconds": s}, each answered with a result.
// It ends with its standard input, and with exit status 1 and a line on standard error when something fails.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "smb-load:", err)
		os.Exit(1)
	}
}

func serve() error {
	orders := json.NewDecoder(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	var o order
	if err := orders.Decode(&o); err != nil {
		return err
	}
	var connections []*connection
	if o.Kind != "connect" {
		var err error
		if connections, err = prepare(o); err != nil {
			return err
		}
	}
	if err := answers.Encode(struct{}{}); err != nil {
		return err
	}
	for orders.More() {
		var next struct{ Seconds float64 }
		if err := orders.Decode(&next); err != nil {
			return err
		}
		duration := time.Duration(next.Seconds * float64(time.Second))
		done, err := result{}, error(nil)
		if o.Kind == "connect" {
			done, err = connectAndLogOn(o, duration)
		} else {
			done, err = run(connections, duration)
		}
		if err != nil {
			return err
		}
		if err := answers.Encode(done); err != nil {
			return err
		}
	}
	return nil
}
