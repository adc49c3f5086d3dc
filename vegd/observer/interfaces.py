"""The gateway's two interfaces: which they are, and what the kernel counts for them.

Multus says in an annotation of the pod, which the kubelet writes to a file, which interface belongs
to which network; there may be a moment without. The default network is the VPC's.
"""

import json
from pathlib import Path
from typing import NamedTuple

from dataplane import statistics
from dataplane.statistics import InterfaceStatistics
from vegd.errors import VegdError


class Interface(NamedTuple):
    """One of the two."""

    side: str
    """`internal` or `external`."""
    counts: InterfaceStatistics


class InterfacesUnknown(VegdError):
    """The interfaces cannot be told, or are not there."""


def read(status: Path, external_network: str) -> tuple[Interface, ...]:
    """Both, as they are now. Raises InterfacesUnknown."""
    try:
        document = status.read_bytes()
    except OSError as exc:
        raise InterfacesUnknown(
            f"--network-status {status}: {exc.strerror}; give the file with Multus' annotation"
        ) from exc
    names = sides(document, external_network)
    counts = {each.name: each for each in statistics.read(names.values())}
    for side, name in names.items():
        if name not in counts:
            raise InterfacesUnknown(
                f"--network-status {status}: {name} ({side}) is not an interface here; run the "
                "observer in the network namespace of the pod"
            )
    return tuple(Interface(side, counts[name]) for side, name in names.items())


def sides(document: bytes, external_network: str) -> dict[str, str]:
    """The names of the interfaces by side. Raises InterfacesUnknown."""
    try:
        entries = json.loads(document)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise InterfacesUnknown("network-status: is no JSON list; Multus has not written it yet")
    found = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(name := entry.get("interface"), str) and name:
            if entry.get("default") is True:
                found["internal"] = name
            if entry.get("name") == external_network:
                found["external"] = name
    for side, wanted in (("internal", "default"), ("external", f"name {external_network!r}")):
        if side not in found:
            raise InterfacesUnknown(
                f"network-status: no entry with {wanted} names an interface; "
                "externalNetwork has to be the network's name there"
            )
    return found
