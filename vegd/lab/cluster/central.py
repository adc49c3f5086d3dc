"""What a cluster has once: OVN's databases with northd, and the wires between its nodes.

The databases have a server each, so that one of them can be started again alone. Their sockets bear
the names that OVN's own programs expect in ``OVN_RUNDIR``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vegd.lab import namespaces
from vegd.lab.errors import LabError
from vegd.lab.ovn_programs import OvnPrograms
from vegd.lab.state import Processes, poll_until

ADDRESS = "198.18.0.254"
"""Of the databases, in the network between the nodes (RFC 2544's, which nobody routes)."""
PREFIX_LENGTH = 24
_PORTS = {"nb": 6641, "sb": 6642}
_START_S = 30.0
NUDGE_S = 3

Row = Mapping[str, Any]


class Central:
    """The namespaces `PREFIX-central` and `PREFIX-fabric`, and the processes in the first."""

    def __init__(self, prefix: str, directory: Path, programs: OvnPrograms) -> None:
        self.namespace = f"{prefix}-central"
        self.fabric = f"{prefix}-fabric"
        self.directory = directory / "central"
        self._programs = programs
        self._processes = Processes(self.directory)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All that are made here."""
        return self.namespace, self.fabric

    def remote(self, database: str) -> str:
        """Where `nb` or `sb` is for programs of this machine."""
        return f"unix:{self.directory}/ovn{database}_db.sock"

    def remote_of_nodes(self, database: str) -> str:
        """Where it is for the nodes."""
        return f"tcp:{ADDRESS}:{_PORTS[database]}"

    def create(self) -> None:
        """Namespaces, wires, databases, northd."""
        self.directory.mkdir(parents=True)
        for each in self.namespaces:
            namespaces.add(each)
        bridge(self.fabric, "fabric")
        wire(self.namespace, "eth0", self.fabric, "central", "fabric")
        address = f"address add {ADDRESS}/{PREFIX_LENGTH} dev eth0"
        namespaces.ip(self.namespace, [address])
        for database in _PORTS:
            self._programs.create_database(database, self.directory)
        self.start()

    def start(self) -> None:
        """The databases and northd, which are all away."""
        for database, port in _PORTS.items():
            self._run(
                f"ovsdb-{database}",
                "ovsdb-server",
                str(self.directory / f"{database}.db"),
                f"--remote=p{self.remote(database)}",
                f"--remote=ptcp:{port}:0.0.0.0",
                f"--unixctl={self.directory}/ovn{database}_db.ctl",
            )
        until_sockets(self.directory, [f"ovn{each}_db" for each in _PORTS])
        databases = [f"--ovn{each}-db={self.remote(each)}" for each in _PORTS]
        control = f"--unixctl={self.directory}/ovn-northd.ctl"
        self._run("ovn-northd", "ovn-northd", *databases, control)

    def stop(self) -> None:
        """Kill them; what is in the databases stays."""
        namespaces.kill_inside(self.namespace)
        self._processes.kill_all()

    def nbctl(self, *arguments: str) -> str:
        """Run ovn-nbctl."""
        return self._ctl("nb", *arguments)

    def rows(self, table: str, *conditions: str, database: str = "nb") -> list[Row]:
        """The rows of a database that meet all conditions."""
        listed = json.loads(self._ctl(database, "--format=json", "find", table, *conditions))
        values = ([_plain(each) for each in row] for row in listed["data"])
        return [dict(zip(listed["headings"], row, strict=True)) for row in values]

    def _ctl(self, database: str, *arguments: str) -> str:
        program = self._programs.find(f"ovn-{database}ctl")
        remote = f"--db={self.remote(database)}"
        return namespaces.run([program, "--timeout=20", remote, *arguments])

    def _run(self, role: str, program: str, *arguments: str) -> None:
        places = environment(self.directory)
        command = ["env", *places, self._programs.find(program), *arguments]
        self._processes.start(role, self.namespace, command)


def _plain(value: Any) -> Any:
    """A value of a column (RFC 7047 §5.1) as Python has it: sets are lists."""
    match value:
        case ["uuid", str(uuid)]:
            return uuid
        case ["set", [*items]]:
            return [_plain(each) for each in items]
        case ["map", [*pairs]]:
            return {_plain(name): _plain(each) for name, each in pairs}
    return value


def environment(directory: Path) -> Iterator[str]:
    """What tells OVN's programs to keep their sockets and logs in a directory."""
    for name in ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_LOGDIR", "OVN_LOGDIR"):
        yield f"{name}={directory}"


def until_sockets(directory: Path, names: Sequence[str]) -> None:
    """Wait for servers; LabError if they do not come."""
    for _ in poll_until(_START_S):
        if all((directory / f"{name}.sock").exists() for name in names):
            return
    raise LabError(f"a database has not started; see ovsdb-*.log in {directory}")


def bridge(namespace: str, name: str) -> None:
    """A switch that forwards at once and floods multicast, so that neighbours are found."""
    made = f"link add {name} type bridge forward_delay 0 mcast_snooping 0"
    namespaces.ip(namespace, [made, f"link set {name} up"])


def wire(
    namespace: str, interface: str, far_namespace: str, far_interface: str, far_bridge: str
) -> None:
    """A wire to a switch; a userspace switch at its end gets whole packets (see `namespaces`)."""
    namespaces.veth(namespace, interface, None, far_namespace, far_interface)
    namespaces.ip(far_namespace, [f"link set {far_interface} master {far_bridge}"])
    namespaces.checksums_in_software(namespace, interface)
