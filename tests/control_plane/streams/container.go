package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// How often a process is looked at that somebody waits for.
const glance = 200 * time.Millisecond

// container is what the kubelet says of a container.
type container struct {
	// PID of its main process, in this process' namespace.
	PID int `json:"pid"`
	// Enter is the command that runs, in the container, the command that follows it.
	Enter []string `json:"enter"`
	// Env is the whole environment of what is run.
	Env map[string]string `json:"env"`
	// Log is the file with what the main process printed, as it printed it.
	Log string `json:"log"`

	name string
}

// find reads the description of the container that a request names.
func find(directory string, request *http.Request) (*container, error) {
	namespace, pod := request.PathValue("namespace"), request.PathValue("pod")
	name := request.PathValue("container")
	found := &container{name: fmt.Sprintf("container %q of pod %s/%s", name, namespace, pod)}
	text, err := read(directory, path.Join(namespace, pod, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has not been started: %w", found.name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found.name, err)
	}
	if err := json.Unmarshal(text, found); err != nil {
		return nil, fmt.Errorf("%s: its description is not valid: %w", found.name, err)
	}
	if found.PID <= 0 || len(found.Enter) == 0 {
		return nil, fmt.Errorf("%s: its description lacks the fields pid and enter", found.name)
	}
	return found, nil
}

// read reads a file of the directory, and no other, whatever the name is.
func read(directory, name string) ([]byte, error) {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(name)
}

// process is a handle on a process that stays right when its number is given to another.
type process struct{ descriptor int }

// process opens the container's main process; fs.ErrNotExist if it is no more.
func (c *container) process() (*process, error) {
	descriptor, err := unix.PidfdOpen(c.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("%s has ended: %w", c.name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, process %d: %w", c.name, c.PID, err)
	}
	return &process{descriptor}, nil
}

func (p *process) close() { unix.Close(p.descriptor) }

// hasEnded tells whether the process is no more, or is a zombie; it waits for that so long.
func (p *process) hasEnded(wait time.Duration) bool {
	waiting := []unix.PollFd{{Fd: int32(p.descriptor), Events: unix.POLLIN}}
	count, _ := unix.Poll(waiting, int(wait.Milliseconds()))
	return count > 0
}
