"""What is written of a pod's interfaces: as Kube-OVN's controller and Multus wrote it."""

import json
from ipaddress import ip_interface
from typing import Any

import pytest

from tests.support.pods.recorded import Recorded, recordings
from vegd.lab.cluster import cni
from vegd.lab.cluster.ipam import Subnet

_RECORDED = {
    "eth1.default.kubernetes.io/allocated": "true",
    "eth1.default.kubernetes.io/cidr": "172.17.0.0/16",
    "eth1.default.kubernetes.io/gateway": "172.17.0.1",
    "eth1.default.kubernetes.io/ip_address": "172.17.0.14",
    "ovn.kubernetes.io/allocated": "true",
    "ovn.kubernetes.io/cidr": "192.168.0.0/24",
    "ovn.kubernetes.io/gateway": "192.168.0.1",
    "ovn.kubernetes.io/ip_address": "192.168.0.3",
    "ovn.kubernetes.io/logical_router": "vpc1",
    "ovn.kubernetes.io/logical_switch": "subnet1",
    "ovn.kubernetes.io/mac_address": "6e:ae:23:35:20:2c",
    "ovn.kubernetes.io/pod_nic_type": "veth-pair",
    "ovn.kubernetes.io/routed": "true",
}
"""Of ``master/custom-vpc-bfd/replicas-2``, without what the pod template has and Multus' own."""


def objects(*subnets: dict[str, Any], network: str = "default/eth1") -> cni.Objects:
    """Subnets, and an attachment whose provider is its name."""
    parsed = [
        Subnet.parse({"metadata": {"name": each["name"]}, "spec": each}, "ovn-cluster")
        for each in subnets
    ]
    namespace, _, name = network.partition("/")
    config = json.dumps({"type": "macvlan", "ipam": {"provider": f"{name}.{namespace}"}})
    return cni.Objects(subnets={each.name: each for each in parsed}, attachments={network: config})


def wired(link: cni.Link, mac: str, *addresses: str) -> cni.Wired:
    """The interface as it has been made."""
    fields = (link.interface, link.subnet, link.asked, link.routes, link.network, link.mode)
    return cni.Wired(*fields, mac, tuple(map(ip_interface, addresses)))


_SUBNET1 = {
    "name": "subnet1",
    "vpc": "vpc1",
    "cidrBlock": "192.168.0.0/24",
    "gateway": "192.168.0.1",
}
_MACVLAN1 = {
    "name": "macvlan1",
    "provider": "eth1.default",
    "cidrBlock": "172.17.0.0/16",
    "gateway": "172.17.0.1",
}


def test_a_gateways_pod_gets_the_annotations_that_kube_ovn_wrote() -> None:
    given = objects(_SUBNET1, _MACVLAN1)
    asked = {
        "ovn.kubernetes.io/logical_switch": "subnet1",
        "k8s.v1.cni.cncf.io/networks": "default/eth1",
        "eth1.default.kubernetes.io/routes": '[{"dst":"0.0.0.0/0","gw":"172.17.0.1"}]',
    }
    inside, outside = cni.links(asked, "default", given)
    assert outside.routes == (("0.0.0.0/0", "172.17.0.1"),)
    made = (
        wired(inside, "6e:ae:23:35:20:2c", "192.168.0.3/24"),
        wired(outside, "02:00:00:00:00:01", "172.17.0.14/16"),
    )
    told = cni.annotations_of(made, given)
    del told["k8s.v1.cni.cncf.io/network-status"]
    assert told == _RECORDED


@pytest.mark.parametrize("case", sorted(recordings()))
def test_the_status_of_the_networks_is_as_multus_writes_it(case: str) -> None:
    pod: Recorded = recordings()[case]
    annotations = dict(pod.facts.annotations)
    status = json.loads(annotations.pop("k8s.v1.cni.cncf.io/network-status"))
    network = annotations["k8s.v1.cni.cncf.io/networks"]
    sides = (pod.internal, pod.external)
    gateways = (status[0]["gateway"], [])
    switch = annotations["ovn.kubernetes.io/logical_switch"]
    namespace, _, name = network.partition("/")
    given = objects(
        *(
            {
                "name": subnet,
                "provider": provider,
                "cidrBlock": ",".join(str(each.network) for each in side),
                "gateway": ",".join(hops),
            }
            for subnet, provider, side, hops in zip(
                (switch, "outside"), ("ovn", f"{name}.{namespace}"), sides, gateways, strict=True
            )
        ),
        network=network,
    )
    made = tuple(
        wired(link, told["mac"], *map(str, side))
        for link, told, side in zip(
            cni.links(annotations, "default", given), status, sides, strict=True
        )
    )
    told = cni.annotations_of(made, given)
    assert json.loads(told["k8s.v1.cni.cncf.io/network-status"]) == status


@pytest.mark.parametrize(
    ("annotations", "missing"),
    [
        ({"ovn.kubernetes.io/logical_switch": "subnet9"}, "Subnet subnet9"),
        ({"k8s.v1.cni.cncf.io/networks": "eth9"}, "NetworkAttachmentDefinition default/eth9"),
        ({"k8s.v1.cni.cncf.io/networks": "eth1"}, "no Subnet has the provider eth1.default"),
    ],
)
def test_what_is_missing_is_named(annotations: dict[str, str], missing: str) -> None:
    given = objects({**_SUBNET1, "name": "ovn-default"})
    with pytest.raises(cni.NotYet, match=missing):
        list(cni.links(annotations, "default", given))


def test_fixed_addresses_come_before_the_pool_and_what_was_given_is_kept() -> None:
    given = objects({**_SUBNET1, "name": "ovn-default"})
    name = "ovn.kubernetes.io"
    (link,) = cni.links({f"{name}/ip_pool": "192.168.0.9"}, "default", given)
    assert link.asked == "192.168.0.9"
    (link,) = cni.links({f"{name}/ip_address": "192.168.0.8"}, "default", given)
    assert (link.asked, cni.allocated({}, link)) == ("192.168.0.8", ())
    has = {f"{name}/allocated": "true", f"{name}/ip_address": "192.168.0.8,fd00::8"}
    assert cni.allocated(has, link) == ("192.168.0.8", "fd00::8")
