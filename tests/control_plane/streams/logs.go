package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// logOptions are those of `kubectl logs` that a log without times and without a past can serve.
type logOptions struct {
	follow bool
	lines  int64
	bytes  int64
}

func serveLogs(response http.ResponseWriter, request *http.Request, found *container) error {
	options, err := readLogOptions(request.URL.Query())
	if err != nil {
		return badRequest{err}
	}
	file, err := os.Open(found.Log)
	if err != nil {
		return fmt.Errorf("log of %s: %w", found.name, err)
	}
	defer file.Close()
	if err := skipTo(file, options.lines); err != nil {
		return fmt.Errorf("log of %s: %w", found.name, err)
	}
	hasEnded := func() bool { return true }
	if options.follow {
		main, err := found.process()
		switch {
		case err == nil:
			defer main.close()
			hasEnded = func() bool { return main.hasEnded(0) }
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	response.Header().Set("Content-Type", "text/plain")
	send(request.Context(), response, &io.LimitedReader{R: file, N: options.bytes}, hasEnded)
	return nil
}

func readLogOptions(query url.Values) (logOptions, error) {
	for _, name := range []string{"timestamps", "sinceSeconds", "sinceTime", "previous"} {
		if value := query.Get(name); value != "" && value != "false" {
			return logOptions{}, fmt.Errorf(
				"%s=%s: the log has no times and begins with the container's last start: "+
					"leave the option out", name, value)
		}
	}
	if stream := query.Get("stream"); stream != "" && stream != "All" {
		return logOptions{}, fmt.Errorf("stream=%s: the log does not tell streams apart", stream)
	}
	lines, err := readCount(query, "tailLines")
	if err != nil {
		return logOptions{}, err
	}
	bytes, err := readCount(query, "limitBytes")
	return logOptions{query.Get("follow") == "true", lines, bytes}, err
}

// readCount reads a number that is not negative; without it there is no limit.
func readCount(query url.Values, name string) (int64, error) {
	value := query.Get(name)
	if value == "" {
		return math.MaxInt64, nil
	}
	count, err := strconv.ParseInt(value, 10, 64)
	if err != nil || count < 0 {
		return 0, fmt.Errorf("%s=%s: a number from 0 is wanted", name, value)
	}
	return count, nil
}

// skipTo sets a file to the first of its so many last lines.
func skipTo(file *os.File, lines int64) error {
	if lines == math.MaxInt64 {
		return nil
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	start := len(text)
	for ; lines > 0 && start > 0; lines-- {
		start = bytes.LastIndexByte(text[:start-1], '\n') + 1
	}
	_, err = file.Seek(int64(start), io.SeekStart)
	return err
}

// send copies until the container has ended and all is read, the limit is reached, or nobody
// reads any more.
func send(ctx context.Context, response http.ResponseWriter, log *io.LimitedReader,
	hasEnded func() bool) {
	for {
		last := hasEnded() // before the copy: what it printed at its end is in the copy then
		if _, err := io.Copy(response, log); err != nil {
			return
		}
		response.(http.Flusher).Flush()
		if last || log.N <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(glance):
		}
	}
}
