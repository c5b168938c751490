// server <port> <timeout in ms>
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func answer(response http.ResponseWriter, request *http.Request) {
	io.Copy(io.Discard, request.Body)

	_, port, _ := net.SplitHostPort(request.RemoteAddr)

	response.Header().Set("X-Connection", port)
	fmt.Fprintln(response, "ok")
}

func main() {
	timeout, err := time.ParseDuration(os.Args[2] + "ms")

	if err != nil {
		log.Fatal(err)
	}

	server := http.Server{
		Addr:        "127.0.0.1:" + os.Args[1],
		Handler:     http.HandlerFunc(answer),
		IdleTimeout: timeout,
	}

	log.Fatal(server.ListenAndServe())
}
