"""``kubectl exec`` and ``kubectl logs`` through the real API server into processes of this machine:
the server that a stand-in for a kubelet leaves them to (tests/control_plane/streams)."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.cluster import until
from tests.support.netns import NamespaceFactory, ip
from vegd.lab.cluster import assets
from vegd.lab.cluster.control_plane import ControlPlane, free_ports

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CONTAINERS = ("main", "late", "broken")
_SIZES = "for each in /dev/pts/[0-9]*; do stty size <$each; done"

pytestmark = pytest.mark.kernel


class Pod:
    """A node, a pod of it, and what stands behind its container ``main``: a namespace and a process
    there that writes a log. Nothing has started ``late``; ``broken`` is described wrongly."""

    def __init__(self, plane: ControlPlane, namespace: str, directory: Path) -> None:
        self.plane, self.namespace = plane, namespace
        self.directory = directory
        self.log = directory / "main.log"
        (self.port,) = free_ports(1)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._namespaces = NamespaceFactory()
        self.netns = self._namespaces("pod")

    def start(self) -> None:
        """Make all that."""
        ip("link", "add", "net1", "type", "bridge", ns=self.netns)
        self._create_objects()
        self.start_server()
        self.start_container()

    def close(self) -> None:
        """End the processes; the objects go, too."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._namespaces.close()
        self.plane.request("DELETE", f"/api/v1/nodes/{self.namespace}")

    def start_server(self) -> None:
        """Start the server that is tested, until it listens."""
        options = [f"--directory={self.directory}", f"--port={self.port}"]
        self.server = self._start([str(assets.find("kubelet-streams")), *options])
        until(self._serves)

    def start_container(self) -> None:
        """Start the main process in the namespace, with a new log, and describe it."""
        self.log.write_text("one\ntwo\nthree\n")
        self.main = self._start(["ip", "netns", "exec", self.netns, "sleep", "600"])
        described = {
            "pid": self.main.pid,
            "enter": ["nsenter", f"--net=/run/netns/{self.netns}"],
            "env": {"PATH": _PATH, "COLOUR": "dark red"},
            "log": str(self.log),
        }
        place = self.directory / self.namespace / "pod"
        place.mkdir(parents=True, exist_ok=True)
        (place / "main.json").write_text(json.dumps(described))
        (place / "broken.json").write_text("{}")

    def command(self, verb: str, *words: str, container: str = "main") -> list[str]:
        """A command of kubectl on the container; options first, then ``--`` and what to run."""
        kubectl = [str(assets.find("kubectl")), f"--kubeconfig={self.plane.kubeconfig}"]
        return [*kubectl, "-n", self.namespace, verb, "pod", "-c", container, *words]

    def run(
        self, verb: str, *words: str, container: str = "main", stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run it; the caller looks at how it ended."""
        command = self.command(verb, *words, container=container)
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=120
        )

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command])
        self._processes.append(process)
        return process

    def _serves(self) -> bool:
        assert self.server.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _create_objects(self) -> None:
        node, nodes = self.namespace, "/api/v1/nodes"
        self.plane.request("POST", nodes, {"metadata": {"name": node}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }
        merge = "application/merge-patch+json"
        self.plane.request(
            "PATCH", f"{nodes}/{node}/status", {"status": status}, content_type=merge
        )
        containers = [{"name": name, "image": "none"} for name in _CONTAINERS]
        body = {"metadata": {"name": "pod"}, "spec": {"nodeName": node, "containers": containers}}
        self.plane.request("POST", f"/api/v1/namespaces/{self.namespace}/pods", body)


@pytest.fixture(scope="module")
def pod(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """One for all tests here; it is left as it was found."""
    with control_plane.namespace() as namespace:
        made = Pod(control_plane, namespace, tmp_path_factory.mktemp("streams"))
        try:
            made.start()
            yield made
        finally:
            made.close()


def test_a_command_runs_in_the_container(pod: Pod) -> None:
    done = pod.run("exec", "--", "cat", "/proc/net/dev")
    assert (done.returncode, done.stderr) == (0, "")
    interfaces = {line.split(":")[0].strip() for line in done.stdout.splitlines()[2:]}
    assert interfaces == {"lo", "net1"}


def test_its_exit_status_and_both_outputs_are_kubectls(pod: Pod) -> None:
    done = pod.run("exec", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.returncode == 3
    assert done.stdout == "out\n"
    assert done.stderr.startswith("err\n")


def test_a_signal_is_told_as_a_shell_tells_it(pod: Pod) -> None:
    assert pod.run("exec", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_its_environment_is_the_containers(pod: Pod) -> None:
    shown = pod.run("exec", "--", "env").stdout.splitlines()
    assert sorted(shown) == ["COLOUR=dark red", f"PATH={_PATH}"]


def test_standard_input_arrives_whole_and_ends(pod: Pod) -> None:
    text = "0123456789abcdef" * 8192
    done = pod.run("exec", "-i", "--", "sh", "-c", "wc -c; echo over", stdin=text)
    assert (done.returncode, done.stdout.split()) == (0, [str(len(text)), "over"])


def test_a_command_that_is_left_running_does_not_hold_kubectl(pod: Pod) -> None:
    done = pod.run("exec", "--", "sh", "-c", "sleep 600 & echo $!")
    assert done.returncode == 0
    os.kill(int(done.stdout), signal.SIGKILL)


def test_a_terminal_has_kubectls_size_and_follows_it(pod: Pod) -> None:
    script = "tty -s && echo yes; stty size; read line; stty size; exit 4"
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as screen:
        _resize(ours, rows=33, columns=101)
        command = pod.command("exec", "-it", "--", "sh", "-c", script)
        with _running(command, terminal=theirs) as kubectl:
            os.close(theirs)
            _expect(screen, b"yes\r\n33 101\r\n")
            _resize(ours, rows=20, columns=90)
            kubectl.send_signal(signal.SIGWINCH)
            # The new size and the line come by streams of their own, in any order.
            until(lambda: pod.run("exec", "--", "sh", "-c", _SIZES).stdout.find("20 90") >= 0)
            screen.write(b"\n")
            _expect(screen, b"20 90\r\n")
            assert kubectl.wait(timeout=120) == 4


@contextlib.contextmanager
def _running(
    command: list[str], terminal: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A command of kubectl that is killed at the end; its output is a pipe or the terminal."""
    output = subprocess.PIPE if terminal == subprocess.DEVNULL else terminal
    with subprocess.Popen(
        command, stdin=terminal, stdout=output, start_new_session=True
    ) as kubectl:
        try:
            yield kubectl
        finally:
            kubectl.kill()


def _resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _expect(screen: IO[bytes], text: bytes) -> None:
    seen = b""
    while text not in seen:
        more = screen.read(4096)
        assert more, seen
        seen += more


def test_the_log(pod: Pod) -> None:
    assert pod.run("logs").stdout == "one\ntwo\nthree\n"
    assert pod.run("logs", "--tail=2").stdout == "two\nthree\n"
    assert pod.run("logs", "--tail=0").stdout == ""
    assert pod.run("logs", "--tail=9", "--limit-bytes=5").stdout == "one\nt"


def test_an_option_that_the_log_cannot_serve(pod: Pod) -> None:
    for option in ("--timestamps", "--since=1m", "--previous"):
        done = pod.run("logs", option)
        assert done.returncode == 1
        assert "leave the option out" in done.stderr, done.stderr


@pytest.mark.parametrize("verb", ["exec", "logs"])
@pytest.mark.parametrize(
    ("container", "message"),
    [
        ("other", "container other is not valid for pod pod"),
        ("late", 'container "late" of pod {namespace}/pod has not been started'),
        ("broken", 'container "broken" of pod {namespace}/pod: its description lacks'),
    ],
)
def test_a_container_that_is_not_there(pod: Pod, verb: str, container: str, message: str) -> None:
    words = ("--", "true") if verb == "exec" else ()
    done = pod.run(verb, *words, container=container)
    assert done.returncode == 1
    assert message.format(namespace=pod.namespace) in done.stderr


def test_what_is_not_served_says_so(pod: Pod) -> None:
    done = pod.run("attach")
    assert done.returncode == 1
    assert "is not served here: exec and logs are" in done.stderr


def test_the_log_is_followed_and_everything_ends_with_the_container(pod: Pod) -> None:
    script = "echo runs; sleep 600"
    with (
        _running(pod.command("logs", "-f", "--tail=1")) as follower,
        _running(pod.command("exec", "--", "sh", "-c", script)) as runner,
    ):
        assert follower.stdout is not None
        assert runner.stdout is not None
        assert follower.stdout.readline() == b"three\n"
        assert runner.stdout.readline() == b"runs\n"
        with pod.log.open("a") as log:
            log.write("four\n")
        assert follower.stdout.readline() == b"four\n"
        pod.main.kill()
        pod.main.wait()
        assert follower.wait(timeout=120) == 0
        assert runner.wait(timeout=120) == 128 + signal.SIGKILL
    refused = pod.run("exec", "--", "true")
    assert refused.returncode == 1
    assert f'container "main" of pod {pod.namespace}/pod has ended' in refused.stderr
    assert pod.run("logs", "-f", "--tail=1").stdout == "four\n"
    pod.start_container()


def test_commands_die_with_the_server(pod: Pod) -> None:
    script = "echo $$; exec sleep 600"
    with _running(pod.command("exec", "--", "sh", "-c", script)) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        pod.server.kill()
        pod.server.wait()
        until(lambda: not Path(f"/proc/{pid}").exists())
    pod.start_server()
