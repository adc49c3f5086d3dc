"""A real OVN logical router as the VPC's: databases, northd, ovn-controller and OVS of its own.

Nothing of the system's services is used: every process has its sockets, logs and databases in the
lab's directory and runs in the lab's switch namespace, with the userspace datapath. Routes are
static, by source, ECMP, each with a row of the BFD table, as in a custom VPC of Kube-OVN.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from vegd.lab import namespaces
from vegd.lab.errors import LabError
from vegd.lab.ovn_programs import INSTALLED, OvnPrograms
from vegd.lab.state import LabState, poll_until
from vegd.lab.topology import Client, Family, Gateway, Topology, families_of

CHASSIS = "chassis1"
"""The one chassis."""
_BFD_PORT = "bfd@vpc1"
_START_S = 15.0
_NUDGE_S = 3


class _Ovn:
    """The programs of one lab, told where everything is."""

    def __init__(self, topology: Topology, state: LabState) -> None:
        self.topology = topology
        self.state = state
        self.namespace = topology.namespace("sw")
        self.directory = ovn_directory(state)

    def run(self, role: str, program: str, *arguments: str) -> None:
        """Start one of the daemons."""
        directory = str(self.directory)
        places = [f"{name}={directory}" for name in ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_LOGDIR")]
        command = ["env", *places, f"OVN_LOGDIR={directory}", program, *arguments]
        self.state.start(role, self.namespace, command)

    def socket(self, name: str) -> str:
        """A database socket as the programs want it named."""
        return f"unix:{self.directory}/{name}.sock"

    def control(self, name: str) -> str:
        """The option for a daemon's own control socket."""
        return f"--unixctl={self.directory}/{name}.ctl"

    def vsctl(self, *arguments: str) -> None:
        """Change the switch."""
        namespaces.run(["ovs-vsctl", f"--db={self.socket('conf')}", "--timeout=20", *arguments])

    def nbctl(self, *arguments: str) -> str:
        """Change the northbound database."""
        return nbctl(self.state, *arguments)


def ovn_directory(state: LabState) -> Path:
    """Where OVN's databases, sockets and logs are."""
    return state.directory / "ovn"


def nbctl(state: LabState, *arguments: str) -> str:
    """Run ovn-nbctl on the lab's northbound database."""
    database = f"--db=unix:{ovn_directory(state)}/ovn.sock"
    return namespaces.run(["ovn-nbctl", "--timeout=20", database, *arguments])


def nudge(state: LabState) -> None:
    """Make ovn-controller run its main loop, which a new BFD row waits for.

    It may be too busy to answer just now; then the next nudge reaches it.
    """
    with contextlib.suppress(LabError):
        nbctl(state, "--wait=hv", f"--timeout={_NUDGE_S}", "sync")


def build(topology: Topology, state: LabState) -> None:
    """Daemons, switch, logical network, BFD port, sessions, routes."""
    start(topology, state)
    ovn = _Ovn(topology, state)
    ovn.nbctl(*_network(topology), *_bfd_port(topology))
    _add_bfd_and_routes(ovn)
    follow(topology, state)


def build_bare(topology: Topology, state: LabState, programs: OvnPrograms) -> None:
    """Daemons, switch and logical network, but nothing that leads to the gateways."""
    start(topology, state, programs)
    _Ovn(topology, state).nbctl(*_network(topology))
    follow(topology, state)


def start(topology: Topology, state: LabState, programs: OvnPrograms = INSTALLED) -> None:
    """The databases, the switch with its ports, and northd."""
    ovn = _Ovn(topology, state)
    ovn.directory.mkdir()
    for name in ("conf", "nb", "sb"):
        programs.create_database(name, ovn.directory)
    _start_databases(ovn)
    ovn.vsctl(
        *("--no-wait", "init", "--", "set", "open_vswitch", "."),
        f"external_ids:system-id={CHASSIS}",
        f"external_ids:ovn-remote={ovn.socket('ovn')}",
        "external_ids:ovn-encap-type=geneve",
        "external_ids:ovn-encap-ip=127.0.0.1",
        "external_ids:ovn-bridge-datapath-type=netdev",
    )
    ovn.run("ovs-vswitchd", "ovs-vswitchd", ovn.socket("conf"), ovn.control("vswitchd"))
    ovn.vsctl(
        *("--", "--may-exist", "add-br", "br-int", "--", "set", "bridge", "br-int"),
        *("datapath_type=netdev", "fail-mode=secure"),
    )
    database = ovn.socket("ovn")
    ovn.run(
        *("ovn-northd", "ovn-northd", f"--ovnnb-db={database}", f"--ovnsb-db={database}"),
        ovn.control("northd"),
    )
    for gateway in topology.gateways:
        _plug(ovn, gateway)
    for client in topology.clients:
        _plug(ovn, client)


