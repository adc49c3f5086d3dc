"""Where the programs and schemas of a version of OVN and Open vSwitch are."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from vegd.lab import namespaces
from vegd.lab.errors import LabError

_PACKAGES = {
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ovn-northd": "ovn-central",
    "ovn-controller": "ovn-host",
}
_SCHEMAS = {
    "conf": "openvswitch/vswitch.ovsschema",
    "nb": "ovn/ovn-nb.ovsschema",
    "sb": "ovn/ovn-sb.ovsschema",
}


@dataclass(frozen=True, slots=True)
class OvnPrograms:
    """One version; no `bin` means the machine's own."""

    name: str
    bin: Path | None
    share: Path

    def find(self, program: str) -> str:
        """What to start a program by."""
        return program if self.bin is None else str(self.bin / program)

    def version(self) -> str:
        """Such as ``23.03.1``. Raises LabError."""
        first, *_ = namespaces.run([self.find("ovn-nbctl"), "--version"]).splitlines()
        return first.rpartition(" ")[2]

    def require(self) -> None:
        """Raises LabError that names the packages which are missing."""
        missing = {
            package for name, package in _PACKAGES.items() if shutil.which(self.find(name)) is None
        }
        if missing:
            names = " ".join(sorted(missing))
            raise LabError(f"a lab with OVN needs packages that are missing: {names}")

    def create_database(self, name: str, directory: Path) -> Path:
        """An empty database in the directory: `conf` of the switch, OVN's `nb` or `sb`."""
        path = directory / f"{name}.db"
        schema = self.share / _SCHEMAS[name]
        namespaces.run([self.find("ovsdb-tool"), "create", str(path), str(schema)])
        return path


INSTALLED = OvnPrograms("installed", None, Path("/usr/share"))
