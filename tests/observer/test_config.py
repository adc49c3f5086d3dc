"""The observer's configuration: what the controller writes, and each mistake with its remedy."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vegd.observer.config import Config, Conntrack, RateLimit, parse

GATEWAY = {"namespace": "default", "name": "gateway1", "externalNetwork": "default/eth1"}


def read(observability: object = None, **changes: object) -> Any:
    document = {**GATEWAY, **({"observability": observability} if observability else {}), **changes}
    return parse(json.dumps(document).encode())


def log(**fields: object) -> Any:
    return read({"conntrack": {"log": {"enabled": True, **fields}}})


def test_what_the_controller_writes_is_understood_and_what_is_not_ours_is_passed_over() -> None:
    # Recorded: `observability` of the resource, as Kube-OVN's controller hands it on.
    found = read(
        {
            "conntrack": {"log": {"filters": {}, "rateLimit": {}}, "metrics": {"enabled": True}},
            "interfaceMetrics": {"enabled": True},
            "resources": {"limits": {"cpu": "1"}},
            "serviceMonitor": {"labels": {"a": "b"}},
            "somethingNew": 1,
        },
        somethingElse={},
    )
    assert isinstance(found, Config)
    assert (found.namespace, found.name, found.external_network) == tuple(GATEWAY.values())
    assert found.tracks
    assert found.observability.interface_metrics.enabled
    assert not found.observability.conntrack.log.enabled
    assert found.observability.conntrack.log.rate_limit == RateLimit(100, 1000)


def test_without_anything_everything_is_off_and_null_is_like_absent() -> None:
    for found in (read(), read({"conntrack": {"log": None}}), read({"conntrack": None})):
        assert isinstance(found, Config)
        assert not found.tracks
        assert found.observability.conntrack == Conntrack()


def test_each_switch_alone_makes_connections_be_watched() -> None:
    for conntrack in ({"log": {"enabled": True}}, {"metrics": {"enabled": True}}):
        assert read({"conntrack": conntrack}).tracks


def test_bits_behind_the_length_of_a_network_do_not_matter() -> None:
    rule = {"original": {"sourceCIDRs": ["10.16.0.25/16", "fd00::1/64"]}}
    (found,) = log(filters={"include": [rule]}).observability.conntrack.log.filters.include
    assert [str(each) for each in found.original.source_cidrs] == ["10.16.0.0/16", "fd00::/64"]


RULES = "observability.conntrack.log.filters.exclude"


def rule(**fields: object) -> Any:
    return log(filters={"exclude": [{}, fields]})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (parse(b"{"), "the file is not JSON (Expecting property name"),
        (parse(b"[" * 100_000), "the file is not JSON"),
        (parse(b"[]"), "a list is not a mapping; write its fields as"),
        (parse(b'{"namespace": "a", "name": "b"}'), "externalNetwork: is missing; write the net"),
        (read(name=""), "name: '' is empty; write the name of the gateway"),
        (read(externalNetwork=""), "externalNetwork: '' is empty"),
        (read(namespace=7), "namespace: 7 is not a text; write the namespace of the gateway"),
        (
            read({"interfaceMetrics": {"enabled": "yes"}}),
            "observability.interfaceMetrics.enabled: 'yes' is neither true nor false; write true",
        ),
        (
            log(events=["begin"]),
            "conntrack.log.events[0]: 'begin' is not one of the possible words; write start or",
        ),
        (
            log(rateLimit={"recordsPerSecond": 0}),
            "log.rateLimit.recordsPerSecond: 0 is out of range; write a number from 1 to 100000",
        ),
        (
            log(rateLimit={"burst": 1_000_001}),
            "log.rateLimit.burst: 1000001 is out of range; write a number from 1 to 1000000",
        ),
        (log(filters={"inclde": []}), "filters.inclde: is not a known field; did you mean include"),
        (rule(protocols=["gre"]), f"{RULES}[1].protocols[0]: 'gre' is not one of the possible"),
        (rule(natTypes="snat"), f"{RULES}[1].natTypes: 'snat' is not a list; write a list of"),
        (rule(addressFamilies=[4]), f"{RULES}[1].addressFamilies[0]: 4 is not one of the possible"),
        (
            rule(original={"sourceCIDRs": ["10.0.0.0/33"]}),
            f"{RULES}[1].original.sourceCIDRs[0]: '10.0.0.0/33' is not a network; write ADDRESS/",
        ),
        (
            rule(translated={"destinationCIDRs": ["10.0.0.1"]}),
            f"{RULES}[1].translated.destinationCIDRs[0]: '10.0.0.1' is not a network",
        ),
        (
            rule(original={"sourcePorts": [{"start": 9, "end": 8}]}),
            f"{RULES}[1].original.sourcePorts[0].end: 8 is less than start, 9; write the lower",
        ),
        (
            rule(original={"sourcePorts": [{"start": 9}]}),
            f"{RULES}[1].original.sourcePorts[0].end: is missing; write a port from 0 to 65535",
        ),
        (
            rule(original={"destinationPorts": [{"start": 0, "end": 65_536}]}),
            "destinationPorts[0].end: 65536 is out of range; write a port from 0 to 65535",
        ),
        (
            log(filters={"include": [{}] * 65}),
            "log.filters.include: a list of 65 is too long; write 64 at most",
        ),
        (
            rule(original={"sourceCIDRs": ["10.0.0.0/8"] * 65}),
            f"{RULES}[1].original.sourceCIDRs: a list of 65 is too long; write 64 at most",
        ),
    ],
)
def test_a_mistake_is_one_line_with_field_value_and_remedy(found: Any, message: str) -> None:
    assert isinstance(found, tuple)
    (fault,) = found
    assert message in str(fault)
    assert "\n" not in str(fault)


def test_every_mistake_is_told_at_once() -> None:
    found = log(events=["a"], rateLimit={"burst": 0}, filters={"include": [{"x": 1}]})
    assert len(found) == 3


def test_the_example_of_the_document_is_understood() -> None:
    text = (Path(__file__).parents[2] / "docs/flow-logs.md").read_text()
    example, record = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = parse(example.encode())
    assert isinstance(found, Config)
    log = found.observability.conntrack.log
    assert (len(log.filters.include), len(log.filters.exclude)) == (1, 1)
    assert log.rate_limit == RateLimit()
    assert json.loads(record)["event"] in log.events
