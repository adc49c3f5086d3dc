"""What Kube-OVN makes of a Subnet: what is left out, what is wrong, what is free."""

import pytest

from kube.objects import Object
from vegd.lab.cluster import subnets


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (
            {"cidrBlock": "10.1.0.0/24"},
            {
                "protocol": "IPv4",
                "provider": "ovn",
                "gateway": "10.1.0.1",
                "vpc": "ovn-cluster",
                "gatewayType": "distributed",
                "excludeIps": ["10.1.0.1"],
            },
        ),
        (
            {"cidrBlock": "10.1.0.0/24,fd00::/64", "gateway": "10.1.0.9,fd00::9", "vpc": "vpc1"},
            {"protocol": "Dual", "vpc": "vpc1", "excludeIps": ["10.1.0.9", "fd00::9"]},
        ),
        (
            {"cidrBlock": "fd00::/64", "excludeIps": ["fd00::1..fd00::ff"]},
            {"protocol": "IPv6", "gateway": "fd00::1", "excludeIps": ["fd00::1..fd00::ff"]},
        ),
    ],
)
def test_what_is_left_out_is_filled_in(spec: Object, wanted: Object) -> None:
    done = subnets.completed(spec)
    assert done == done | spec | wanted
    assert subnets.completed(done) == done


def test_a_network_outside_has_no_vpc() -> None:
    done = subnets.completed({"cidrBlock": "172.17.0.0/16", "provider": "eth1.default"})
    assert "vpc" not in done
    shape = subnets.shape(done)
    assert shape.vpc == ""
    assert subnets.with_lengths(shape) == ("172.17.0.1/16",)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "spec.cidrBlock: is empty; write a network, for example 10.17.0.0/16"),
        (
            {"cidrBlock": "10.1.0.0/24", "gateway": "10.2.0.1"},
            "spec.gateway: 10.2.0.1 is not in 10.1.0.0/24; use an address of it",
        ),
    ],
)
def test_what_is_wrong_is_named(spec: Object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        subnets.shape(subnets.completed(spec))


def test_free_addresses_of_each_family() -> None:
    spec = subnets.completed(
        {"cidrBlock": "10.1.0.0/24,fd00::/120", "excludeIps": ["10.1.0.1..10.1.0.10"]}
    )
    status = subnets.status(spec, 3)
    assert status["v4availableIPs"] == 254 - 10 - 3
    assert status["v6availableIPs"] == 254 - 1 - 3
    assert status["v4usingIPs"] == status["v6usingIPs"] == 3
    huge = subnets.status(subnets.completed({"cidrBlock": "fd00::/64"}), 0)
    assert huge["v6availableIPs"] == float(2**64)


def test_the_default_switch_of_a_vpc() -> None:
    given = [("b", {"vpc": "vpc1"}), ("a", {"vpc": "vpc1"}), ("c", {"vpc": "vpc2"})]
    own = [(name, subnets.completed(spec | {"cidrBlock": "10.1.0.0/24"})) for name, spec in given]
    status = subnets.vpc_status("vpc1", {"defaultSubnet": "b"}, own)
    assert (status["subnets"], status["defaultLogicalSwitch"]) == (["a", "b"], "b")
    assert subnets.vpc_status("vpc1", {"defaultSubnet": "c"}, own)["defaultLogicalSwitch"] == ""
