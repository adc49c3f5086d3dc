"""The network of a lab's cluster, with the installed OVN: packets between pods on two nodes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster_network import (
    Pods,
    ask,
    network_of,
    sessions_move_to_the_chassis_that_is_left,
    until,
)
from vegd.lab import namespaces
from vegd.lab.cluster.network import MTU, Network
from vegd.lab.errors import BadRequest
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    with network_of(INSTALLED, "node1", "node2") as made:
        yield made


def test_pods_reach_their_vpc_and_the_outside_and_nothing_else(pods: Pods) -> None:
    one = pods.add("one", "node1", "subnet1", 11, net1=True)
    pods.add("two", "node2", "subnet2", 12, net1=True)
    # The same network in another VPC, on both nodes.
    other = pods.add("three", "node1", "subnet3", 12)
    pods.add("four", "node2", "subnet3", 13)
    for target, size, source in (
        ("192.168.2.12", MTU, "192.168.0.11"),
        ("fd00:2::12", MTU, "fd00::11"),
        ("172.17.0.12", 1500, "172.17.0.11"),
        ("fd17::12", 1500, "fd17::11"),
        ("172.17.0.1", 1500, "172.17.0.11"),
        ("fd17::1", 1500, "fd17::11"),
    ):
        assert until(lambda target=target, size=size: ask(one, target, size)) == [source]
    for target, source in (("192.168.2.13", "192.168.2.12"), ("fd00:2::13", "fd00:2::12")):
        assert until(lambda target=target: ask(other, target)) == [source]
        assert not ask(one, target), "of another VPC"
    pods.network.detach("two.default")
    assert not ask(one, "192.168.2.12")
    assert pods.network.subnets() == {"subnet1": 1, "subnet2": 0, "subnet3": 2}
    limits_are_as_the_pod_sees_them(pods, other)


def limits_are_as_the_pod_sees_them(pods: Pods, namespace: str) -> None:
    """A pod that sends 200 large datagrams at once to one that answers each."""

    def answers() -> int:
        return len(ask(namespace, "192.168.2.13", MTU, 100))

    until(lambda: answers() >= 90)
    for ingress, egress in ((0, 1), (1, 0)):
        pods.network.set_rate("three.default", ingress, egress)
        until(lambda: answers() < 60)
    pods.network.set_rate("three.default", 0, 0)
    until(lambda: answers() >= 90)


async def test_bfd_port_moves_to_the_chassis_that_is_left(pods: Pods, tmp_path: Path) -> None:
    await sessions_move_to_the_chassis_that_is_left(pods, tmp_path / "engine")


def test_subnets_change_and_go(pods: Pods) -> None:
    network = pods.network
    network.ensure_vpc("vpc9")
    network.ensure_subnet("vpc9", "s9", ["10.9.0.0/24", "fd09::/64"], ["10.9.0.1", "fd09::1"])
    network.ensure_subnet("vpc9", "s9", ["10.9.0.0/24"], ["10.9.0.254"])
    assert "10.9.0.254/24" in network.nbctl("show", "vpc9")
    assert network.nbctl("lr-policy-list", "vpc9").split()[2:] == [
        *("31000", "ip4.dst", "==", "10.9.0.0/24", "allow")
    ]
    routes = network.nbctl("lr-route-list", "vpc9")
    assert "10.9.0.254 src-ip" in routes
    assert "fd09" not in routes
    assert "vpc9" in network.vpcs()
    network.remove_subnet("s9")
    assert not network.nbctl("lr-policy-list", "vpc9").split()[2:]
    assert "src-ip" not in network.nbctl("lr-route-list", "vpc9")
    assert "port" not in network.nbctl("show", "vpc9")
    network.remove_vpc("vpc9")
    assert "vpc9" not in network.vpcs()
    with pytest.raises(BadRequest, match="node: there is no node 'node3'; the nodes are node1, n"):
        network.stop_node("node3")


def test_removed_by_another_process_nothing_is_left(tmp_path: Path) -> None:
    prefix = f"cr{os.getpid()}"
    directory = tmp_path / "network"
    network = Network(prefix, directory, INSTALLED)
    try:
        network.create(["node1"])
        assert len([each for each in namespaces.names() if each.startswith(prefix)]) == 4
    finally:
        Network(prefix, directory, INSTALLED).remove()
    assert not [each for each in namespaces.names() if each.startswith(prefix)]
    assert not directory.exists()
    until(lambda: not _processes_that_name(str(directory)))
    network.remove()


def _processes_that_name(text: str) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in each.read_text(errors="replace"):
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found
