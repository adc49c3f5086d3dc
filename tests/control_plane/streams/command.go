// Package streams serves what the API server asks of a kubelet for `kubectl exec` and `kubectl logs`.
//
// A container is a process of this machine. Whoever starts it describes it in the file
// <directory>/<namespace>/<pod>/<container>.json, see container.
package streams

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	certificates "k8s.io/client-go/util/cert"
)

// The server asks nobody for a name, so only this machine may reach it.
const address = "127.0.0.1"

const headerTimeout = time.Minute

// NewCommand makes the command kubelet-streams. It ends when it is killed.
func NewCommand() *cobra.Command {
	var directory string
	var port uint16
	command := &cobra.Command{
		Use:          "kubelet-streams --directory DIRECTORY --port PORT",
		Short:        "Serve exec and logs of the containers that are described in a directory",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(*cobra.Command, []string) error { return serve(directory, port) },
	}
	command.Flags().StringVar(&directory, "directory", "", "where <namespace>/<pod>/<container>.json are")
	command.Flags().Uint16Var(&port, "port", 0, "port of "+address+" to serve HTTPS on")
	command.MarkFlagRequired("directory")
	command.MarkFlagRequired("port")
	return command
}

func serve(directory string, port uint16) error {
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              net.JoinHostPort(address, strconv.Itoa(int(port))),
		Handler:           handler(directory),
		ReadHeaderTimeout: headerTimeout,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	return server.ListenAndServeTLS("", "")
}

// The API server does not verify a kubelet unless it is told an authority.
func selfSigned() (tls.Certificate, error) {
	certificate, key, err := certificates.GenerateSelfSignedCertKey(address, nil, nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

func handler(directory string) http.Handler {
	serveOne := func(serve func(http.ResponseWriter, *http.Request, *container) error) http.HandlerFunc {
		return func(response http.ResponseWriter, request *http.Request) {
			found, err := find(directory, request)
			if err == nil {
				err = serve(response, request, found)
			}
			if err != nil {
				http.Error(response, err.Error(), code(err))
			}
		}
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/exec/{namespace}/{pod}/{container}", serveOne(serveExec))
	routes.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", serveOne(serveLogs))
	routes.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		message := fmt.Sprintf("%s is not served here: exec and logs are", request.URL.Path)
		http.Error(response, message, http.StatusBadRequest)
	})
	return routes
}

// badRequest is what the caller can put right.
type badRequest struct{ error }

// code is the answer's status. It is never "not found": of that one the API server says that the
// pod has no log, and not why.
func code(err error) int {
	var bad badRequest
	if errors.As(err, &bad) || errors.Is(err, fs.ErrNotExist) {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
