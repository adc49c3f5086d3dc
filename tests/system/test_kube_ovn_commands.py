"""The commands of the main container of a gateway that Kube-OVN's controller has made.

The daemon runs with a real engine in a namespace that is the pod, by the scripts as they are put
into the image; in another one there are peers that speak packet by packet, as OVN does: through a
router that has taken one from the TTL.
"""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bfd.client import Client
from bfd.fsm import State
from tests.support import netns as net
from tests.support.bfd_process import ScriptedPeer
from tests.support.clients import survives_its_clients
from tests.support.daemon import get

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

SCRIPTS = Path(__file__).parents[2] / "kube/image"
V4, V6, PEER4, PEER6 = "10.99.0.1", "fd99::1", "10.99.0.2", "fd99::2"
SUPERVISOR = "kube-ovn-bfdd-supervisor"
WITHIN_S = 50.0


class Pod:
    """The namespaces of pod and router, and the environment of the container."""

    def __init__(self, ns: str, router: str, directory: Path) -> None:
        self.ns = ns
        self.router = router
        self.directory = directory
        self.socket = directory / "supervisor/control.sock"
        self.engine = directory / "run/bfd.sock"
        self.control = directory / "run/bfdd.sock"
        self.environment = {
            "PATH": f"{SCRIPTS}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VEGD_RUNTIME_DIR": str(directory / "run"),
            "VEGD_GATEWAY_FILE": str(directory / "gateway.yaml"),
            "BFDD_SUPERVISOR_SOCKET": str(self.socket),
            "POD_IPS": f"{V4},{V6}",
            "BFD_PEER_IPS": f"{PEER4},{PEER6}",
            "BFD_MIN_TX": "200",
            "BFD_MIN_RX": "300",
            "BFD_MULTI": "5",
        }

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the image to its end."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
            env=self.environment | environment,
        )

    def says(self, *command: str) -> str:
        """What a command prints that has to succeed."""
        done = self.run(*command)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def page(self, path: str) -> tuple[int, str]:
        """What the supervisor says over HTTP."""
        return get(self.ns, path)

    def status(self) -> Any:
        """The status as the supervisor tells it."""
        return json.loads(self.says(SUPERVISOR, "status"))

    def states(self) -> list[str]:
        """The states of the sessions, IPv4 first."""
        return [each["State"] for each in self.status()["Sessions"]]

    @contextlib.contextmanager
    def daemon(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon that answers `bfdd-control`, killed in the end with its engine."""
        with (self.directory / "log").open("wb") as log:
            process = subprocess.Popen(
                net.inside(self.ns, *command), stderr=log, env=self.environment | environment
            )
        try:
            self.eventually(lambda: self.run("bfdd-control", "status").returncode == 0)
            yield process
        finally:
            process.kill()
            process.wait()

    def eventually(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.1)

    def peer(self, own: str = PEER4, other: str = V4) -> ScriptedPeer:
        """A patient peer on the router's side."""
        return ScriptedPeer(self.router, own, other, detect_mult=255)


@pytest.fixture
def pod(netns: Callable[[str], str], tmp_path: Path) -> Pod:
    ns, router = netns("pod"), netns("router")
    net.veth(
        *(ns, "eth0", router, "vr"),
        addresses_a=[f"{V4}/24", f"{V6}/64"],
        addresses_b=[f"{PEER4}/24", f"{PEER6}/64"],
    )
    return Pod(ns, router, tmp_path)


def bring_up(peer: ScriptedPeer) -> None:
    peer.expect(lambda heard: heard.packet.state is State.DOWN, WITHIN_S)
    peer.send(State.INIT, ttl=254)
    peer.expect(lambda heard: heard.packet.state is State.UP, WITHIN_S)
    peer.send(State.UP, ttl=254)


def test_the_supervisor_from_the_first_probe_to_the_drain(pod: Pod) -> None:
    early = pod.run(SUPERVISOR, "live")
    assert (early.returncode, early.stdout) == (1, "")
    assert early.stderr.startswith("the BFD supervisor does not answer: ")
    with (
        pod.daemon(SUPERVISOR, "run") as process,
        contextlib.closing(pod.peer()) as four,
        contextlib.closing(pod.peer(PEER6, V6)) as six,
    ):
        pod.eventually(lambda: pod.run(SUPERVISOR, "live").returncode == 0)
        assert pod.says(SUPERVISOR, "live") == ""
        assert pod.page("/livez") == (200, "ok\n")
        assert pod.page("/other")[0] == 404
        assert stat.S_IMODE(pod.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(pod.control.stat().st_mode) == 0o600
        waiting = pod.run(SUPERVISOR, "ready")
        assert (waiting.returncode, waiting.stdout) == (1, "")
        assert waiting.stderr == "expected BFD sessions are not ready\n"
        assert pod.status()["Live"] is True

        bring_up(four)
        pod.eventually(lambda: pod.states() == ["Up", "Down"])
        assert pod.run(SUPERVISOR, "ready").returncode == 1
        bring_up(six)
        pod.eventually(lambda: pod.run(SUPERVISOR, "ready").returncode == 0)
        assert pod.states() == ["Up", "Up"]
        assert pod.says("bfdd-control", "status") == (
            "There are 2 sessions:\n"
            f"Session 1\n id=1 local={V4} (a) remote={PEER4} state=Up\n"
            f"Session 2\n id=2 local={V6} (a) remote={PEER6} state=Up\n"
        )
        status, metrics = pod.page("/metrics")
        assert status == 200
        assert "\nkube_ovn_bfdd_up_sessions 2.0\n" in metrics
        agreed = four.expect(
            lambda heard: heard.packet.desired_min_tx_us == 200_000, WITHIN_S
        ).packet
        assert (agreed.required_min_rx_us, agreed.detect_mult) == (300_000, 5)

        process.send_signal(signal.SIGTERM)
        for peer in (four, six):
            peer.expect(lambda heard: heard.packet.state is State.ADMIN_DOWN, WITHIN_S)
        assert process.wait(WITHIN_S) == 0
    assert not pod.socket.exists()
    assert not pod.control.exists()
    assert not pod.engine.exists()


def test_the_scripts_of_the_older_line(pod: Pod) -> None:
    with (
        pod.daemon("bash", str(SCRIPTS / "start-bfdd.sh"), BFD_PEER_IPS=""),
        contextlib.closing(pod.peer()) as peer,
    ):
        assert pod.says("bash", str(SCRIPTS / "bfdd-prestart.sh")) == ""
        assert pod.says("bfdd-control", "status") == "There are 0 sessions:\n"

        ill = pod.run("bash", str(SCRIPTS / "bfdd-healthcheck.sh"))
        assert (ill.returncode, ill.stderr) == (1, "There are 0 sessions:\n")
        assert ill.stdout == (
            f"Allowing connections from {PEER4}\nAllowing connections from {PEER6}\n"
        )
        assert pod.says("bash", str(SCRIPTS / "bfdd-healthcheck.sh")) == ""
        bring_up(peer)
        one = ("bfdd-control", "status", "remote", PEER4, "local", V4)
        pod.eventually(lambda: pod.says(*one).endswith("\n state=Up\n"))
        assert not pod.socket.exists()


def test_the_older_line_takes_peers_and_values_from_the_environment(pod: Pod) -> None:
    with pod.daemon("bash", str(SCRIPTS / "start-bfdd.sh")):
        detail = pod.says("bfdd-control", "status", "all", "level", "4")
        assert detail.startswith("There are 2 sessions:\nSession 1\n id=1\n")
        assert detail.count("\n LocalDesiredMinTx=200,000 us\n") == 2
        assert detail.count("\n LocalRequiredMinRx=300,000 us\n") == 2
        assert detail.count("\n LocalDetectMulti=5\n") == 2


def test_a_session_is_reset_blocked_and_killed_by_hand(pod: Pod) -> None:
    listen = ("bfdd-beacon", "--nofork", "--tee", f"--listen={V4}")
    with pod.daemon(*listen, BFD_PEER_IPS=""), contextlib.closing(pod.peer()) as peer:
        for line, text in (
            ("session new set mintx 250 ms", "Attempting to set mintx to 250,000 us."),
            ("session new set multi 77", "Attempting to set multi to 77."),
            (f"allow {PEER4}", f"Allowing connections from {PEER4}"),
            ("log type command no", "Log type command set to no, was no"),
        ):
            assert pod.says("bfdd-control", *line.split()) == f"{text}\n"
        first = peer.expect(lambda heard: heard.packet.state is State.DOWN, WITHIN_S).packet
        assert first.detect_mult == 77
        bring_up(peer)

        reset = ("bfdd-control", "session", "local", V4, "remote", PEER4, "reset")
        assert pod.says(*reset) == "Attempting to reset session(s).\n"
        peer.expect(lambda heard: heard.packet.state is State.ADMIN_DOWN, WITHIN_S)
        peer.send(State.DOWN, ttl=254)
        bring_up(peer)
        assert "Session 2\n id=2 " in pod.says("bfdd-control", "status")

        assert pod.says("bfdd-control", "block", PEER4).startswith("Blocking connections from ")
        assert " id=2 " in pod.says("bfdd-control", "status")
        assert pod.says("bfdd-control", "session", "all", "kill") == (
            "Attempting to kill session(s).\n"
        )
        assert pod.says("bfdd-control", "status") == "There are 0 sessions:\n"
        peer.expect(lambda heard: heard.packet.state is State.ADMIN_DOWN, WITHIN_S)

        refused = pod.run("bfdd-control", "session", "new", "set", "mintx", "1000")
        assert refused.returncode == 1
        assert refused.stdout.startswith("Must supply a unit ")


async def test_a_killed_engine_costs_neither_session_nor_life(pod: Pod) -> None:
    with pod.daemon(SUPERVISOR, "run"), contextlib.closing(pod.peer()) as peer:
        bring_up(peer)
        pod.eventually(lambda: pod.states() == ["Up", "Down"])
        async with Client(pod.engine) as client:
            os.kill(client.pid, signal.SIGKILL)
        pod.eventually(lambda: pod.status()["ChildRestarts"] == 1)
        pod.eventually(lambda: pod.states() == ["Up", "Down"])
        assert pod.says(SUPERVISOR, "live") == ""
        peer.expect(lambda heard: heard.packet.state is State.UP, WITHIN_S)
        # The next engine may still be on its way.
        pod.eventually(lambda: pod.run("bfdd-control", "status").returncode == 0)
        assert pod.says("bfdd-control", "status").splitlines()[1] == "Session 1"


async def test_an_engine_that_hangs_is_told_later(pod: Pod) -> None:
    with pod.daemon(SUPERVISOR, "run"):
        async with Client(pod.engine) as client:
            engine = client.pid
        os.kill(engine, signal.SIGSTOP)
        try:
            status = pod.run("bfdd-control", "status")
            assert status.returncode == 1
            assert status.stdout.startswith("Unable to complete request because the BFD engine ")
            late = pod.run("bfdd-control", "allow", "10.99.0.3")
            assert late.returncode == 1
            assert late.stdout.startswith("Unable to complete request now: the BFD engine does ")
        finally:
            os.kill(engine, signal.SIGCONT)
        pod.eventually(lambda: " remote=10.99.0.3 " in pod.run("bfdd-control", "status").stdout)


async def test_the_sockets_survive_their_clients(pod: Pod) -> None:
    with pod.daemon(SUPERVISOR, "run"):
        pod.eventually(lambda: pod.run(SUPERVISOR, "live").returncode == 0)
        await survives_its_clients(pod.socket, b"live\n", b'{"status":{"Live":true,')
        await survives_its_clients(pod.control, b"status\n", b"ok\nThere are 2 sessions:\n")
        assert (pod.directory / "log").read_text().count("Traceback") == 0
        assert pod.says(SUPERVISOR, "live") == ""


@pytest.mark.parametrize(
    ("command", "environment", "text"),
    [
        ([SUPERVISOR, "run"], {"BFD_MULTI": "256"}, "BFD_MULTI: '256' is not a number from 1 to"),
        ([SUPERVISOR, "run"], {"POD_IPS": ""}, "POD_IPS, BFD_PEER_IPS: there are no two addresses"),
        ([SUPERVISOR, "run"], {"BFD_PEER_IPS": "x"}, "BFD_PEER_IPS: 'x' does not appear to be an"),
        ([SUPERVISOR, "run"], {"BFDD_METRICS_ADDRESS": "x"}, "BFDD_METRICS_ADDRESS: 'x' cannot be"),
        (
            [SUPERVISOR, "run"],
            {"VEGD_DRAIN_GRACE": "x"},
            "VEGD_DRAIN_GRACE: 'x' is not a number fr",
        ),
        ([SUPERVISOR, "run"], {"VEGD_RUNTIME_DIR": "/proc/x"}, "VEGD_RUNTIME_DIR: /proc/x cannot "),
        (["bfdd-beacon", "--listen=here"], {}, "'here' does not appear to be an IPv4 or IPv6"),
        (["bash", str(SCRIPTS / "start-bfdd.sh")], {"POD_IPS": ""}, "POD_IPS: missing, it lists"),
        ([SUPERVISOR, "alive"], {}, "usage: kube-ovn-bfdd-supervisor <run|live|ready|status>"),
        ([SUPERVISOR], {}, "usage: kube-ovn-bfdd-supervisor <run|live|ready|status>"),
        (["bfdd-control", "status"], {}, "Unable to complete request: no daemon answers (No such"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_status_1(
    pod: Pod, command: Sequence[str], environment: dict[str, str], text: str
) -> None:
    done = pod.run(*command, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    (complaint,) = _complaints(done.stderr)
    assert text in complaint


def _complaints(stderr: str) -> list[str]:
    """Besides them there may be lines of the log, before and after."""
    return [line for line in stderr.splitlines() if not line.startswith("{")]


def test_a_second_daemon_does_not_take_the_place_of_the_first(pod: Pod) -> None:
    with pod.daemon(SUPERVISOR, "run"):
        second = pod.run(*net.inside(pod.ns, SUPERVISOR, "run"))
        assert second.returncode == 1
        (complaint,) = _complaints(second.stderr)
        assert complaint.endswith("another process is using it; stop that one first")
        assert pod.says("bfdd-control", "status").startswith("There are 2 sessions:\n")


def test_the_daemon_loads_nothing_that_it_has_no_use_for() -> None:
    code = (
        "import sys; sys.argv = ['kube-ovn-bfdd-supervisor', 'run']\n"
        "from vegd.compat.client import supervisor\n"
        "try: supervisor()\nexcept SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name, each in sys.modules.items() if each})"
    )
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"vegd", "dataplane", "msgspec"} <= loaded
    assert not loaded & {"ssl", "yaml", "typer", "rich", "pyroute2", "fractions", "scapy"}


def test_a_probe_loads_next_to_nothing() -> None:
    directory = SCRIPTS.parents[1] / "vegd/compat"
    code = f"import sys; sys.path.insert(0, {str(directory)!r}); import client; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"asyncio", "json", "re", "socket", "typing"} & set(done.stdout.split())
