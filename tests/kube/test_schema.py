"""Resources as they are read: mistakes by field, quantities, label selectors."""

from typing import Any

import pytest

from kube.checks import gateway_faults
from kube.schema import (
    EgressGateway,
    LabelSelector,
    Malformed,
    Selector,
    mbit,
    parse,
)

_GOOD: dict[str, Any] = {
    "externalSubnet": "macvlan1",
    "policies": [{"snat": True, "ipBlocks": ["192.168.0.0/24"]}],
}


def _gateway(**spec: Any) -> EgressGateway:
    return parse(EgressGateway, {"metadata": {"name": "g"}, "spec": _GOOD | spec})


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (100, 100),
        ("100", 100),
        ("100M", 100),
        ("100Mi", 105),
        ("1G", 1000),
        ("1Gi", 1074),
        (".5Gi", 537),
        ("1.5G", 1500),
        (0, 0),
    ],
)
def test_a_bandwidth_is_rounded_up_to_whole_megabits(quantity: int | str, expected: int) -> None:
    assert mbit(quantity) == expected


@pytest.mark.parametrize(
    "quantity", [-1, "", "1.5", "500k", "1T", "1e6", "1GB", "..5G", "G", "-1G"]
)
def test_what_is_no_bandwidth_is_refused(quantity: int | str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        mbit(quantity)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"policies": []}, "spec: has neither policies nor selectors; say whose traffic it takes"),
        (
            {"policies": [{"snat": True}]},
            "spec.policies[0]: names no source; give ipBlocks or subnets",
        ),
        (
            {"policies": [{"ipBlocks": ["10.0.0.0/8", "10.0.0.0/33"]}]},
            (
                "spec.policies[0].ipBlocks[1]: '10.0.0.0/33' is no network; "
                "give an address or ADDRESS/LENGTH"
            ),
        ),
        (
            {"bfd": {"enabled": True, "multiplier": 300}},
            (
                "spec.bfd.multiplier: '300' is out of range; "
                "give 1 to 255: a BFD packet has 8 bits for it"
            ),
        ),
        (
            {"bfd": {"enabled": True, "minTX": 90_000}},
            (
                "spec.bfd.minTX: '90000' is out of range; "
                "give 1 to 60000 ms; slower failures are found by the kubelet"
            ),
        ),
        (
            {"bfd": {"enabled": True, "minRX": 60_000, "multiplier": 60}},
            (
                "spec.bfd: would notice a failure after 3600 s; "
                "reduce multiplier, minTX or minRX to at most 600 s"
            ),
        ),
        (
            {"replicas": 3, "internalIPs": ["10.0.0.1", "10.0.0.2"]},
            (
                "spec.internalIPs: '2' are too few for 3 replicas; "
                "list 3 or more, or lower spec.replicas"
            ),
        ),
        (
            {"externalIPs": ["10.0.0.1,10.0.0.2"]},
            (
                "spec.externalIPs[0]: '10.0.0.1,10.0.0.2' is no address; "
                "give one address, or an IPv4 and an IPv6 one with a comma between"
            ),
        ),
        (
            {"externalIPs": ["10.0.0.1"], "externalIPPool": "pool"},
            "spec.externalIPPool: 'pool' is given beside externalIPs; give one of both",
        ),
        (
            {"bandwidth": {"ingress": "1T"}},
            (
                "spec.bandwidth.ingress: '1T' is no bandwidth; "
                "give whole Mbit/s, or bit/s with M, Mi, G or Gi"
            ),
        ),
        (
            {"policies": [{"ipBlocks": ["10.0.0.1/8", "10.0.0.1"]}]},
            (
                "spec.policies[0].ipBlocks[0]: '10.0.0.1/8' has bits behind its length; "
                "write 10.0.0.0/8"
            ),
        ),
        (
            {"internalIPs": ["192.168.0.2", "fd00::2"]},
            (
                "spec.internalIPs[1]: 'fd00::2' has no IPv4 address, and a policy has IPv4 "
                "sources; write both, with a comma between"
            ),
        ),
        (
            {"externalIPs": ["fd00::2"]},
            (
                "spec.externalIPs[0]: 'fd00::2' has no IPv4 address, and a policy has IPv4 "
                "sources; write both, with a comma between"
            ),
        ),
        (
            {"bandwidth": {"egress": "35G"}},
            (
                "spec.bandwidth.egress: '35G' is more than a rate can be; "
                "give at most 34359 Mbit/s, or 0 for no limit"
            ),
        ),
        (
            {
                "selectors": [
                    {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}
                ]
            },
            (
                "spec.selectors[0].podSelector.matchExpressions[0].values: is empty, "
                "and In needs values; list them"
            ),
        ),
        (
            {
                "nodeSelector": [
                    {"matchFields": [{"key": "a", "operator": "Exists", "values": ["b"]}]}
                ]
            },
            (
                "spec.nodeSelector[0].matchFields[0].values: is given, and Exists has none; "
                "leave it out"
            ),
        ),
        (
            {"bgpConf": "peering"},
            (
                "spec.bgpConf: 'peering' asks for what vegd does not do; "
                "leave this gateway to Kube-OVN's own controller and image"
            ),
        ),
    ],
)
def test_a_mistake_is_told_by_field_value_and_remedy(spec: dict[str, Any], complaint: str) -> None:
    assert [str(fault) for fault in gateway_faults(_gateway(**spec))] == [complaint]


def test_a_gateway_without_mistakes_has_no_faults() -> None:
    assert gateway_faults(_gateway()) == ()


def test_what_is_not_shown_outside_needs_no_address_there() -> None:
    """The families of `externalIPs` are those of the policies with SNAT."""
    policies = [{"ipBlocks": ["fd00::/64"]}, {"snat": True, "ipBlocks": ["10.0.0.0/8"]}]
    assert gateway_faults(_gateway(policies=policies, externalIPs=["172.17.0.2"])) == ()


def test_timers_count_for_nothing_without_bfd() -> None:
    """Kube-OVN's definition lets a multiplier of 300 pass."""
    assert gateway_faults(_gateway(bfd={"enabled": False, "multiplier": 300})) == ()


def test_what_has_the_wrong_shape_is_told_with_its_path() -> None:
    with pytest.raises(Malformed, match=r"EgressGateway: Expected `int`.*\$\.spec\.replicas"):
        _gateway(replicas="two")


def test_a_field_that_is_null_is_one_that_is_not_there() -> None:
    assert _gateway(bfd=None, selectors=None, image=None) == _gateway()


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": "1"}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {}, False),
        (
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]},
            {"a": "2"},
            True,
        ),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        (
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]},
            {"a": "1"},
            False,
        ),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
    ],
)
def test_a_label_selector_selects_as_kubernetes_does(
    selector: dict[str, Any], labels: dict[str, str], expected: bool
) -> None:
    assert parse(LabelSelector, selector).matches(labels) is expected


def test_namespace_and_pod_have_to_match_both() -> None:
    selector = parse(
        Selector,
        {
            "namespaceSelector": {"matchLabels": {"team": "a"}},
            "podSelector": {"matchLabels": {"app": "web"}},
        },
    )
    assert selector.matches({"team": "a"}, {"app": "web"})
    assert not selector.matches({"team": "b"}, {"app": "web"})
    assert not selector.matches({"team": "a"}, {"app": "db"})
