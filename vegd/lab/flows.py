"""Starting the probes of all clients, and reading what came of them.

The arithmetic of losses and outages is here, pure: a *lost run* is a series of probes of one flow
without an answer in between; its outage is the time from sending the first of them to sending the
next probe that was answered. What is lost up to the end of a flow lasts until that end.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vegd.lab import namespaces
from vegd.lab.errors import LabError
from vegd.lab.lab import Lab
from vegd.lab.state import LabState, poll_until
from vegd.lab.topology import FAMILIES, Family, of_family

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


class Probed(NamedTuple):
    """Where probes are sent from, and what they are sent to."""

    client: str
    namespace: str
    targets: Mapping[str, str]
    """The address outside that is asked from each source address."""

    def pairs(self) -> list[str]:
        """As `vegd.lab.probe` wants them."""
        return [f"{source}={target}" for source, target in self.targets.items()]

    def fetch(self) -> dict[str, str | None]:
        """HTTP once from every source: source to the address that the outside saw."""
        command = [sys.executable, "-m", "vegd.lab.probe", "http", *self.pairs()]
        answers = namespaces.run(namespaces.inside(self.namespace, *command))
        seen: dict[str, str | None] = json.loads(answers)
        return seen


class Probes:
    """Probing processes of a lab, one for each that is `probed`."""

    def __init__(self, state: LabState, probed: Sequence[Probed], interval_ms: int) -> None:
        self._state = state
        self._probed = probed
        self._interval_ms = interval_ms

    def start(self) -> None:
        """Start one process per client, and wait until all of them send."""
        for each in self._probed:
            self._result(each).unlink(missing_ok=True)
            (self._state.directory / f"{_role(each)}.log").unlink(missing_ok=True)
            module = [sys.executable, "-m", "vegd.lab.probe", "udp", str(self._interval_ms)]
            command = [*module, str(self._result(each)), *each.pairs()]
            self._state.start(_role(each), each.namespace, command)
        for _ in poll_until(_START_S):
            if all(self._newest(each) for each in self._probed):
                return
        raise LabError("the probes have not started; see probe-*.log in the lab's directory")

    def now(self) -> dict[str, int]:
        """Who answered of late: external address to number of answers."""
        total: dict[str, int] = {}
        for each in self._probed:
            for address, count in (self._newest(each) or {"by": {}})["by"].items():
                total[address] = total.get(address, 0) + count
        return total

    def stop(self) -> list[FlowRecord]:
        """End the probing and return what came of it."""
        for each in self._probed:
            process = self._state.process(_role(each))
            if process is None:
                raise LabError(f"the probes of {each.client} have died; see {_role(each)}.log")
            os.kill(process.pid, signal.SIGTERM)
        for _ in poll_until(_END_S):
            if all(self._result(each).exists() for each in self._probed):
                break
        else:
            raise LabError(f"the probes have not ended within {_END_S:g} s")
        return [
            FlowRecord(
                each.client,
                flow["source"],
                tuple(flow["sent"]),
                tuple(flow["answered"]),
                tuple(flow["by"]),
            )
            for each in self._probed
            for flow in json.loads(self._result(each).read_text())
        ]

    def _result(self, probed: Probed) -> Path:
        return self._state.directory / f"{_role(probed)}.json"

    def _newest(self, probed: Probed) -> dict[str, Any] | None:
        log = self._state.directory / f"{_role(probed)}.log"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        # The last line may be half written, and an error of the process is no line of ours.
        whole = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        newest: dict[str, Any] | None = json.loads(whole[-1]) if whole else None
        return newest


def _role(probed: Probed) -> str:
    return f"probe-{probed.client}"


def probed(lab: Lab) -> list[Probed]:
    """All clients of a lab."""
    return [
        Probed(
            client.name,
            client.namespace,
            {
                source: target(lab, source)
                for family in FAMILIES
                for source in client.sources(family)[:_SOURCES_PER_CLIENT]
            },
        )
        for client in lab.topology.clients
    ]


def target(lab: Lab, source: str) -> str:
    """The outside host's address in the family of a source."""
    return str(of_family(lab.topology.outside, Family.of(source)).ip)


def fetch_all(lab: Lab) -> dict[str, str | None]:
    """HTTP once from every source of every client: source to the address that the outside saw."""
    seen: dict[str, str | None] = {}
    for each in probed(lab):
        seen |= each.fetch()
    return seen


def longest_outage_ms(flows: Sequence[FlowRecord]) -> float:
    """The longest outage of any of the flows, in milliseconds."""
    return round(max((flow.outage_s for flow in flows), default=0.0) * 1000, 1)
