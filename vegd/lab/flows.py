"""Starting the probes of all clients, and reading what came of them.

The arithmetic of losses and outages is here, pure: a *lost run* is a series of probes of one flow
without an answer in between; its outage is the time from sending the first of them to sending the
next probe that was answered. What is lost up to the end of a flow lasts until that end.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegd.lab import namespaces
from vegd.lab.errors import LabError
from vegd.lab.lab import Lab
from vegd.lab.state import poll_until
from vegd.lab.topology import FAMILIES, Client, Family, of_family

_SOURCES_PER_CLIENT = 4
_START_S = 10.0
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """All probes of one flow, in the order of sending; times in seconds of CLOCK_MONOTONIC."""

    client: str
    source: str
    sent: tuple[float, ...]
    answered: tuple[float | None, ...]
    by: tuple[str | None, ...]
    """The external address that the outside saw."""

    @property
    def family(self) -> Family:
        """The IP family of the flow."""
        return Family.of(self.source)

    def between(self, start: float, end: float) -> "FlowRecord":
        """The probes sent in a period."""
        chosen = [n for n, at in enumerate(self.sent) if start <= at < end]
        return FlowRecord(
            self.client,
            self.source,
            tuple(self.sent[n] for n in chosen),
            tuple(self.answered[n] for n in chosen),
            tuple(self.by[n] for n in chosen),
        )

    @property
    def lost(self) -> int:
        """Probes without an answer."""
        return sum(each is None for each in self.answered)

    @property
    def outage_s(self) -> float:
        """The longest lost run, 0 if nothing was lost; see the module."""
        longest, began = 0.0, None
        for at, answered in zip(self.sent, self.answered, strict=True):
            if answered is None:
                began = at if began is None else began
            elif began is not None:
                longest, began = max(longest, at - began), None
        if began is not None:
            longest = max(longest, self.sent[-1] - began)
        return longest

    def single_losses(self) -> list[float]:
        """When the probes were sent that were lost alone, between two that were answered."""
        triples = zip(self.answered, self.answered[1:], self.answered[2:], strict=False)
        return [
            self.sent[n]
            for n, (before, this, after) in enumerate(triples, 1)
            if this is None and before is not None and after is not None
        ]


class Probes:
    """The probing processes of a lab."""

    def __init__(self, lab: Lab, interval_ms: int) -> None:
        self._lab = lab
        self._interval_ms = interval_ms
        self._directory = lab.state.directory

    def start(self) -> None:
        """Start one process per client, and wait until all of them send."""
        for client in self._lab.topology.clients:
            self._result(client).unlink(missing_ok=True)
            (self._directory / f"{_role(client)}.log").unlink(missing_ok=True)
            pairs = [f"{source}={self._target(source)}" for source in sources(client)]
            module = [sys.executable, "-m", "vegd.lab.probe", "udp", str(self._interval_ms)]
            command = [*module, str(self._result(client)), *pairs]
            self._lab.state.start(_role(client), client.namespace, command)
        for _ in poll_until(_START_S):
            if all(self._newest(client) for client in self._lab.topology.clients):
                return
        raise LabError("the probes have not started; see probe-*.log in the lab's directory")

    def now(self) -> dict[str, int]:
        """Who answered of late: external address to number of answers."""
        total: dict[str, int] = {}
        for client in self._lab.topology.clients:
            for address, count in (self._newest(client) or {"by": {}})["by"].items():
                total[address] = total.get(address, 0) + count
        return total

    def stop(self) -> list[FlowRecord]:
        """End the probing and return what came of it."""
        clients = self._lab.topology.clients
        for client in clients:
            process = self._lab.state.process(_role(client))
            if process is None:
                raise LabError(f"the probes of {client.name} have died; see {_role(client)}.log")
            os.kill(process.pid, signal.SIGTERM)
        for _ in poll_until(_END_S):
            if all(self._result(client).exists() for client in clients):
                break
        else:
            raise LabError(f"the probes have not ended within {_END_S:g} s")
        return [
            FlowRecord(
                client.name,
                flow["source"],
                tuple(flow["sent"]),
                tuple(flow["answered"]),
                tuple(flow["by"]),
            )
            for client in clients
            for flow in json.loads(self._result(client).read_text())
        ]

    def _result(self, client: Client) -> Path:
        return self._directory / f"{_role(client)}.json"

    def _target(self, source: str) -> str:
        return target(self._lab, source)

    def _newest(self, client: Client) -> dict[str, Any] | None:
        log = self._directory / f"{_role(client)}.log"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        # The last line may be half written, and an error of the process is no line of ours.
        whole = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        newest: dict[str, Any] | None = json.loads(whole[-1]) if whole else None
        return newest


def _role(client: Client) -> str:
    return f"probe-{client.name}"


def sources(client: Client) -> list[str]:
    """The source addresses that are probed from."""
    return [
        source for family in FAMILIES for source in client.sources(family)[:_SOURCES_PER_CLIENT]
    ]


def target(lab: Lab, source: str) -> str:
    """The outside host's address in the family of a source."""
    return str(of_family(lab.topology.outside, Family.of(source)).ip)


def fetch_all(lab: Lab) -> dict[str, str | None]:
    """HTTP once from every source of every client: source to the address that the outside saw."""
    seen: dict[str, str | None] = {}
    for client in lab.topology.clients:
        pairs = [f"{source}={target(lab, source)}" for source in sources(client)]
        command = [sys.executable, "-m", "vegd.lab.probe", "http", *pairs]
        seen |= json.loads(namespaces.run(namespaces.inside(client.namespace, *command)))
    return seen


def longest_outage_ms(flows: Sequence[FlowRecord]) -> float:
    """The longest outage of any of the flows, in milliseconds."""
    return round(max((flow.outage_s for flow in flows), default=0.0) * 1000, 1)
