//go:build !unix

package main

import "os"

func handedOn() []os.Signal { return nil }
