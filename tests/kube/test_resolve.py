"""What a gateway names is looked up; what is missing is told, all at once."""

from dataclasses import replace
from typing import Any

import pytest

from kube.resolve import Resolution, World, resolve
from kube.schema import EgressGateway, parse
from tests.support import recorded


def _resolve(world: World | None = None, **spec: Any) -> Resolution:
    base: dict[str, Any] = {
        "vpc": "vpc1",
        "internalSubnet": "subnet1",
        "externalSubnet": "macvlan1",
        "policies": [{"snat": True, "ipBlocks": ["192.168.0.0/24"]}],
    }
    document = {"metadata": {"name": "g", "namespace": "default"}, "spec": base | spec}
    return resolve(parse(EgressGateway, document), world or recorded.world(), "vegd:1")


def _without_port() -> World:
    world = recorded.world()
    return replace(world, vpcs={**world.vpcs, "vpc1": recorded.vpc("vpc1")})


def _odd_provider(provider: str) -> World:
    world = recorded.world()
    odd = recorded.subnet("macvlan1", "172.17.0.0/16", "172.17.0.1", provider)
    return replace(world, subnets={**world.subnets, "macvlan1": odd})


@pytest.mark.parametrize(
    ("world", "spec", "reason", "complaint"),
    [
        (
            None,
            {"vpc": "nowhere"},
            "VpcNotFound",
            "spec.vpc: 'nowhere' is no Vpc; create it or name another",
        ),
        (
            None,
            {"externalSubnet": "nowhere"},
            "SubnetNotFound",
            "spec.externalSubnet: 'nowhere' is no Subnet; create it or name another",
        ),
        (
            None,
            {"internalSubnet": ""},
            "SubnetNotFound",
            (
                "spec.internalSubnet: is not given, and the Vpc vpc1 has no default Subnet; "
                "name a Subnet of that Vpc"
            ),
        ),
        (
            None,
            {"policies": [{"subnets": ["subnet1", "nowhere"]}]},
            "SubnetNotFound",
            "spec.policies[0].subnets[1]: 'nowhere' is no Subnet; create it or name another",
        ),
        (
            None,
            {"internalIPPool": "pool-out"},
            "InvalidSpec",
            (
                "spec.internalIPPool: 'pool-out' is a pool of the Subnet macvlan1; "
                "name a pool of subnet1"
            ),
        ),
        (
            None,
            {"externalIPPool": "nowhere"},
            "IPPoolNotFound",
            "spec.externalIPPool: 'nowhere' is no IPPool; create it or name another",
        ),
        (
            None,
            {"externalSubnet": "subnet1"},
            "InvalidSpec",
            (
                "spec.externalSubnet: 'subnet1' is the internal Subnet as well; "
                "name the Subnet of the network outside"
            ),
        ),
        (
            _odd_provider("ovn"),
            {},
            "NetworkNotFound",
            (
                "spec.externalSubnet: 'macvlan1' has the provider 'ovn', which names no "
                "attachment; give the Subnet the provider <NetworkAttachmentDefinition>.<namespace>"
            ),
        ),
        (
            _odd_provider("eth9.default"),
            {},
            "NetworkNotFound",
            (
                "spec.externalSubnet: 'macvlan1' has the provider 'eth9.default', and there is no "
                "such attachment; create the NetworkAttachmentDefinition default/eth9"
            ),
        ),
        (
            _without_port(),
            {"bfd": {"enabled": True}},
            "VpcBfdPortNotEnabled",
            (
                "spec.bfd.enabled: 'true' asks for BFD, and the Vpc vpc1 has no BFD port; "
                "set spec.bfdPort.enabled and spec.bfdPort.ip of the Vpc"
            ),
        ),
        (
            None,
            {"vpc": "vpc3", "bfd": {"enabled": True}},
            "VpcBfdPortNotEnabled",
            (
                "spec.bfd.enabled: 'true' asks for BFD, and the Vpc's BFD port fdff::2 has no "
                "address of a family of the Subnet subnet1; "
                "give spec.bfdPort.ip of the Vpc an address of that family"
            ),
        ),
        (
            None,
            {"policies": [{"ipBlocks": ["fd00::/64"]}]},
            "FamilyMissing",
            (
                "spec.policies[0]: 'fd00::/64' has sources of families only that subnet1 lacks; "
                "use an internal Subnet of that family"
            ),
        ),
    ],
)
def test_what_is_missing_is_told(
    world: World | None, spec: dict[str, Any], reason: str, complaint: str
) -> None:
    found = _resolve(world, **spec)
    assert found.workload is None
    assert (complaint, reason) in [(str(fault), fault.reason) for fault in found.faults]


def test_all_mistakes_are_told_at_once() -> None:
    found = _resolve(externalSubnet="nowhere", internalIPPool="nowhere", bandwidth={"egress": "1T"})
    paths = {fault.path for fault in found.faults}
    assert paths == {"spec.externalSubnet", "spec.internalIPPool", "spec.bandwidth.egress"}


def test_the_default_vpc_and_its_default_subnet_need_not_be_named() -> None:
    found = _resolve(vpc="", internalSubnet="", policies=[{"subnets": ["ovn-default"]}])
    assert found.workload is not None
    assert found.router == "ovn-cluster"
    assert found.workload.internal.subnet == "ovn-default"
    assert found.workload.policies[0].ip_blocks == ("10.16.0.0/16",)


def test_a_family_without_a_way_out_is_noted() -> None:
    found = _resolve(vpc="vpc2", internalSubnet="subnet2")
    assert found.notes == (
        "IPv6 is not forwarded: the external Subnet macvlan1 has no IPv6 gateway",
    )


def test_a_family_that_bfd_does_not_watch_is_noted() -> None:
    found = _resolve(
        vpc="vpc4", internalSubnet="subnet4", externalSubnet="macvlan2", bfd={"enabled": True}
    )
    assert found.notes == ("IPv6 is not watched by BFD: the VPC's BFD port has no IPv6 address",)
    assert found.workload is not None
    assert found.workload.bfd is not None
    assert found.workload.bfd.peers == ("10.255.255.253",)


def test_selected_pods_are_snated_whatever_their_address_and_policies_come_first() -> None:
    found = _resolve(
        policies=[{"snat": False, "ipBlocks": ["192.168.0.128/25"]}],
        selectors=[{"podSelector": {"matchLabels": {"app": "web"}}}],
    )
    assert found.workload is not None
    assert [(each.snat, each.ip_blocks) for each in found.workload.policies] == [
        (False, ("192.168.0.128/25",)),
        (True, ("0.0.0.0/0",)),
    ]


def test_an_address_is_a_network_of_its_own() -> None:
    found = _resolve(policies=[{"ipBlocks": ["192.168.0.7", "192.168.0.7/32"]}])
    assert found.workload is not None
    assert found.workload.policies[0].ip_blocks == ("192.168.0.7/32",)


def test_ovn_is_told_the_sources_as_they_are_written() -> None:
    found = _resolve(policies=[{"ipBlocks": ["192.168.0.7"], "subnets": ["subnet2"]}])
    both = {"192.168.1.0/24", "fd00:192:168:1::/112"}
    assert found.sources == {"192.168.0.7", *both}
