"""TCP connections while a gateway drains, behind both routers: which go on, and through whom."""

import contextlib
import http.client
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.daemon import eventually
from tests.support.dataplane import family, inside_thread
from vegd.lab import events, faults
from vegd.lab.flows import target
from vegd.lab.lab import Lab, remove
from vegd.lab.topology import HTTP_PORT, Family, Gateway, LabOptions, RouterKind

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ROUNDS = 5


class Connection:
    """An HTTP connection from a source, over which one request follows another."""

    def __init__(self, lab: Lab, source: str) -> None:
        self.source = source
        self._to = target(lab, source)
        version = 6 if ":" in source else 4
        client = lab.topology.clients[0].namespace
        self._socket = inside_thread(client, lambda: socket.socket(family(version)))
        self._socket.settimeout(20)
        self._socket.bind((source, 0))
        self._socket.connect((self._to, HTTP_PORT))
        self._http = http.client.HTTPConnection(self._to)
        self._http.sock = self._socket
        self._http.auto_open = 0
        self.seen = self.ask()

    def ask(self) -> str:
        """The address that the outside sees; empty when the connection has been cut."""
        try:
            self._http.request("GET", "/")
            return self._http.getresponse().read().decode().strip()
        except (OSError, http.client.HTTPException):
            return ""

    def close(self) -> None:
        """End the connection."""
        self._http.close()


@contextlib.contextmanager
def laboratory(router: RouterKind, gateways: int) -> Iterator[Lab]:
    """A lab in which every gateway is in use, with timers that a busy machine keeps."""
    lab = Lab(LabOptions(f"d{os.getpid()}", router, gateways, 1, interval_ms=500, multiplier=5))
    try:
        lab.create()
        lab.wait_up(within_s=60)
        yield lab
    finally:
        remove(lab.options.prefix)


def connect(lab: Lab, stack: contextlib.ExitStack, times: int) -> list[Connection]:
    """Connections from every source of the client."""
    sources = [s for each in Family for s in lab.topology.clients[0].sources(each)]
    return [
        stack.enter_context(contextlib.closing(Connection(lab, source)))
        for source in sources
        for _ in range(times)
    ]


def used(lab: Lab, gateway: Gateway) -> set[str]:
    """The families for which the router uses a gateway."""
    newest = events.newest(lab.event_directory)
    return {each.value for each in Family if newest[gateway.name, each.value].is_up}


def through(gateway: Gateway, connections: list[Connection]) -> list[Connection]:
    """The connections that have begun through a gateway."""
    shown = {gateway.external_address(each) for each in Family}
    return [each for each in connections if each.seen in shown]


def test_a_drain_behind_linux_cuts_no_connection_that_ends_in_time() -> None:
    with laboratory(RouterKind.LINUX, 3) as lab, contextlib.ExitStack() as stack:
        leaving = lab.topology.gateways[1]
        connections = connect(lab, stack, 2)
        mine = through(leaving, connections)
        assert 0 < len(mine) < len(connections)
        faults.send(leaving, lab.state, signal.SIGTERM)
        eventually(lambda: not used(lab, leaving), "the router has been told")
        # The router spreads what is new over the others, and leaves what is there alone.
        for _ in range(ROUNDS):
            assert [each.ask() for each in connections] == [each.seen for each in connections]
        assert through(leaving, connect(lab, stack, 1)) == []
        assert lab.state.process(leaving.name) is not None
        for each in mine:
            each.close()
        eventually(lambda: lab.state.process(leaving.name) is None, "it has drained")
        log = (lab.state.directory / f"{leaving.name}.log").read_text()
        assert "nothing was forwarded for" in log
        others = [each for each in connections if each not in mine]
        assert [each.ask() for each in others] == [each.seen for each in others]
        faults.start(leaving, lab.state)
        lab.wait_up(within_s=60)
        assert through(leaving, connect(lab, stack, 1))
        assert [each.ask() for each in others] == [each.seen for each in others]


def test_a_drain_behind_ovn_moves_its_connections_at_once_and_leaves_those_of_the_other() -> None:
    """OVN keeps no connection at its next hop, so those of the gateway that leaves are cut; see
    "Drain" in docs/architecture.md."""
    with laboratory(RouterKind.OVN, 2) as lab, contextlib.ExitStack() as stack:
        staying, leaving = lab.topology.gateways
        connections = connect(lab, stack, 2)
        mine, others = through(leaving, connections), through(staying, connections)
        assert mine
        assert others
        faults.send(leaving, lab.state, signal.SIGTERM)
        eventually(lambda: not used(lab, leaving), "the router has been told")
        for _ in range(ROUNDS):
            assert [each.ask() for each in others] == [each.seen for each in others]
        eventually(lambda: not any(each.ask() for each in mine), "they are cut")
        fresh = connect(lab, stack, 1)
        assert through(staying, fresh) == fresh
