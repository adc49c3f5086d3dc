"""The observer as it runs in a gateway pod: as nobody, with NET_ADMIN alone, and able to write only
to its standard output."""

import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dataplane.nfnetlink import NFNL_SUBSYS_CTNETLINK, Channel
from tests.support.daemon import eventually
from tests.support.dataplane import inside_thread
from tests.support.netns import inside

PREFIX = "kube_ovn_vpc_egress_gateway_"
PORT = 10666
ALL = {"recordsPerSecond": 100_000, "burst": 1_000_000}
"""A rate limit that lets everything pass."""
_LOADED = ("bfd", "dataplane", "vegd", "h11", "msgspec")
"""It has nothing else to load: this is what the image has to hold for it."""
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from vegd.cli import main; main()"
_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | 2


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory that anybody may read, with a copy of the program: the project may be where only
    root can look."""
    with tempfile.TemporaryDirectory(prefix="vegd-observer-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for each in _LOADED:
            spec = find_spec(each)
            assert spec is not None
            assert spec.origin is not None
            shutil.copytree(Path(spec.origin).parent, directory / "code" / each)
        inner = {"name": "kube-ovn", "interface": "eth0", "default": True}
        outer = {"name": "default/eth1", "interface": "net1"}
        (directory / "network-status").write_text(json.dumps([inner, outer]))
        yield directory


class Observer:
    """One that runs in a namespace."""

    def __init__(self, ns: str, directory: Path) -> None:
        self.ns = ns
        self.directory = directory
        self.config = directory / "config.json"
        self.process: subprocess.Popen[bytes]

    def write(self, conntrack: Mapping[str, Any], **changes: Any) -> None:
        """The configuration, in one step as the kubelet does it."""
        observability = {"interfaceMetrics": {"enabled": True}, "conntrack": conntrack}
        fresh = self.directory / "config.new"
        fresh.write_text(
            json.dumps(
                {
                    "namespace": "default",
                    "name": "gateway1",
                    "externalNetwork": "default/eth1",
                    "observability": observability,
                }
                | changes
            )
        )
        fresh.rename(self.config)

    def command(self, *options: str, capabilities: str = "-all,+net_admin") -> list[str]:
        """The command line in the namespace."""
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        words += [f"--{kind}={capabilities}" for kind in ("inh-caps", "ambient-caps")]
        words += [f"--bounding-set={capabilities}", "env", "POD_NAME=pod-1", "NODE_NAME=worker-1"]
        words += [str(Path(sys.executable).resolve()), "-IBc", _START, str(self.directory / "code")]
        words += ["observe", "--config", str(self.config)]
        words += ["--network-status", str(self.directory / "network-status"), *options]
        return inside(self.ns, *words)

    @contextlib.contextmanager
    def running(
        self, *options: str, stdout: int | None = None, capabilities: str = "-all,+net_admin"
    ) -> Iterator[None]:
        """It runs and answers; killed at the end if it still does."""
        with (
            (self.directory / "stdout").open("wb") as records,
            (self.directory / "stderr").open("wb") as words,
        ):
            self.process = subprocess.Popen(
                self.command(*options, capabilities=capabilities),
                stdout=records if stdout is None else stdout,
                stderr=words,
            )
        try:
            eventually(lambda: self.page("healthz") == "ok\n", "it answers")
            yield
        finally:
            self.process.kill()
            self.process.wait()

    def page(self, path: str) -> str:
        """A page of it; empty while it does not answer."""
        assert self.process.poll() is None, self.said()

        def get() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
            try:
                connection.request("GET", f"/{path}")
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return ""
            finally:
                connection.close()

        return inside_thread(self.ns, get)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over the samples with these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.page("metrics").splitlines()
            if line.startswith(f"{PREFIX}{name}{{") and all(each in line for each in wanted)
        )

    def wait_for(self, value: float, name: str, **labels: str) -> None:
        """Until a metric has a value."""
        found: list[float] = []

        def reached() -> bool:
            found.append(self.metric(name, **labels))
            return found[-1] == value

        try:
            eventually(reached, f"{name} {labels} is {value:g}")
        except AssertionError as exc:
            raise AssertionError(f"{exc}, but {found[-1]:g}; {self.said()}") from None

    def is_watching(self) -> None:
        """Wait until it hears of connections."""
        self.wait_for(1, "observability_collector_up", collector="conntrack")

    def records(self, event: str = "") -> list[dict[str, Any]]:
        """What it has written so far."""
        lines = (self.directory / "stdout").read_bytes().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [each for each in found if event in {"", each["event"]}]

    def wait_for_records(self, count: int, event: str = "") -> list[dict[str, Any]]:
        """Until it has written so many."""
        eventually(
            lambda: len(self.records(event)) >= count, f"{count} records {event}; {self.said()}"
        )
        return self.records(event)

    def said(self) -> str:
        """Standard error."""
        return (self.directory / "stderr").read_text()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does not come to read anything inside the context."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            state = Path(f"/proc/{self.process.pid}/stat")
            eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "stopped")
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def ends(self) -> int:
        """Ask it to end; the exit status."""
        self.process.terminate()
        return self.process.wait(50)


def forget_all(ns: str) -> None:
    """End every connection that a namespace tracks."""

    def work() -> None:
        with Channel() as channel:
            for _ in channel.ask(_DELETE, 0):
                pass

    inside_thread(ns, work)
