"""A node: a network namespace with a switch and ovn-controller, an OVN chassis of the node's name.

The switch is in userspace, its tunnels too: `br-fabric` holds the node's address and its wire to
the other nodes, and Geneve packets between the `br-int` of the nodes go through it.
`eth1` is a wire to the network outside.
"""

import contextlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from vegd.lab import namespaces
from vegd.lab.cluster import central
from vegd.lab.cluster.central import Central
from vegd.lab.errors import LabError
from vegd.lab.ovn_programs import OvnPrograms
from vegd.lab.state import Processes, poll_until

OUTSIDE = "eth1"
"""The link to the network outside."""
_FABRIC = "fabric0"
_TUNNELS = "br-fabric"
_START_S = 30.0
_NETDEV = "datapath_type=netdev"


class Chassis:
    """The namespace `PREFIX-NODE` and what runs in it."""

    def __init__(
        self, prefix: str, directory: Path, programs: OvnPrograms, name: str, number: int
    ) -> None:
        self.name = name
        self.namespace = f"{prefix}-{name}"
        self.directory = directory / name
        self.wire = f"{name[:12]}{number}"
        """Its end of the wires in the other namespaces."""
        self._address = f"198.18.0.{number}"
        self._programs = programs
        self._processes = Processes(self.directory)

    def create(self, centre: Central, outside: str, underlay: str) -> None:
        """Namespace, wires, switch; `underlay` is the switch in the namespace `outside`."""
        self.directory.mkdir(parents=True)
        namespaces.add(self.namespace)
        central.wire(self.namespace, _FABRIC, centre.fabric, self.wire, "fabric")
        central.wire(self.namespace, OUTSIDE, outside, self.wire, underlay)
        self._programs.create_database("conf", self.directory)
        self._start_database()
        self.vsctl(
            *("--no-wait", "init", "--", "set", "open_vswitch", "."),
            f"external_ids:system-id={self.name}",
            f"external_ids:hostname={self.name}",
            f'external_ids:ovn-remote="{centre.remote_of_nodes("sb")}"',
            "external_ids:ovn-encap-type=geneve",
            f"external_ids:ovn-encap-ip={self._address}",
            "external_ids:ovn-bridge-datapath-type=netdev",
        )
        self._start_switch()
        self.vsctl(
            *("add-br", _TUNNELS, "--", "set", "bridge", _TUNNELS, _NETDEV),
            *("--", "add-port", _TUNNELS, _FABRIC, "--", "add-br", "br-int"),
            *("--", "set", "bridge", "br-int", _NETDEV, "fail-mode=secure"),
        )
        self._start_controller()

    def start(self) -> None:
        """Everything again as it was before `stop`."""
        self._start_database()
        self._start_switch()
        self._start_controller()

    def stop(self) -> None:
        """Kill its processes; ports and tunnels stay in its database."""
        # Whatever is in the namespace: ovn-controller has a process that watches it.
        namespaces.kill_inside(self.namespace)
        self._processes.kill_all()

    @property
    def is_running(self) -> bool:
        """Whether its switch does."""
        return self._processes.process("ovs-vswitchd") is not None

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on its switch."""
        program = self._programs.find("ovs-vsctl")
        return namespaces.run([program, f"--db={self._database}", "--timeout=20", *arguments])

    # Pods.

    def plug(self, port: str, namespace: str, mac: str, mtu: int) -> None:
        """Make `eth0` in a pod's namespace, which is the logical switch port `port`."""
        link = link_of(port)
        namespaces.veth(namespace, "eth0", mac, self.namespace, link)
        namespaces.checksums_in_software(namespace, "eth0")
        namespaces.ip(namespace, [f"link set eth0 mtu {mtu}"])
        external_id = f'external_ids:iface-id="{port}"'
        self.vsctl(
            *("--may-exist", "add-port", "br-int", link),
            *("--", "set", "interface", link, external_id),
        )

    def unplug(self, port: str) -> None:
        """Take it away; the pod's namespace may be gone. A node that is stopped keeps the port in
        its database, where the next pod of that name will find it."""
        link = link_of(port)
        # The namespace of the pod takes its end of the wire along, and so this one.
        with contextlib.suppress(LabError):
            namespaces.ip(self.namespace, [f"link del {link}"])
        if self.is_running:
            self.vsctl("--if-exists", "del-port", "br-int", link)

    # Processes.

    @property
    def _database(self) -> str:
        return f"unix:{self.directory}/db.sock"

    def _start_database(self) -> None:
        (self.directory / "db.sock").unlink(missing_ok=True)
        file = str(self.directory / "conf.db")
        self._run("ovsdb-server", file, f"--remote=p{self._database}", self._control("ovsdb"))
        central.until_sockets(self.directory, ["db"])

    def _start_switch(self) -> None:
        self._run("ovs-vswitchd", self._database, self._control("vswitchd"))

    def _start_controller(self) -> None:
        self._give_address()
        # It crashes now and then while the first logical network arrives (see `ovn_router`), so it
        # is watched as by its own service.
        self._run("ovn-controller", "--monitor", self._database)

    def _give_address(self) -> None:
        """The switch makes the link that holds it anew each time, and takes a moment for that."""
        address = f"{self._address}/{central.PREFIX_LENGTH}"
        lines = [f"address replace {address} dev {_TUNNELS}", f"link set {_TUNNELS} up"]
        for _ in poll_until(_START_S):
            with contextlib.suppress(LabError):
                namespaces.ip(self.namespace, lines)
                return
        raise LabError(f"the switch has not started; see ovs-vswitchd.log in {self.directory}")

    def _control(self, name: str) -> str:
        return f"--unixctl={self.directory}/{name}.ctl"

    def _run(self, program: str, *arguments: str) -> None:
        places: Sequence[str] = [*central.environment(self.directory)]
        command = ["env", *places, self._programs.find(program), *arguments]
        self._processes.start(program, self.namespace, command)


def link_of(port: str) -> str:
    """The node's end of a pod's wire: names of links are short."""
    return f"p{sha256(port.encode()).hexdigest()[:12]}"
