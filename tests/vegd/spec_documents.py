"""Configurations for the tests, as plain documents: one that is sound, and ways to spoil it."""

import copy
from enum import Enum
from typing import Any

from vegd.spec import GatewaySpec, SpecError

Document = dict[str, Any]

_GOOD: Document = {
    "name": "gw1",
    "internal": {
        "interface": "eth0",
        "addresses": ["192.168.0.2/24", "fd00::2/64"],
        "gateways": ["192.168.0.1", "fd00::1"],
    },
    "external": {
        "interface": "net1",
        "macvlan": {"parent": "ext0"},
        "addresses": ["172.17.0.11/16", "fd17::11/64"],
        "gateways": ["172.17.0.1", "fd17::1"],
    },
    "policies": [
        {"name": "vpc", "snat": True, "ipBlocks": ["192.168.0.0/24", "fd00::/64"]},
        {"name": "direct", "snat": False, "ipBlocks": ["192.168.2.0/24"]},
    ],
    "bfd": {
        "minTX": 100,
        "minRX": 200,
        "peers": [{"address": "10.255.255.255", "minTTL": 254}, {"address": "fdff::1"}],
    },
}


class _Absent(Enum):
    ABSENT = "absent"


ABSENT = _Absent.ABSENT
"""As a new value: remove the field. Each process prints it alike, in the names of tests."""


def good() -> Document:
    """A sound document with everything in it; the caller may change it."""
    return copy.deepcopy(_GOOD)


def without_addresses() -> Document:
    """Both interfaces and their addresses are somebody else's."""
    document = good()
    del document["internal"]["addresses"], document["external"]["addresses"]
    del document["external"]["macvlan"]
    return document


def changed(changes: dict[str, object], document: Document | None = None) -> Document:
    """The sound document with values replaced, ``{"policies.0.name": "x"}``."""
    document = good() if document is None else document
    for path, value in changes.items():
        *way, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
        node: Any = document
        for step in way:
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
        if value is ABSENT:
            del node[last]
        elif isinstance(node, list) and last == len(node):
            node.append(value)
        else:
            node[last] = value
    return document


def faults_of(document: object) -> list[str]:
    """Every message about the document; empty if it is sound."""
    try:
        GatewaySpec.parse(document)
    except SpecError as error:
        return [str(fault) for fault in error.faults]
    return []
