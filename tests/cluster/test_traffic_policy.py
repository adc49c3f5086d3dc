"""trafficPolicy: on which node the gateway is that leads a client's packets out; by real packets of
both families, with both versions of OVN; what the controller alone decides, with one of them.

The nodes' port groups are the lab's, as Kube-OVN keeps them (see `vegd.lab.cluster.logical`).
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

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
from tests.support.kubectl_vegd import kubectl_vegd
from tests.support.ovn_versions import trixie
from vegd.lab.cluster.hands import Hands
from vegd.lab.ovn_programs import INSTALLED

# The root of the other version takes a minute and a half of it where it is not there yet.
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

_OUTSIDE = ("172.18.0.1", "[fd18::1]")
_NODES = {"node1", "node2"}
_FLOWS = 24
"""New connections of each family: chance takes all of them the same way once in 8 million times."""


class Led(NamedTuple):
    """The nodes of the gateways that a client's connections went by, by family."""

    ipv4: set[str]
    ipv6: set[str]


_BOTH = Led(_NODES, _NODES)


@pytest.fixture(scope="module", params=["installed", "25.03"])
def world(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[World]:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        programs = INSTALLED if request.param == "installed" else trixie()
    with cluster(programs) as made:
        made.apply(
            *outside("outside", "172.18.0.0/16,fd18::/64", "172.18.0.1,fd18::1"),
            kube_ovn("Subnet", "both", cidrBlock="10.20.0.0/16,fd20::/64"),
        )
        yield made


def _clients(world: World, subnet: str) -> dict[str, str]:
    """A client pod of a subnet on each node: node by pod."""
    pods = {f"{subnet}-{node}": node for node in sorted(_NODES)}
    for pod, node in pods.items():
        _make_client(world, pod, subnet, node)
    return pods


def _make_client(world: World, pod: str, subnet: str, node: str) -> None:
    annotations = {"ovn.kubernetes.io/logical_switch": subnet}
    world.apply(client(pod, annotations=annotations, nodeName=node))
    world.until_ready(pod)


def _gateway(world: World, name: str, subnet: str, **spec: object) -> Hands:
    """A gateway with a pod on each node, as the usual anti-affinity has it."""
    policies = [{"snat": True, "subnets": [subnet]}]
    world.apply(
        egress_gateway(
            name,
            replicas=2,
            internalSubnet=subnet,
            externalSubnet="outside",
            policies=policies,
            **spec,
        )
    )
    hands = Hands(world.lab, name, name, {})
    eventually(lambda: world.get("veg", name).get("status", {}).get("ready"))
    assert {pod["spec"]["nodeName"] for pod in hands.pods()} == _NODES
    return hands


def _led(world: World, hands: Hands, pod: str, flows: int = _FLOWS) -> Led:
    """Where new connections of a client go; empty if any of them is not answered."""
    nodes = {
        address: str(each["spec"]["nodeName"])
        for each in hands.pods()
        for address in hands.external_of(each)
    }
    found = []
    for host in _OUTSIDE:
        asked = ("-H", "Connection: close", f"http://{host}/[1-{flows}]")
        seen = world.inside(pod, "curl", "-s", "--max-time", "3", *asked).split()
        found.append({nodes.get(each, each) for each in seen} if len(seen) == flows else set())
    return Led(*found)


def _until_led(world: World, hands: Hands, wanted: dict[str, Led]) -> None:
    """Wait until each client's connections go as wanted, and so do ten times as many."""
    eventually(lambda: {pod: _led(world, hands, pod) for pod in wanted} == wanted)
    for pod, way in wanted.items():
        assert _led(world, hands, pod, 10 * _FLOWS) == way, pod


def _own(pods: dict[str, str]) -> dict[str, Led]:
    """Each client by the gateway of its own node."""
    return {pod: Led({node}, {node}) for pod, node in pods.items()}


def _note(world: World, name: str) -> str:
    """The message of the condition Degraded."""
    conditions = world.get("veg", name).get("status", {}).get("conditions", ())
    return next(
        (str(each.get("message", "")) for each in conditions if each["type"] == "Degraded"), ""
    )


def _traced(world: World, pod: str) -> tuple[dict[str, Any], set[str]]:
    """What `kubectl vegd trace` says, and finds in OVN to be as it says; and on which nodes the
    next hops are that OVN has."""
    remote = f"--ovn-nb={world.lab.network.northbound}"
    said = kubectl_vegd(world.lab.kubeconfig, "trace", pod, _OUTSIDE[0], remote, "--json")
    assert said.status == 0, said
    found = json.loads(said.out)
    gateway = found["gateway"].partition("/")[2]
    pods = Hands(world.lab, gateway, gateway, {}).pods()
    nodes = {str(each["status"]["podIPs"][0]["ip"]): each["spec"]["nodeName"] for each in pods}
    return found, {nodes[each["address"]] for each in found["ovn"]["nextHops"]}


def test_local_leads_each_client_to_the_gateway_of_its_own_node(world: World) -> None:
    clients = _clients(world, "both")
    hands = _gateway(world, "near", "both")
    pods = [pod["metadata"]["uid"] for pod in hands.pods()]
    _until_led(world, hands, dict.fromkeys(clients, _BOTH))
    hands.change(trafficPolicy="Local")
    _until_led(world, hands, _own(clients))
    hands.change(trafficPolicy="Cluster")
    _until_led(world, hands, dict.fromkeys(clients, _BOTH))
    hands.change(trafficPolicy="Local")
    _until_led(world, hands, _own(clients))
    assert [pod["metadata"]["uid"] for pod in hands.pods()] == pods, "no pod is replaced for it"
    assert not _note(world, "near")
    for pod, node in clients.items():
        found, nodes = _traced(world, pod)
        assert (found["policy"]["priority"], nodes, found["findings"]) == (29150, {node}, [])
    late = {"late": "node2"}
    _make_client(world, "late", "both", "node2")
    _until_led(world, hands, _own(late))

    # Without one on its node a client goes to any.
    hands.kubectl("cordon", "node1")
    (gone,) = (pod for pod in hands.pods() if pod["spec"]["nodeName"] == "node1")
    hands.kubectl("delete", "pod", gone["metadata"]["name"], "--wait=false")
    _until_led(world, hands, dict.fromkeys(clients, Led({"node2"}, {"node2"})))
    hands.kubectl("uncordon", "node1")
    _until_led(world, hands, _own(clients))
    world.delete("veg", "near")


@pytest.mark.parametrize("world", ["installed"], indirect=True)
def test_in_another_vpc_local_has_no_effect_and_that_is_told(world: World) -> None:
    world.apply(
        kube_ovn("Vpc", "vpc1"),
        kube_ovn("Subnet", "inside", cidrBlock="192.168.0.0/24,fd00::/64", vpc="vpc1"),
    )
    clients = _clients(world, "inside")
    hands = _gateway(world, "custom", "inside", vpc="vpc1", trafficPolicy="Local")
    _until_led(world, hands, dict.fromkeys(clients, _BOTH))
    for family in ("IPv4", "IPv6"):
        told = f"{family} packets of all others go to any gateway, also with trafficPolicy Local"
        assert told in _note(world, "custom")
    found, nodes = _traced(world, "inside-node1")
    assert (found["policy"]["priority"], nodes, found["findings"]) == (29100, _NODES, [])
    world.delete("veg", "custom")


@pytest.mark.parametrize("world", ["25.03"], indirect=True)
def test_with_bfd_static_routes_know_no_nodes_and_that_is_told(world: World) -> None:
    clients = _clients(world, "both")
    port = {"bfdPort": {"enabled": True, "ip": "10.255.255.255,fdff::1"}}
    world.lab.kubectl(
        "patch", "vpc", "ovn-cluster", "--type=merge", "-p", json.dumps({"spec": port})
    )
    hands = _gateway(world, "watched", "both", bfd={"enabled": True}, trafficPolicy="Local")
    _until_led(world, hands, dict.fromkeys(clients, _BOTH))
    for family in ("IPv4", "IPv6"):
        told = f"{family} packets go by static routes, which know no nodes: trafficPolicy Local has"
        assert told in _note(world, "watched")
    found, nodes = _traced(world, "both-node1")
    assert (nodes, len(found["leaves"]["shownAs"])) == (_NODES, 2)
    assert [each["severity"] for each in found["findings"]] == ["NOTE"]
    world.delete("veg", "watched")
