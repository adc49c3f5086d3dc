"""A cluster of many gateways, as objects: namespaces with pods, a gateway for each namespace, VPCs
of a hundred gateways each; and OVN's northbound database with a switch port for every pod.

No pod runs. The gateways' own pods are there as objects, too, with addresses.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from kube import definitions
from kube.client import Client
from kube.definitions import gateway_definition, kube_ovn_definitions
from kube.identity import KUBE_OVN
from kube.objects import NAMESPACES, PODS, Object
from tests.support.definitions import install
from tests.support.ovsdb import OvsdbServer
from vegd.lab.cluster.control_plane import ControlPlane

_AT_A_TIME = 48
_OF_ONE_VPC = 100
_BATCH = 400
_MANAGER = "bench"


class World:
    """`gateways` of them, each of which selects `pods` pods."""

    def __init__(self, directory: Path, gateways: int, pods: int) -> None:
        self.gateways = gateways
        self.pods = pods
        self.plane = ControlPlane(directory / "plane", with_controllers=False)
        try:
            self.server = OvsdbServer(directory)
        except BaseException:
            self.plane.close()
            raise

    def close(self) -> None:
        """End the servers."""
        self.server.stop()
        self.plane.close()

    async def fill(self) -> None:
        """Make everything; tells how far it is."""
        install(self.plane, [gateway_definition(), *kube_ovn_definitions()])
        vpcs = -(-self.gateways // _OF_ONE_VPC)
        async with await Client.connect(self.plane.kubeconfig) as client:
            await _each("VPCs", range(vpcs), lambda n: self._vpc(client, n))
            await _each("namespaces", range(self.gateways), lambda n: _namespace(client, n))
            numbers = [(n, k) for n in range(self.gateways) for k in range(self.pods)]
            self._ports(vpcs, numbers)
            await _each("pods", numbers, lambda each: _pod(client, *each))
            await _each("gateways", range(self.gateways), lambda n: self._gateway(client, n))

    async def _vpc(self, client: Client, number: int) -> None:
        name = _vpc(number * _OF_ONE_VPC)
        port = {"enabled": True, "ip": "10.255.255.255"}
        await _make(client, definitions.VPCS, name, {"spec": {"bfdPort": port}})
        status = {"router": name, "bfdPort": {"name": f"bfd@{name}", "ip": "10.255.255.255"}}
        value = {"metadata": {"name": name}, "status": status}
        await client.apply(definitions.VPCS, value, manager=_MANAGER, subresource="status")
        inside = {"cidrBlock": "10.0.0.0/8", "gateway": "10.0.0.1", "vpc": name}
        await _make(client, definitions.SUBNETS, f"in-{name}", {"spec": inside})
        if number == 0:
            outside = {"cidrBlock": "172.16.0.0/12", "gateway": "172.16.0.1"}
            spec = outside | {"provider": "eth1.default"}
            await _make(client, definitions.SUBNETS, "outside", {"spec": spec})
            config = {"metadata": {"namespace": "default"}, "spec": {"config": "{}"}}
            await _make(client, definitions.ATTACHMENTS, "eth1", config)

    async def _gateway(self, client: Client, number: int) -> None:
        vpc, space = _vpc(number), f"ns{number}"
        spec = {
            "vpc": vpc,
            "internalSubnet": f"in-{vpc}",
            "externalSubnet": "outside",
            "bfd": {"enabled": True},
            "selectors": [{"namespaceSelector": {"matchLabels": {"team": str(number)}}}],
        }
        value = {"metadata": {"namespace": space}, "spec": spec}
        await _make(client, definitions.gateways(), "gw", value)
        networks = [{"name": "default/eth1", "ips": [f"172.16.{number >> 8}.{number & 255}"]}]
        annotations = {
            "k8s.v1.cni.cncf.io/networks": "default/eth1",
            "k8s.v1.cni.cncf.io/network-status": json.dumps(networks),
        }
        await _running(
            client, space, "gw-0", f"10.128.{number >> 8}.{number & 255}", annotations,
            KUBE_OVN.labels("gw"),
        )  # fmt: skip

    def _ports(self, vpcs: int, pods: list[tuple[int, int]]) -> None:
        """Routers and switch ports."""
        commands = []
        for number in range(vpcs):
            name = _vpc(number * _OF_ONE_VPC)
            commands += [["lr-add", name], ["ls-add", name]]
            commands.append(
                ["lrp-add", name, f"{name}-in-{name}", "02:00:00:00:00:01", "10.0.0.1/8"]
            )
            commands.append(
                ["lrp-add", name, f"bfd@{name}", "02:00:00:00:01:ff", "10.255.255.255/32"]
            )
        commands += [["lsp-add", _vpc(n), f"p{k}.ns{n}"] for n, k in pods]
        for begin in range(0, len(commands), _BATCH):
            words = [word for each in commands[begin : begin + _BATCH] for word in (*each, "--")]
            self.server.nbctl(*words[:-1])
            _tell("switch ports", begin + _BATCH, len(commands))


def _vpc(gateway: int) -> str:
    return f"vpc{gateway // _OF_ONE_VPC}"


async def _namespace(client: Client, number: int) -> None:
    labels = {"metadata": {"labels": {"team": str(number)}}}
    await _make(client, NAMESPACES, f"ns{number}", labels)


async def _pod(client: Client, number: int, k: int) -> None:
    annotations = {
        "ovn.kubernetes.io/allocated": "true",
        "ovn.kubernetes.io/logical_router": _vpc(number),
    }
    address = f"10.{1 + (number >> 8)}.{number & 255}.{k + 2}"
    await _running(client, f"ns{number}", f"p{k}", address, annotations, {"app": "web"})


async def _running(
    client: Client,
    namespace: str,
    name: str,
    address: str,
    annotations: dict[str, str],
    labels: dict[str, str],
) -> None:
    metadata = {"namespace": namespace, "annotations": annotations, "labels": labels}
    spec = {"containers": [{"name": "main", "image": "none"}]}
    await _make(client, PODS, name, {"metadata": metadata, "spec": spec})
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    value = {"metadata": {"namespace": namespace, "name": name}, "status": status}
    await client.apply(PODS, value, manager=_MANAGER, subresource="status")


async def _make(client: Client, resource: Any, name: str, value: Object) -> None:
    metadata = {"name": name, **value.get("metadata", {})}
    await client.apply(resource, {**value, "metadata": metadata}, manager=_MANAGER)


async def _each(what: str, items: Iterable[Any], make: Callable[[Any], Awaitable[None]]) -> None:
    todo = list(items)
    done, gate = 0, asyncio.Semaphore(_AT_A_TIME)

    async def one(item: Any) -> None:
        nonlocal done
        async with gate:
            await make(item)
        done += 1
        if done % 500 == 0:
            _tell(what, done, len(todo))

    await asyncio.gather(*map(one, todo))
    _tell(what, len(todo), len(todo))


def _tell(what: str, done: int, total: int) -> None:
    sys.stdout.write(f"\r\033[K  {what}: {min(done, total):,} of {total:,}")
    if done >= total:
        sys.stdout.write("\n")
    sys.stdout.flush()


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(each for each in text.splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) / 1000


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(subprocess.run(["getconf", "CLK_TCK"], capture_output=True, check=True).stdout)
    return (int(fields[11]) + int(fields[12])) / ticks
