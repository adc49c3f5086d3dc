package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// What a command left running may still print so long after its end, before its output is closed.
const drain = 2 * time.Second

// A shell's way to say which signal ended a command.
const signalled = 128

func serveExec(response http.ResponseWriter, request *http.Request, found *container) error {
	options, err := remotecommand.NewOptions(request)
	if err != nil {
		return badRequest{err}
	}
	command := request.URL.Query()["command"]
	if len(command) == 0 {
		return badRequest{errors.New("there is no command to run")}
	}
	main, err := found.process()
	if err != nil {
		return err
	}
	defer main.close()
	remotecommand.ServeExec(response, request, &executor{found, main}, "", "", "", command, options,
		streaming.DefaultConfig.StreamIdleTimeout, streaming.DefaultConfig.StreamCreationTimeout,
		remotecommand.SupportedStreamingProtocols)
	return nil
}

// executor runs a command in one container.
type executor struct {
	*container
	main *process
}

// ExecInContainer implements remotecommand.Executor; the container is the one of the executor.
func (e *executor) ExecInContainer(_ context.Context, _, _, _ string, words []string,
	in io.Reader, out, errors io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize,
	_ time.Duration) error {
	// The kernel kills the command with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := e.command(words)
	if tty {
		return e.runOnTerminal(command, in, out, resize)
	}
	return e.run(command, in, out, errors)
}

func (e *executor) command(words []string) *exec.Cmd {
	words = append(append([]string{}, e.Enter...), words...)
	command := exec.Command(words[0], words[1:]...)
	command.Env = []string{}
	for name, value := range e.Env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	command.WaitDelay = drain
	return command
}

func (e *executor) run(command *exec.Cmd, in io.Reader, out, errors io.Writer) error {
	if out != nil {
		command.Stdout = out
	}
	if errors != nil {
		command.Stderr = errors
	}
	if in != nil {
		// Not command.Stdin: its end would be waited for, and it comes when the client goes.
		stdin, err := command.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			defer stdin.Close()
			io.Copy(stdin, in)
		}()
	}
	if err := command.Start(); err != nil {
		return err
	}
	defer e.killWithContainer(command)()
	return status(command.Wait())
}

func (e *executor) runOnTerminal(command *exec.Cmd, in io.Reader, out io.Writer,
	resize <-chan remotecommand.TerminalSize) error {
	terminal, err := pty.Start(command)
	if err != nil {
		return err
	}
	defer terminal.Close()
	defer e.killWithContainer(command)()
	go func() {
		for size := range resize {
			pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width})
		}
	}()
	if in != nil {
		go io.Copy(terminal, in)
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		if out != nil {
			io.Copy(out, terminal) // it ends with EIO, when nobody has the terminal any more
		}
	}()
	ended := command.Wait()
	select {
	case <-printed:
	case <-time.After(drain):
	}
	return status(ended)
}

// killWithContainer kills the command and its children when the container ends, until what it
// returns is called.
func (e *executor) killWithContainer(command *exec.Cmd) (cancel func()) {
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for !e.main.hasEnded(glance) {
			select {
			case <-done:
				return
			default:
			}
		}
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	}()
	return func() {
		close(done)
		<-watched
	}
}

// status makes the exit status of a command what kubectl exits with.
func status(err error) error {
	var exit *exec.ExitError
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well, and something that it left behind has its output
	}
	if !errors.As(err, &exit) {
		return err
	}
	ended := exit.Sys().(syscall.WaitStatus)
	code := ended.ExitStatus()
	if ended.Signaled() {
		code = signalled + int(ended.Signal())
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", code), Code: code}
}

var _ remotecommand.Executor = &executor{}
