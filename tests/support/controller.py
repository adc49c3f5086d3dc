"""``vegd controller`` as a process, and the northbound database that it writes to."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.support.cluster import Cluster, Kubelet, until
from tests.support.ovsdb import OvsdbServer
from vegd.lab.cluster.control_plane import ControlPlane

START_S = 120.0
_IDLE_WITHIN_S = 30.0


class ControllerProcess:
    """One controller; its log is in the directory."""

    def __init__(
        self,
        directory: Path,
        plane: ControlPlane,
        remote: str,
        port: int,
        *options: str,
        name: str = "controller",
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = directory / f"{name}.log"
        command = [sys.executable, "-m", "vegd", "controller", f"--ovn-nb={remote}"]
        command += [f"--kubeconfig={plane.kubeconfig}", f"--listen=127.0.0.1:{port}", *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def page(self, path: str) -> tuple[int, str]:
        """Status and body; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until_ready(self) -> None:
        """Wait until it has seen everything."""
        until(self._is_ready, within_s=START_S)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        return self.page("/readyz")[0] == 200

    def metric(self, line: str) -> float:
        """The value of a sample, by its name and labels as they are written."""
        for each in self.page("/metrics")[1].splitlines():
            if each.startswith(f"{line} "):
                return float(each.rpartition(" ")[2])
        raise AssertionError(f"no {line}")

    def until_idle(self) -> None:
        """Wait until a second has passed without a round."""
        rounds = 'vegd_controller_rounds_total{queue="gateways"}'
        before, deadline = -1.0, time.monotonic() + _IDLE_WITHIN_S
        while (now := self.metric(rounds)) != before:
            assert time.monotonic() < deadline, f"{now - before:g} rounds in the last second"
            before = now
            time.sleep(1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it, and how it ended."""
        self.process.send_signal(number)
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def running(controller: ControllerProcess) -> Iterator[ControllerProcess]:
    """A controller that is ready, and ended afterwards, however the test ends."""
    try:
        controller.until_ready()
        yield controller
    finally:
        if controller.process.poll() is None:
            controller.process.kill()
            controller.process.wait()


class Northd:
    """Says of every BFD row what a test wants, in place of ovn-northd: up if it has no wish."""

    def __init__(self, server: OvsdbServer) -> None:
        self.wishes: dict[str, str] = {}
        """The status by next hop."""
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            # The database may be away, or the row gone meanwhile.
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                for row in find(self._server, "BFD"):
                    wish = self.wishes.get(row["dst_ip"], "up")
                    if row["status"] != wish:
                        self._server.nbctl("set", "BFD", row["_uuid"], f"status={wish}")


class Router:
    """A VPC's logical router in the northbound database, as Kube-OVN has it."""

    def __init__(self, server: OvsdbServer, name: str, subnet: str) -> None:
        self._server = server
        self.name = name
        server.nbctl("lr-add", name)
        server.nbctl("lrp-add", name, f"{name}-{subnet}", "02:00:00:00:00:01", "192.168.0.1/24")

    def policies(self) -> list[str]:
        """Priority, match, action and next hops of each policy, the highest priority first."""
        listed = self._server.nbctl("lr-policy-list", self.name).splitlines()
        return [" ".join(line.split()) for line in listed[1:]]

    def routes(self) -> list[str]:
        """The static routes."""
        listed = self._server.nbctl("lr-route-list", self.name).splitlines()
        return [" ".join(line.split()) for line in listed if "." in line or ":" in line[:20]]

    def add_foreign_policy(self) -> None:
        """A policy of somebody else."""
        self._server.nbctl("lr-policy-add", self.name, "31000", "ip4.dst == 10.0.0.0/8", "allow")

    def close(self) -> None:
        """Remove it."""
        self._server.nbctl("--if-exists", "lr-del", self.name)


@contextlib.contextmanager
def standing(
    cluster: Cluster, server: OvsdbServer, *, nodes: int = 2, **network: str
) -> Iterator[Cluster]:
    """A cluster with nodes, a VPC with its router, and a kubelet; no controller. `network` as for
    `Cluster.build`."""
    kubelet, northd = Kubelet(cluster), Northd(server)
    try:
        for number in range(1, nodes + 1):
            name = f"{cluster.namespace}-n{number}"
            cluster.node(name, f"chassis-{cluster.namespace}-{number}")
        cluster.build(**network)
        Router(server, cluster.vpc, cluster.inside)
        yield cluster
    finally:
        kubelet.close()
        northd.close()
        cluster.close()


def find(server: OvsdbServer, table: str, *conditions: str) -> list[dict[str, str]]:
    """Rows of a table, by column."""

    text = server.nbctl("--format=csv", "find", table, *conditions)
    rows = csv.DictReader(io.StringIO(text))
    return [{name: value.strip('"') for name, value in row.items()} for row in rows]
