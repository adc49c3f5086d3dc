"""The filter against the meaning of the rules, judged by what the record would say."""

import json
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.conntrack_events import Tracked
from tests.support.connections import WITH_PORTS, Way, tracked
from vegd.observer.config import Config, parse
from vegd.observer.filters import Filter, compiled
from vegd.observer.records import Identity, line

ADDRESSES = {
    4: ["10.0.0.1", "10.0.0.129", "10.1.0.1", "192.0.2.7"],
    6: ["fd00::1", "fd00::8000:1", "fd01::1", "2001:db8::7"],
}
NETWORKS = [
    "10.0.0.0/25",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "192.0.2.7/32",
    "fd00::/64",
    "::/0",
    "fd00::1/128",
]
PORTS = [0, 1, 53, 443, 65_535]


@st.composite
def connections(draw: st.DrawFn) -> Tracked:
    version = draw(st.sampled_from([4, 6]))
    protocol = draw(st.sampled_from([6, 17, 132, 1, 58, 47]))
    port = st.sampled_from(PORTS) if protocol in WITH_PORTS else st.just(0)
    end = st.tuples(st.sampled_from(ADDRESSES[version]), port)
    source, destination, other, elsewhere = (draw(end) for _ in range(4))
    translated = draw(
        st.sampled_from([(other, destination), (source, elsewhere), (other, elsewhere)]).filter(
            lambda ends: ends != (source, destination)
        )
    )
    return tracked(Way(*source, *destination), Way(*translated[0], *translated[1]), protocol)


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), max_size=3)


RANGES = st.lists(
    st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(
        lambda pair: {"start": min(pair), "end": max(pair)}
    ),
    max_size=2,
)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "sourceCIDRs": some(NETWORKS),
        "destinationCIDRs": some(NETWORKS),
        "sourcePorts": RANGES,
        "destinationPorts": RANGES,
    },
)
RULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "addressFamilies": some(["ipv4", "ipv6"]),
            "protocols": some(["tcp", "udp", "sctp", "icmp", "icmpv6", "other"]),
            "natTypes": some(["snat", "dnat", "snat_dnat"]),
            "original": MATCHES,
            "translated": MATCHES,
        },
    ),
    max_size=3,
)


def question(include: object, exclude: object) -> Filter:
    document = {
        "namespace": "a",
        "name": "b",
        "externalNetwork": "c",
        "observability": {
            "conntrack": {"log": {"filters": {"include": include, "exclude": exclude}}}
        },
    }
    config = parse(json.dumps(document).encode())
    assert isinstance(config, Config)
    return compiled(config.observability.conntrack.log.filters)


def fits(rule: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a record fits a rule, from the words of the resource's description."""
    if rule.get("addressFamilies") and record["addressFamily"] not in rule["addressFamilies"]:
        return False
    if rule.get("protocols") and record["protocol"] not in rule["protocols"]:
        return False
    if rule.get("natTypes"):
        kinds = {*record["natType"]}
        if kinds == {"snat", "dnat"}:
            kinds.add("snat_dnat")
        if not kinds & {*rule["natTypes"]}:
            return False
    for side in ("original", "translated"):
        wanted, there = rule.get(side, {}), record[side]
        for end in ("source", "destination"):
            networks = [ip_network(each) for each in wanted.get(f"{end}CIDRs", [])]
            address = ip_address(there[f"{end}IP"])
            if networks and not any(address in network for network in networks):
                return False
            ranges = wanted.get(f"{end}Ports", [])
            port = there.get(f"{end}Port", 0)
            if ranges and not any(port in range(r["start"], r["end"] + 1) for r in ranges):
                return False
    return True


@given(RULES, RULES, st.lists(connections(), min_size=1, max_size=8))
def test_the_filter_is_what_the_rules_mean(
    include: list[dict[str, Any]], exclude: list[dict[str, Any]], flows: list[Tracked]
) -> None:
    is_logged = question(include, exclude)
    for each in flows:
        record = json.loads(line("start", each, Identity(), 0.0))
        is_included = not include or any(fits(rule, record) for rule in include)
        is_excluded = any(fits(rule, record) for rule in exclude)
        assert is_logged(each) == (is_included and not is_excluded)


HTTPS = tracked(
    Way("10.16.0.25", 4000, "203.0.113.9", 443), Way("172.17.0.11", 4000, "203.0.113.9", 443), 6
)
PING = tracked(Way("10.16.0.25", 0, "203.0.113.9", 0), Way("172.17.0.11", 0, "203.0.113.9", 0), 1)
BOTH = tracked(
    Way("10.16.0.25", 4000, "203.0.113.9", 80), Way("172.17.0.11", 4000, "10.1.1.1", 8080), 6
)


@pytest.mark.parametrize(
    ("include", "exclude", "logged"),
    [
        ([], [], [HTTPS, PING, BOTH]),
        ([{}], [], [HTTPS, PING, BOTH]),
        ([], [{}], []),
        ([{"protocols": ["tcp"]}], [{"natTypes": ["snat_dnat"]}], [HTTPS]),
        ([{"natTypes": ["snat"]}], [], [HTTPS, PING, BOTH]),
        ([{"natTypes": ["dnat"]}], [], [BOTH]),
        ([{"protocols": ["icmp"]}, {"protocols": ["tcp"]}], [{"protocols": ["tcp"]}], [PING]),
        ([{"original": {"destinationPorts": [{"start": 80, "end": 443}]}}], [], [HTTPS, BOTH]),
        ([{"translated": {"destinationPorts": [{"start": 8080, "end": 8080}]}}], [], [BOTH]),
        ([], [{"translated": {"destinationCIDRs": ["203.0.113.0/24"]}}], [BOTH]),
        ([{"original": {"sourceCIDRs": ["fd00::/8"]}}], [], []),
    ],
)
def test_examples(include: object, exclude: object, logged: list[Tracked]) -> None:
    is_logged = question(include, exclude)
    assert [each for each in (HTTPS, PING, BOTH) if is_logged(each)] == logged
