"""What Kube-OVN does with Vpc and Subnet objects, in the lab: a real API server and a real OVN."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.client import Client
from tests.support.cluster import Json
from vegd.lab import namespaces
from vegd.lab.cluster import kube_ovn
from vegd.lab.cluster.control_plane import ControlPlane, Refused
from vegd.lab.cluster.network import Network
from vegd.lab.ovn_programs import INSTALLED

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("definitions")]

_API = "/apis/kubeovn.io/v1"
_WAIT_S = 90.0


@pytest.fixture
def network() -> Iterator[Network]:
    prefix = f"ko{os.getpid()}"
    made = Network(prefix, Path("/run/vegd-lab") / prefix, INSTALLED)
    try:
        made.create([])
        yield made
    finally:
        made.remove()
        with contextlib.suppress(OSError):
            made.directory.parent.rmdir()


@pytest.fixture
def objects(control_plane: ControlPlane) -> Iterator["Objects"]:
    made = Objects(control_plane)
    yield made
    for each in ("subnets", "vpcs"):
        for item in control_plane.request("GET", f"{_API}/{each}")["items"]:
            made.delete(each, item["metadata"]["name"])


class Objects:
    """Subnets and VPCs of the API server."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def create(self, plural: str, name: str, **spec: Any) -> None:
        kind = {"vpcs": "Vpc", "subnets": "Subnet"}[plural]
        body = {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}}
        self.plane.request("POST", f"{_API}/{plural}", body | {"spec": spec})

    def delete(self, plural: str, name: str) -> None:
        self.plane.request("DELETE", f"{_API}/{plural}/{name}")

    def read(self, plural: str, name: str) -> Json:
        """The object; empty if there is none."""
        try:
            found: Json = self.plane.request("GET", f"{_API}/{plural}/{name}")
        except Refused:
            return {}
        return found

    def condition(self, subnet: str) -> tuple[str, str]:
        """Status and message of a subnet's condition `Ready`."""
        conditions = self.read("subnets", subnet).get("status", {}).get("conditions", ())
        found = ((c["status"], c["message"]) for c in conditions if c["type"] == "Ready")
        return next(found, ("", ""))


@contextlib.asynccontextmanager
async def running(plane: ControlPlane, network: Network) -> AsyncIterator[None]:
    async with await Client.connect(plane.kubeconfig) as client:
        task = asyncio.create_task(kube_ovn.run(client, network))
        try:
            yield
        finally:
            assert not task.done(), task
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(what: Callable[[], Any]) -> Any:
    """The first answer that is true."""
    async with asyncio.timeout(_WAIT_S):
        while not (answer := await asyncio.to_thread(what)):
            await asyncio.sleep(0.1)
    return answer


async def test_objects_become_the_network(
    control_plane: ControlPlane, network: Network, objects: Objects
) -> None:
    async with running(control_plane, network):
        await until(lambda: objects.condition("ovn-default")[0] == "True")
        await until(lambda: objects.read("vpcs", "ovn-cluster").get("status"))
        assert "ovn-cluster-ovn-default" in network.nbctl("show", "ovn-cluster")
        # As the document has them.
        objects.create("subnets", "subnet1", vpc="vpc1", protocol="IPv4", cidrBlock="10.1.0.0/24")
        await until(lambda: objects.condition("subnet1")[0] == "False")
        problem = objects.condition("subnet1")[1]
        assert problem == "spec.vpc: there is no Vpc vpc1; create it or name another"
        objects.create("vpcs", "vpc1")
        await until(lambda: objects.condition("subnet1")[0] == "True")
        shown_as_kube_ovn_shows_it(network, objects)
        await the_outside_has_its_gateway(network, objects)
        await wrong_subnets_are_told(objects)
        await others_may_be_away(control_plane, network, objects)
        objects.delete("subnets", "subnet1")
        objects.delete("vpcs", "vpc1")
        await until(lambda: network.vpcs() == {"ovn-cluster"})
        assert "subnet1" not in network.subnets()
    objects.delete("subnets", "late")
    async with running(control_plane, network):
        await until(lambda: set(network.subnets()) == {"ovn-default"})


def shown_as_kube_ovn_shows_it(network: Network, objects: Objects) -> None:
    spec = objects.read("subnets", "subnet1")["spec"]
    assert (spec["gateway"], spec["provider"], spec["excludeIps"]) == (
        *("10.1.0.1", "ovn"),
        ["10.1.0.1"],
    )
    status = objects.read("subnets", "subnet1")["status"]
    assert (status["v4availableIPs"], status["v4usingIPs"]) == (253, 0)
    assert objects.read("vpcs", "vpc1")["status"] == {
        "router": "vpc1",
        "standby": True,
        "default": False,
        "defaultLogicalSwitch": "",
        "subnets": ["subnet1"],
    }
    default = objects.read("vpcs", "ovn-cluster")["status"]
    assert (default["default"], default["defaultLogicalSwitch"]) == (True, "ovn-default")
    assert "10.1.0.1/24" in network.nbctl("show", "vpc1")
    assert "31000" in network.nbctl("lr-policy-list", "vpc1")
    assert "subnet1-vpc1" in network.nbctl("show", "subnet1")


async def the_outside_has_its_gateway(network: Network, objects: Objects) -> None:
    excluded = ["172.17.0.0..172.17.0.10"]
    network_outside = {"provider": "eth1.default", "cidrBlock": "172.17.0.0/16,fd17::/64"}
    objects.create("subnets", "macvlan1", excludeIps=excluded, **network_outside)
    await until(lambda: objects.condition("macvlan1")[0] == "True")
    addresses = namespaces.run(["ip", "-n", network.outside, "-brief", "address"])
    assert "172.17.0.1/16" in addresses
    assert "fd17::1/64" in addresses
    spec = objects.read("subnets", "macvlan1")["spec"]
    assert spec["protocol"] == "Dual"
    assert spec["excludeIps"] == ["172.17.0.0..172.17.0.10", "fd17::1"]
    assert "vpc" not in spec
    assert "macvlan1" not in network.subnets()


async def wrong_subnets_are_told(objects: Objects) -> None:
    """And do not keep others back."""
    objects.create("subnets", "wrong", cidrBlock="10.3.0.0/24", gateway="10.4.0.1")
    problem = await until(lambda: objects.condition("wrong")[1])
    assert problem == "spec.gateway: 10.4.0.1 is not in 10.3.0.0/24; use an address of it"


async def others_may_be_away(
    control_plane: ControlPlane, network: Network, objects: Objects
) -> None:
    await asyncio.to_thread(control_plane.stop_api_server)
    await asyncio.to_thread(network.stop_databases)
    # From this thread, with which it would die.
    control_plane.start_api_server()
    objects.create("subnets", "late", cidrBlock="10.5.0.0/24")
    await asyncio.sleep(1)
    assert objects.condition("late")[0] == ""
    await asyncio.to_thread(network.start_databases)
    await until(lambda: objects.condition("late")[0] == "True")
    assert "late" in network.subnets()
