"""What is reported of a gateway, and what of it is worth a write."""

from typing import Any

import msgspec
import pytest

from tests.vegd.test_metrics import STATUS
from vegd.status import GatewayStatus, PathLine, PortsLine, SessionLine
from vegd.watching.report import Place, Status, entry, is_news, undeclared

PLACE = Place("pod", "node1")
FULL = msgspec.structs.replace(
    STATUS,
    revision=7,
    sessions=(
        SessionLine("192.0.2.2", "192.0.2.9", "", True, False, "Up", "the peer says Up"),
        SessionLine("192.0.2.2", "192.0.2.1", "", True, False, "Down", None),
    ),
    paths=(PathLine("ipv4", "failing", ("icmp 192.0.2.7 does not answer",)),),
    conntrack_entries=1000,
    conntrack_maximum=10_000,
    internal_addresses=("192.0.2.2",),
    external_addresses=("198.51.100.1",),
    ports=(PortsLine("198.51.100.1", 300, 1000),),
)


def _entry(**changes: Any) -> dict[str, Any]:
    status: GatewayStatus = msgspec.structs.replace(FULL, **changes)
    return entry(PLACE, msgspec.json.decode(msgspec.json.encode(status), type=Status))


def test_an_entry_has_what_the_agent_says() -> None:
    assert _entry() == {
        "pod": "pod",
        "node": "node1",
        "revision": 7,
        "state": "ready",
        "reasons": [],
        "draining": False,
        "internalIPs": ["192.0.2.2"],
        "externalIPs": ["198.51.100.1"],
        "bfd": [
            {"local": "192.0.2.2", "peer": "192.0.2.1", "state": "Down"},
            {
                "local": "192.0.2.2",
                "peer": "192.0.2.9",
                "state": "Up",
                "reason": "the peer says Up",
            },
        ],
        "paths": [
            {"family": "ipv4", "state": "failing", "reasons": ["icmp 192.0.2.7 does not answer"]}
        ],
        "ports": [{"address": "198.51.100.1", "used": 300, "available": 1000}],
        "conntrack": {"entries": 1000, "maximum": 10_000},
    }


def test_an_agent_that_does_not_answer_vouches_for_nothing() -> None:
    assert entry(Place("pod", ""), None, ["a", "a"]) == {
        "pod": "pod",
        "state": "unknown",
        "reasons": ["the agent does not answer", "a"],
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"revision": 8}, True),
        ({"reasons": ("x",)}, True),
        ({"sessions": ()}, True),
        ({"conntrack_entries": 1990}, False),
        ({"conntrack_entries": 2000}, True),
        ({"ports": (PortsLine("198.51.100.1", 399, 1000),)}, False),
        ({"ports": (PortsLine("198.51.100.1", 400, 1000),)}, True),
        ({"ports": ()}, True),
        ({"generation": 9}, False),
    ],
)
def test_counts_are_news_when_they_have_moved_by_a_tenth(
    changes: dict[str, Any], expected: bool
) -> None:
    assert is_news(_entry(**changes), _entry()) is expected
    assert is_news(_entry(**changes), None)


def test_the_fields_that_a_definition_does_not_know_are_read_from_the_refusal() -> None:
    # As Kubernetes 1.34 says it.
    head = "failed to create typed patch object (default/g; kubeovn.io/v1, Kind=VpcEgressGateway): "
    lines = [
        '.status.gateways[pod="a"].revision: field not declared in schema',
        '.status.gateways[pod="a"].ports: field not declared in schema',
    ]
    assert undeclared(f"{head}errors:\n  {lines[0]}\n  {lines[1]}") == {"revision", "ports"}
    assert undeclared(f"{head}.status.gateways: field not declared in schema") == frozenset()