def follow(topology: Topology, state: LabState) -> None:
    """ovn-controller, and what tells of the sessions' changes."""
    ovn = _Ovn(topology, state)
    # The one of OVN 23.03 has no option for its control socket; the run directory decides. It
    # crashes now and then while the first logical network arrives (SIGSEGV, one start in twenty
    # when it is started before the network is there), so it is watched as by its own service.
    ovn.nbctl("--wait=sb", "sync")
    ovn.run("ovn-controller", "ovn-controller", "--monitor", ovn.socket("conf"))
    options = json.dumps(topology.options.to_json())
    command = [sys.executable, "-m", "vegd.lab.ovn_events", str(state.directory), options]
    state.start("router", ovn.namespace, command)
    nudge(state)


def _start_databases(ovn: _Ovn) -> None:
    directory = ovn.directory
    for role, databases in (("conf", ("conf",)), ("ovn", ("nb", "sb"))):
        ovn.run(
            f"ovsdb-{role}",
            "ovsdb-server",
            *(str(directory / f"{name}.db") for name in databases),
            f"--remote=punix:{directory}/{role}.sock",
            ovn.control(f"ovsdb-{role}"),
        )
    for _ in poll_until(_START_S):
        if all((directory / f"{role}.sock").exists() for role in ("conf", "ovn")):
            return
    raise LabError("OVN's databases have not started; see ovsdb-*.log in the lab's directory")


def _plug(ovn: _Ovn, node: Gateway | Client) -> None:
    namespaces.veth(node.namespace, "eth0", node.mac, ovn.namespace, node.name)
    namespaces.checksums_in_software(node.namespace, "eth0")
    ovn.vsctl(
        *("add-port", "br-int", node.name, "--", "set", "interface", node.name),
        f"external_ids:iface-id={node.name}",
    )


def _network(topology: Topology) -> Iterator[str]:
    """The arguments that make router, subnets and ports in one transaction."""
    yield from ("lr-add", "vpc1")
    for number, (subnet, addresses) in enumerate(
        (("subnet1", topology.subnet1), ("subnet2", topology.subnet2)), 1
    ):
        port = f"vpc1-{subnet}"
        networks = [str(each) for each in addresses]
        yield from ("--", "ls-add", subnet)
        yield from ("--", "lrp-add", "vpc1", port, f"02:00:00:00:00:0{number}", *networks)
        yield from _router_port(subnet, port)
    for gateway in topology.gateways:
        yield from _host_port("subnet1", gateway, [str(each.ip) for each in gateway.internal])
    for client in topology.clients:
        yield from _host_port("subnet2", client, [str(each.ip) for each in client.addresses])


def _bfd_port(topology: Topology) -> Iterator[str]:
    if not topology.bfd_port:
        return
    bfd_networks = [str(each) for each in topology.bfd_port]
    yield from ("--", "lrp-add", "vpc1", _BFD_PORT, "02:00:00:00:01:ff", *bfd_networks)
    # Stock OVN passes over a router port without a peer, so it gets a switch of its own.
    yield from ("--", "ls-add", "bfd-stub")
    yield from _router_port("bfd-stub", _BFD_PORT)
    yield from ("--", "ha-chassis-group-add", _BFD_PORT)


def _router_port(switch: str, router_port: str) -> Iterator[str]:
    port = f"{switch}-{router_port}"
    yield from ("--", "lsp-add", switch, port, "--", "lsp-set-type", port, "router")
    yield from ("--", "lsp-set-addresses", port, "router")
    yield from ("--", "lsp-set-options", port, f"router-port={router_port}")


def _host_port(switch: str, node: Gateway | Client, addresses: list[str]) -> Iterator[str]:
    yield from ("--", "lsp-add", switch, node.name)
    yield from ("--", "lsp-set-addresses", node.name, " ".join([node.mac, *addresses]))


def _add_bfd_and_routes(ovn: _Ovn) -> None:
    topology = ovn.topology
    if topology.bfd_port:
        _place_bfd_port(ovn)
    watched = families_of(topology.bfd_port)
    for gateway in topology.gateways:
        for family in families_of(topology.subnet1):
            address = gateway.internal_address(family)
            bfd = [f"--bfd={_add_bfd(ovn, address)}"] if family in watched else []
            for each in topology.subnet2:
                if Family.of(str(each)) is family:
                    ovn.nbctl(
                        *("--policy=src-ip", "--ecmp", *bfd),
                        *("lr-route-add", "vpc1", str(each.network), address),
                    )


def _place_bfd_port(ovn: _Ovn) -> None:
    ovn.nbctl("ha-chassis-group-add-chassis", _BFD_PORT, CHASSIS, "100")
    found = ovn.nbctl("--bare", "--columns=_uuid", "find", "ha_chassis_group", f"name={_BFD_PORT}")
    ovn.nbctl("set", "logical_router_port", _BFD_PORT, f"ha_chassis_group={found.strip()}")


def _add_bfd(ovn: _Ovn, address: str) -> str:
    """A row of the BFD table; returns its number."""
    options = ovn.topology.options
    return ovn.nbctl(
        *("create", "bfd", f"logical_port={_BFD_PORT}", f"dst_ip={json.dumps(address)}"),
        *(f"min_tx={options.interval_ms}", f"min_rx={options.interval_ms}"),
        f"detect_mult={options.multiplier}",
    ).strip()
