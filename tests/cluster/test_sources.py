"""Whose packets are led out, and as whom they are seen: selectors, no SNAT, IPv6 alone; by real
packets, with OVN 25.03.

The other kinds of sources, with both versions, are in the walkthrough and in the story.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster_lab import (
    World,
    client,
    cluster,
    egress_gateway,
    eventually,
    kube_ovn,
    outside,
)
from tests.support.ovn_versions import trixie
from vegd.lab import namespaces

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

_OUTSIDE = "172.17.0.1"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with cluster(trixie()) as made:
        yield made


def _external(world: World, name: str) -> set[str]:
    status = eventually(lambda: _ready_status(world, name))
    return {address for each in status["externalIPs"] for address in each.split(",")}


def _ready_status(world: World, name: str) -> dict[str, Any]:
    status: dict[str, Any] = world.get("veg", name).get("status", {})
    return status if status.get("ready") else {}


def _seen(world: World, pod: str, host: str = _OUTSIDE) -> str:
    return world.inside(pod, "curl", "-s", "--max-time", "3", f"http://{host}/")


def test_only_selected_pods_are_led_out_and_a_label_is_enough(world: World) -> None:
    selector = {"podSelector": {"matchLabels": {"egress": "yes"}}}
    world.apply(egress_gateway("chosen", selectors=[selector]), client("one"), client("two"))
    for pod in ("one", "two"):
        world.until_ready(pod)
    external = _external(world, "chosen")
    assert _seen(world, "one") == _seen(world, "two") == ""
    world.lab.kubectl("label", "pod", "one", "egress=yes")
    assert eventually(lambda: _seen(world, "one")) in external
    assert _seen(world, "two") == ""
    world.lab.kubectl("label", "pod", "one", "egress-")
    eventually(lambda: _seen(world, "one") == "")
    world.delete("veg", "chosen")


def test_without_snat_the_outside_sees_the_pod_itself(world: World) -> None:
    world.apply(
        egress_gateway("plain", policies=[{"snat": False, "subnets": ["ovn-default"]}]),
        client("plain"),
    )
    address = world.until_ready("plain")["status"]["podIP"]
    (external,) = _external(world, "plain")
    namespaces.ip(world.lab.network.outside, [f"route replace 10.16.0.0/16 via {external}"])
    assert eventually(lambda: _seen(world, "plain")) == address
    world.delete("veg", "plain")
    eventually(lambda: _seen(world, "plain") == "")


def test_a_vpc_of_ipv6_alone_with_bfd(world: World) -> None:
    world.apply(
        *outside("six", "fd19::/64", "fd19::1"),
        kube_ovn("Vpc", "vpc6", bfdPort={"enabled": True, "ip": "fdff::6"}),
        kube_ovn("Subnet", "inside6", cidrBlock="fd06::/64", vpc="vpc6"),
        client("six", annotations={"ovn.kubernetes.io/logical_switch": "inside6"}),
        egress_gateway(
            "gateway6",
            vpc="vpc6",
            internalSubnet="inside6",
            externalSubnet="six",
            replicas=2,
            bfd={"enabled": True},
            policies=[{"snat": True, "subnets": ["inside6"]}],
        ),
    )
    world.until_ready("six")
    external = _external(world, "gateway6")
    assert len(external) == 2
    (pod, *_) = world.pods("ovn.kubernetes.io/vpc-egress-gateway=gateway6")
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    # OpenBFDD's words, as the document has them, and nothing that would change what is configured.
    text = f"There are 1 sessions:\nSession 1\n id=1 local={address} (a) remote=fdff::6 state=Up"
    status = ("bfdd-control", "status")
    eventually(lambda: world.inside(name, *status, container="gateway") == text)
    assert not world.inside(name, "bfdd-control", "block", "fdff::6", container="gateway")
    assert eventually(lambda: _seen(world, "six", "[fd19::1]")) in external
